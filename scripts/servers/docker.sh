# Sourced by servers.sh: the same servers as containers, for machines that are not a Debian.
# shellcheck shell=bash

use_docker() {
  if [ "$(uname -m)" = x86_64 ] && command -v dpkg-deb >/dev/null &&
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then return 1; fi
  docker info >/dev/null 2>&1 ||
    fail "this machine is no Debian on amd64, and Docker does not answer: start Docker"
}

docker_gtids=(--gtid-mode=ON --enforce-gtid-consistency=ON)

docker_up() {
  local name=dbevent-$1
  if docker_status "$1" >/dev/null; then say "$name is up already"; return; fi
  say "running the container $name"
  docker rm -f "$name" >/dev/null 2>&1 || true
  case $1 in
    mysql-9.7) docker_mysql 9.7 mysql:9 "${docker_gtids[@]}" ;;
    mysql-8.0) docker_mysql 8.0 mysql:8.0.31 "${docker_gtids[@]}" ;;
    mariadb-*) docker_mysql "$1" "mariadb:${1#mariadb-}" "${mariadb_options[@]}" ;;
    kafka) docker_kafka ;;
    opensearch-2) docker_opensearch ;;
    opensearch-3 | elasticsearch-*) fail "$1 is not run in Docker: take opensearch-2" ;;
    redis-* | valkey-*)
      docker run -d --name "$name" -p "127.0.0.1:$(redis_port "$1"):6379" "$(redis_image "$1")" \
        "${1%-*}-server" --save "" --appendonly yes --appendfsync always >/dev/null
      ;;
    postgres)
      docker run -d --name dbevent-postgres -p "127.0.0.1:$postgres_port:5432" \
        -e POSTGRES_HOST_AUTH_METHOD=trust postgres:15 >/dev/null
      ;;
  esac
  for _ in $(seq 120); do docker_status "$1" >/dev/null && break; sleep 1; done
  docker_status "$1" >&2
}

# docker_mysql FLAVOR IMAGE [OPTION...]: a MySQL or a MariaDB.
docker_mysql() {
  local flavor=$1 image=$2 port
  shift 2
  port=$(mysql_port "$flavor")
  mysql_users | sed "/'root'/d" >"$place/run/users.sql"
  docker run -d --name "dbevent-$(mysql_name "$flavor")" -p "127.0.0.1:$port:3306" \
    -e MYSQL_ALLOW_EMPTY_PASSWORD=yes -e MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=yes \
    -v "$place/run/users.sql:/docker-entrypoint-initdb.d/users.sql:ro" \
    "$image" --server-id="$port" --log-bin=binlog --binlog-format=ROW \
    --binlog-row-metadata=FULL "$@" >/dev/null
}

# The image reads Kafka's settings from variables: KAFKA_LOG_DIRS is log.dirs. The port is the same
# inside and outside, since the broker calls itself by the address that it tells its clients.
docker_kafka() {
  local setting key variables=()
  while IFS= read -r setting; do
    key=${setting%%=*}
    key=${key//./_}
    variables+=(-e "KAFKA_${key^^}=${setting#*=}")
  done < <(
    kafka_properties /tmp/kraft-combined-logs "127.0.0.1:$kafka_controller_port"
    kafka_open 0.0.0.0 "$kafka_port" "$kafka_controller_port"
    echo "advertised.listeners=PLAINTEXT://127.0.0.1:$kafka_port"
  )
  docker run -d --name dbevent-kafka -p "127.0.0.1:$kafka_port:$kafka_port" \
    -e KAFKA_HEAP_OPTS=-Xmx512m "${variables[@]}" "apache/kafka:$kafka_version" >/dev/null
}

docker_opensearch() {
  docker run -d --name dbevent-opensearch-2 -p "127.0.0.1:$(search_port opensearch-2):9200" \
    -e discovery.type=single-node -e DISABLE_SECURITY_PLUGIN=true \
    -e "OPENSEARCH_JAVA_OPTS=-Xms512m -Xmx512m" opensearchproject/opensearch:2.19.3 >/dev/null
}

redis_image() {
  case $1 in
    valkey-*) echo "valkey/valkey:${1#valkey-}" ;;
    *) echo "redis:${1#redis-}" ;;
  esac
}

docker_down() { docker rm -f -v "dbevent-$1" >/dev/null 2>&1 || true; say "dbevent-$1 is gone"; }

docker_status() {
  if docker_answers "$1" >/dev/null 2>&1; then
    echo "dbevent-$1 is up"
  else
    echo "dbevent-$1 is down"
    return 1
  fi
}

docker_answers() {
  case $1 in
    # While it initialises itself the image's server listens on no port.
    mysql-*) docker exec "dbevent-$1" mysqladmin -uroot -h127.0.0.1 status ;;
    mariadb-*) docker exec "dbevent-$1" mariadb-admin -uroot -h127.0.0.1 status ;;
    # While it initialises itself the image's server listens on no port.
    postgres) docker exec dbevent-postgres psql -h127.0.0.1 -Upostgres -c 'SELECT 1' ;;
    kafka)
      docker exec dbevent-kafka /opt/kafka/bin/kafka-topics.sh \
        --bootstrap-server "127.0.0.1:$kafka_port" --list
      ;;
    opensearch-2) search_answers opensearch-2 ;;
    redis-* | valkey-*) docker exec "dbevent-$1" "${1%-*}-cli" ping ;;
  esac
}

docker_client() {
  local name program=mysql
  case ${1:-} in
    redis-* | valkey-*) docker exec -i "dbevent-$1" "${1%-*}-cli" "${@:2}"; return ;;
  esac
  name=$(mysql_name "${1:-}")
  case $name in mariadb-*) program=mariadb ;; esac
  shift
  docker exec -i "dbevent-$name" "$program" -uroot -h127.0.0.1 "$@"
}
