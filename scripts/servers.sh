#!/usr/bin/env bash
# Real servers for development, tests and the quickstart, on loopback ports of their own.
#
#   scripts/servers.sh up|down|status|wipe [SERVER ...]    all, if none is named; a SERVER is
#     mysql-9.7, mysql-8.0, mysql (both), mariadb-10.11, mariadb-11.8, mariadb (both), kafka,
#     postgres, redis-7, opensearch-2 or, only if they are named, redis-8, valkey-9, redis (these
#     three), opensearch-3, elasticsearch-7 and elasticsearch-8
#   scripts/servers.sh client FLAVOR [arguments of mysql]  9.7, 8.0, mariadb-10.11 or mariadb-11.8
#   scripts/servers.sh client redis-7|redis-8|valkey-9 [arguments of redis-cli]
#   scripts/servers.sh tool mysqlbinlog|mysqldump|mariadb-binlog|... [arguments]
#   scripts/servers.sh mysql-instance FLAVOR PORT FOLDER [options of mysqld]   in the foreground
#   scripts/servers.sh kafka-instance [--secure | --join FIRST] PORT FOLDER [key=value ...]        in the foreground
#   scripts/servers.sh redis-instance FLAVOR PORT FOLDER [options of redis-server]   in the foreground
#   scripts/servers.sh postgres-instance PORT FOLDER [options of postgres]     in the foreground
#   scripts/servers.sh postgres-client [arguments of psql]
#   scripts/servers.sh kafka-tool CLASS [arguments]   such as org.apache.kafka.tools.TopicCommand
#   scripts/servers.sh search-instance [--secure] FLAVOR PORT FOLDER [key=value ...]   in the
#                                            foreground; FLAVOR is one of those above
#
# All lies under target/servers (DBEVENT_SERVERS names another place); downloads are kept. Users:
# root without a password, and dts/dts with what a replica needs; both only on loopback. Kafka asks
# nobody who they are, but for --secure: SASL_SSL, ACLs, and the users admin/admin-secret (may do
# all), dts/dts-secret, worker/worker-secret, nobody/nobody-secret; FOLDER/ca.pem signed its
# certificate. Search servers ask nobody either, but for --secure (elasticsearch-8 only): TLS, and
# the users admin/admin-secret and writer/writer-secret (may write to shop-*, but make no index);
# FOLDER/config/ca.pem signed its certificate. Started by root, they run as the user 65534.
# Where Docker has an engine and the machine is not a Debian on amd64, images are run instead.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$repository/scripts/process.sh"
. "$repository/scripts/servers/place.sh"
. "$repository/scripts/servers/packages.sh"
. "$repository/scripts/servers/certificates.sh"
. "$repository/scripts/servers/mysql.sh"
. "$repository/scripts/servers/mariadb.sh"
. "$repository/scripts/servers/kafka.sh"
. "$repository/scripts/servers/search.sh"
. "$repository/scripts/servers/redis.sh"
. "$repository/scripts/servers/postgres.sh"
. "$repository/scripts/servers/docker.sh"

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 64; }

# The servers that the words name.
named() {
  local word
  for word in "${@:-all}"; do
    case $word in
      all) echo mysql-9.7 mysql-8.0 mariadb-10.11 mariadb-11.8 kafka postgres redis-7 opensearch-2 ;;
      mysql) echo mysql-9.7 mysql-8.0 ;;
      mariadb) echo mariadb-10.11 mariadb-11.8 ;;
      redis) echo redis-7 redis-8 valkey-9 ;;
      mysql-9.7 | mysql-8.0 | mariadb-10.11 | mariadb-11.8 | kafka | postgres) echo "$word" ;;
      redis-7 | redis-8 | valkey-9 | opensearch-[23] | elasticsearch-[78]) echo "$word" ;;
      *) say "no server is called $word; --help lists them"; exit 64 ;;
    esac
  done
}

# each ACTION [WORD...]: does it for every server that is named, whatever comes of the others.
each() {
  local action=$1 servers server outcome=0
  shift
  servers=$(named "$@")
  for server in $servers; do "$action" "$server" || outcome=1; done
  return "$outcome"
}

up() {
  case $1 in
    mysql-* | mariadb-*) mysql_up "${1#mysql-}" ;;
    kafka) kafka_up ;;
    opensearch-* | elasticsearch-*) search_up "$1" ;;
    redis-* | valkey-*) redis_up "$1" ;;
    postgres) postgres_up ;;
  esac
}

status() {
  case $1 in
    mysql-* | mariadb-*) mysql_status "${1#mysql-}" ;;
    kafka) kafka_status ;;
    opensearch-* | elasticsearch-*) search_status "$1" ;;
    redis-* | valkey-*) redis_status "$1" ;;
    postgres) postgres_status ;;
  esac
}

wipe() {
  stop_server "$1"
  rm -rf "$place/run/$1" "$place/run/$1.log"
}

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
  up) each up "$@" ;;
  down) each stop_server "$@" ;;
  wipe) each wipe "$@" ;;
  status) each status "$@" ;;
  client)
    flavor=${1:-}
    case $flavor in redis-* | valkey-*) redis_client "$@"; exit ;; esac
    port=$(mysql_port "$flavor")
    mysql_client "$flavor" mysql -uroot -h127.0.0.1 -P"$port" "${@:2}"
    ;;
  tool)
    case ${1:-} in
      "") usage ;;
      mariadb*) mariadb_tool "$@" ;;
      *) mysql_tool "$@" ;;
    esac
    ;;
  mysql-instance) [ $# -ge 3 ] || usage; mysql_run "$@" ;;
  kafka-instance) [ $# -ge 2 ] || usage; kafka_run "$@" ;;
  search-instance) [ $# -ge 3 ] || usage; search_run "$@" ;;
  redis-instance) [ $# -ge 3 ] || usage; redis_run "$@" ;;
  postgres-instance) [ $# -ge 2 ] || usage; postgres_run "$@" ;;
  postgres-client) postgres_client "$@" ;;
  kafka-tool) [ $# -gt 0 ] || usage; kafka_tool "$@" ;;
  *) usage ;;
esac
