# Sourced by servers.sh: the same servers as containers, for machines that are not a Debian.
# shellcheck shell=bash

use_docker() {
  if [ "$(uname -m)" = x86_64 ] && command -v dpkg-deb >/dev/null &&
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then return 1; fi
  docker info >/dev/null 2>&1 ||
    fail "this machine is no Debian on amd64, and Docker does not answer: start Docker"
}

docker_image() { case $1 in 9.7) echo mysql:9 ;; 8.0) echo mysql:8.0.31 ;; esac; }

docker_up() {
  local name=dbevent-mysql-$1 port
  port=$(mysql_port "$1")
  if docker_status "$1" >/dev/null; then say "$name is up already on 127.0.0.1:$port"; return; fi
  say "running the image $(docker_image "$1") as the container $name"
  docker rm -f "$name" >/dev/null 2>&1 || true
  mysql_users | sed "/'root'/d" >"$place/run/users.sql"
  docker run -d --name "$name" -p "127.0.0.1:$port:3306" -e MYSQL_ALLOW_EMPTY_PASSWORD=yes \
    -v "$place/run/users.sql:/docker-entrypoint-initdb.d/users.sql:ro" \
    "$(docker_image "$1")" --server-id="$port" --log-bin=binlog --binlog-format=ROW \
    --binlog-row-metadata=FULL --gtid-mode=ON --enforce-gtid-consistency=ON >/dev/null
  # While it initialises itself the image's server listens on no port.
  for _ in $(seq 120); do docker_status "$1" >/dev/null && break; sleep 1; done
  docker_status "$1" >&2
}

docker_down() { docker rm -f -v "dbevent-mysql-$1" >/dev/null 2>&1 || true; say "dbevent-mysql-$1 is gone"; }

docker_status() {
  if docker exec "dbevent-mysql-$1" mysqladmin -uroot -h127.0.0.1 status >/dev/null 2>&1; then
    echo "dbevent-mysql-$1 is up on 127.0.0.1:$(mysql_port "$1")"
  else
    echo "dbevent-mysql-$1 is down"
    return 1
  fi
}

docker_client() {
  local flavor=${1:-}
  shift
  docker exec -i "dbevent-mysql-$flavor" mysql -uroot -h127.0.0.1 "$@"
}
