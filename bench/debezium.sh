#!/usr/bin/env bash
# The real Debezium on Kafka Connect, for the benchmark: fetched by Maven, tuned for throughput.
#
#   bench/debezium.sh connect MYSQL KAFKA REST_PORT FOLDER   in the foreground; reads nothing yet
#   bench/debezium.sh place REST_PORT BINLOG_FILE GTIDS      waits for it; it will begin after these
#   bench/debezium.sh resume REST_PORT                       from now on it reads
#
# MYSQL and KAFKA are host:port. It reads the schema bench and writes the topic debezium.bench.t.
# Settings are what Debezium's and Kafka's documentation give for throughput: no schemas in the JSON,
# larger batches of the producer, compressed. Larger batches and queues of the connector itself
# made it no faster here, only half as large again, so it keeps its own.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$repository/scripts/process.sh"
. "$repository/scripts/servers/place.sh"
. "$repository/scripts/servers/packages.sh"
. "$repository/scripts/servers/kafka.sh"

debezium_version=3.6.1.Final
plugin=$place/dist/debezium-$debezium_version
connect=$place/dist/connect-$kafka_version

fetch() {
  "$repository/scripts/install.sh" java mvn curl
  if [ ! -e "$connect/complete" ]; then
    say "fetching Kafka Connect $kafka_version into $connect"
    rm -rf "$connect"
    maven_jars "$connect" "org.apache.kafka:connect-runtime:$kafka_version" \
      "org.apache.kafka:connect-json:$kafka_version" org.slf4j:slf4j-simple:1.7.36
    touch "$connect/complete"
  fi
  if [ ! -e "$plugin/complete" ]; then
    say "fetching Debezium $debezium_version into $plugin"
    rm -rf "$plugin"
    mkdir -p "$plugin"
    tar xzf "$(maven_file "io.debezium:debezium-connector-mysql:$debezium_version:tar.gz:plugin")" \
      -C "$plugin"
    touch "$plugin/complete"
  fi
}

# Becomes Connect with the connector in it, which is stopped until it is resumed.
run() {
  local mysql=$1 kafka=$2 rest=$3 folder=$4
  locked debezium fetch
  mkdir -p "$folder"
  worker_properties "$kafka" "$rest" "$folder" >"$folder/worker.properties"
  connector_json "$mysql" "$folder" >"$folder/connector.json"
  exec java -Xms256m -Xmx1g -XX:+UseG1GC -Djava.net.preferIPv4Stack=true \
    -Dorg.slf4j.simpleLogger.showDateTime=true -cp "$connect/*" \
    org.apache.kafka.connect.cli.ConnectStandalone "$folder/worker.properties" \
    "$folder/connector.json"
}

worker_properties() {
  cat <<PROPERTIES
bootstrap.servers=$1
listeners=http://127.0.0.1:$2
offset.storage.file.filename=$3/offsets
offset.flush.interval.ms=1000
plugin.path=$plugin
plugin.discovery=service_load
connector.client.config.override.policy=All
key.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
PROPERTIES
}

# snapshot.mode: it has a position and no history of the schema yet, which is as it was then.
connector_json() {
  cat <<JSON
{
  "name": "debezium",
  "initial_state": "STOPPED",
  "config": {
    "connector.class": "io.debezium.connector.mysql.MySqlConnector",
    "tasks.max": "1",
    "database.hostname": "${1%:*}",
    "database.port": "${1#*:}",
    "database.user": "root",
    "database.password": "",
    "database.server.id": "4000000002",
    "topic.prefix": "debezium",
    "table.include.list": "bench.t",
    "snapshot.mode": "recovery",
    "snapshot.locking.mode": "none",
    "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
    "schema.history.internal.file.filename": "$2/history",
    "include.schema.changes": "false",
    "poll.interval.ms": "50",
    "producer.override.acks": "all",
    "producer.override.linger.ms": "20",
    "producer.override.batch.size": "524288",
    "producer.override.buffer.memory": "67108864",
    "producer.override.compression.type": "lz4"
  }
}
JSON
}

place_at() {
  local url=http://127.0.0.1:$1/connectors/debezium offset waited=0
  offset="{\"file\":\"$2\",\"pos\":4,\"gtids\":\"$3\"}"
  until curl -sf "$url/status" | grep -q '"state":"STOPPED"'; do
    [ $((waited++)) -lt 600 ] || fail "Kafka Connect does not answer at $url"
    sleep 0.1
  done
  curl -sSf -o /dev/null -X PATCH -H 'Content-Type: application/json' "$url/offsets" --data \
    "{\"offsets\":[{\"partition\":{\"server\":\"debezium\"},\"offset\":$offset}]}"
}

verb=${1:-}
[ $# -gt 0 ] && shift
case $verb-$# in
  connect-4) run "$@" ;;
  place-3) place_at "$@" ;;
  resume-1) curl -sSf -X PUT "http://127.0.0.1:$1/connectors/debezium/resume" ;;
  *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 64 ;;
esac
