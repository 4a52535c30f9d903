# Sourced: Kafka Connect with one connector of Debezium in it, which is stopped until it is resumed.
# shellcheck shell=bash

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$repository/scripts/process.sh"
. "$repository/scripts/servers/place.sh"
. "$repository/scripts/servers/packages.sh"
. "$repository/scripts/servers/kafka.sh"

connect=$place/dist/connect-$kafka_version

# fetch_connector NAME VERSION: Connect, and a connector in $place/dist/NAME-VERSION.
fetch_connector() {
  local plugin=$place/dist/$1-$2
  "$repository/scripts/install.sh" java mvn curl
  if [ ! -e "$connect/complete" ]; then
    say "fetching Kafka Connect $kafka_version into $connect"
    rm -rf "$connect"
    maven_jars "$connect" "org.apache.kafka:connect-runtime:$kafka_version" \
      "org.apache.kafka:connect-json:$kafka_version" org.slf4j:slf4j-simple:1.7.36
    touch "$connect/complete"
  fi
  if [ ! -e "$plugin/complete" ]; then
    say "fetching $1 $2 into $plugin"
    rm -rf "$plugin"
    mkdir -p "$plugin"
    tar xzf "$(maven_file "io.debezium:$1:$2:tar.gz:plugin")" -C "$plugin"
    touch "$plugin/complete"
  fi
}

# run_connector NAME VERSION KAFKA REST_PORT FOLDER: becomes Connect. The connector is described by
# FOLDER/connector.json.
run_connector() {
  local folder=$5
  locked debezium fetch_connector "$1" "$2"
  worker_properties "$place/dist/$1-$2" "$3" "$4" "$folder" >"$folder/worker.properties"
  exec java -Xms256m -Xmx1g -XX:+UseG1GC -Djava.net.preferIPv4Stack=true \
    -Dorg.slf4j.simpleLogger.showDateTime=true -cp "$connect/*" \
    org.apache.kafka.connect.cli.ConnectStandalone "$folder/worker.properties" \
    "$folder/connector.json"
}

worker_properties() {
  cat <<PROPERTIES
bootstrap.servers=$2
listeners=http://127.0.0.1:$3
offset.storage.file.filename=$4/offsets
offset.flush.interval.ms=1000
plugin.path=$1
plugin.discovery=service_load
connector.client.config.override.policy=All
key.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
PROPERTIES
}

# wait_until_stopped REST_PORT NAME: until Connect is up, with the connector in it.
wait_until_stopped() {
  local url=http://127.0.0.1:$1/connectors/$2 waited=0
  until curl -sf "$url/status" | grep -q '"state":"STOPPED"'; do
    [ $((waited++)) -lt 600 ] || fail "Kafka Connect does not answer at $url"
    sleep 0.1
  done
}

resume() { curl -sSf -X PUT "http://127.0.0.1:$1/connectors/$2/resume"; }
