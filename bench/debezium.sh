#!/usr/bin/env bash
# The real Debezium on Kafka Connect, for the benchmark: fetched by Maven, tuned for throughput.
#
#   bench/debezium.sh connect MYSQL KAFKA REST_PORT FOLDER [--rows]   in the foreground; reads
#                                          nothing yet; with --rows it writes rows alone
#   bench/debezium.sh place REST_PORT BINLOG_FILE GTIDS      waits for it; it will begin after these
#   bench/debezium.sh resume REST_PORT                       from now on it reads
#
# MYSQL and KAFKA are host:port. It reads the schema bench and writes the topic debezium.bench.t.
# Settings are what Debezium's and Kafka's documentation give for throughput: no schemas in the JSON,
# larger batches of the producer, compressed. Larger batches and queues of the connector itself
# made it no faster here, only half as large again, so it keeps its own.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/connect.sh"

# Becomes Connect with the connector in it, which is stopped until it is resumed.
run() {
  local folder=$4
  mkdir -p "$folder"
  connector_json "$1" "$folder" "${5:-}" >"$folder/connector.json"
  run_connector debezium-connector-mysql 3.6.1.Final "$2" "$3" "$folder"
}

# The rows alone, without what surrounds them: as they are after the change.
rows_alone() {
  cat <<JSON
    "transforms": "row",
    "transforms.row.type": "io.debezium.transforms.ExtractNewRecordState",
    "tombstones.on.delete": "true",
JSON
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
$([ -z "$3" ] || rows_alone)
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
  local url=http://127.0.0.1:$1/connectors/debezium offset
  offset="{\"file\":\"$2\",\"pos\":4,\"gtids\":\"$3\"}"
  wait_until_stopped "$1" debezium
  curl -sSf -o /dev/null -X PATCH -H 'Content-Type: application/json' "$url/offsets" --data \
    "{\"offsets\":[{\"partition\":{\"server\":\"debezium\"},\"offset\":$offset}]}"
}

verb=${1:-}
[ $# -gt 0 ] && shift
case $verb-$# in
  connect-4 | connect-5) run "$@" ;;
  place-3) place_at "$@" ;;
  resume-1) resume "$1" debezium ;;
  *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 64 ;;
esac
