#!/usr/bin/env bash
# Debezium's JDBC sink on Kafka Connect, for the benchmark: fetched by Maven, tuned for throughput.
#
#   bench/jdbc_sink.sh connect MYSQL KAFKA REST_PORT FOLDER NAME   in the foreground; NAME is new
#   bench/jdbc_sink.sh wait REST_PORT NAME      until it could begin
#   bench/jdbc_sink.sh resume REST_PORT NAME    from now on it writes
#
# It reads the topic that bench/debezium.sh has filled with --rows, and writes the table copy.t of
# MYSQL as the user dbevent. Settings are what its documentation gives for throughput: a reduction
# buffer, larger batches, a task for each partition, and inserts that the driver joins. Records have
# no schemas: Connect is given the schema once, which spares it reading one with each record.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/connect.sh"

run() {
  mkdir -p "$4"
  connector_json "$1" "$5" >"$4/connector.json"
  run_connector debezium-connector-jdbc 3.6.0.Final "$2" "$3" "$4"
}

field() { echo "{\"field\":\"$1\",\"type\":\"$2\",\"optional\":$3${4:+,$4}}"; }

# Prints the JSON as a text within JSON.
schema() {
  local name=$1 fields
  shift
  fields=$(IFS=,; echo "$*")
  echo "{\"type\":\"struct\",\"name\":\"$name\",\"optional\":false,\"fields\":[$fields]}" |
    sed 's/"/\\"/g'
}

value_schema() {
  schema debezium.bench.t.Value "$(field id int64 false)" "$(field a int32 true)" \
    "$(field b string true)" \
    "$(field c int64 true '"name":"io.debezium.time.Timestamp","version":1')" \
    "$(field d bytes true "$(decimal)")" \
    "$(field e string true '"name":"io.debezium.data.Json","version":1')" \
    "$(field f double true)"
}

decimal() {
  echo '"name":"org.apache.kafka.connect.data.Decimal","version":1,
    "parameters":{"scale":"2","connect.decimal.precision":"12"}' | tr -d '\n '
}

connector_json() {
  local url="jdbc:mysql://$1/copy?rewriteBatchedStatements=true&cachePrepStmts=true"
  cat <<JSON
{
  "name": "$2",
  "initial_state": "STOPPED",
  "config": {
    "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
    "tasks.max": "4",
    "topics": "debezium.bench.t",
    "connection.url": "$url&allowPublicKeyRetrieval=true&useSSL=false",
    "connection.username": "dbevent",
    "connection.password": "dbevent",
    "connection.pool.max_size": "8",
    "collection.name.format": "t",
    "insert.mode": "upsert",
    "delete.enabled": "true",
    "primary.key.mode": "record_key",
    "primary.key.fields": "id",
    "schema.evolution": "none",
    "use.reduction.buffer": "true",
    "batch.size": "1000",
    "consumer.override.auto.offset.reset": "earliest",
    "consumer.override.max.poll.records": "1000",
    "consumer.override.max.partition.fetch.bytes": "4194304",
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "key.converter.schemas.enable": "true",
    "key.converter.schema.content": "$(schema debezium.bench.t.Key "$(field id int64 false)")",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter.schemas.enable": "true",
    "value.converter.schema.content": "$(value_schema)"
  }
}
JSON
}

verb=${1:-}
[ $# -gt 0 ] && shift
case $verb-$# in
  connect-5) run "$@" ;;
  wait-2) wait_until_stopped "$@" ;;
  resume-2) resume "$@" ;;
  *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 64 ;;
esac
