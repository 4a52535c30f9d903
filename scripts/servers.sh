#!/usr/bin/env bash
# Real servers for development, tests and the quickstart, on loopback ports of their own.
#
#   scripts/servers.sh up|down|status|wipe [mysql|mysql-9.7|mysql-8.0] ...   all, if none is named
#   scripts/servers.sh client 9.7|8.0 [arguments of mysql]
#   scripts/servers.sh tool mysqlbinlog|mysqldump|... [arguments]
#   scripts/servers.sh mysql-instance 9.7|8.0 PORT FOLDER [options of mysqld]  in the foreground
#
# All lies under target/servers (DBEVENT_SERVERS names another place); downloads are kept. Users:
# root without a password, and dts/dts with what a replica needs; both only on loopback.
# Where Docker has an engine and the machine is not a Debian on amd64, images are run instead.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$repository/scripts/process.sh"
. "$repository/scripts/servers/place.sh"
. "$repository/scripts/servers/packages.sh"
. "$repository/scripts/servers/mysql.sh"
. "$repository/scripts/servers/docker.sh"

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 64; }

# The servers that the words name.
named() {
  local word
  for word in "${@:-mysql}"; do
    case $word in
      mysql) echo 9.7 8.0 ;;
      mysql-9.7 | mysql-8.0) echo "${word#mysql-}" ;;
      *) say "no server is called $word; write mysql, mysql-9.7 or mysql-8.0"; exit 64 ;;
    esac
  done
}

wipe() {
  stop_server "mysql-$1"
  rm -rf "$place/run/mysql-$1" "$place/run/mysql-$1.log"
}

each() {
  local action=$1 flavors flavor outcome=0
  shift
  flavors=$(named "$@")
  for flavor in $flavors; do "$action" "$flavor" || outcome=1; done
  return "$outcome"
}

down() { stop_server "mysql-$1"; }

verb=${1:-}
[ $# -gt 0 ] && shift
if use_docker; then
  case $verb in
    up) each docker_up "$@" ;;
    down | wipe) each docker_down "$@" ;;
    status) each docker_status "$@" ;;
    client) docker_client "$@" ;;
    *) usage ;;
  esac
  exit
fi
case $verb in
  up) each mysql_up "$@" ;;
  down) each down "$@" ;;
  wipe) each wipe "$@" ;;
  status) each mysql_status "$@" ;;
  client) port=$(mysql_port "${1:-}"); shift; mysql_tool mysql -uroot -h127.0.0.1 -P"$port" "$@" ;;
  tool) [ $# -gt 0 ] || usage; mysql_tool "$@" ;;
  mysql-instance) [ $# -ge 3 ] || usage; mysql_run "$@" ;;
  *) usage ;;
esac
