# Sourced by servers.sh: real Kafka brokers, each one KRaft node that is broker and controller.
#
# Kafka comes from Maven. Its settings are Kafka's defaults, those of durability too, but for what
# lets one node work alone, start fast and stay small.
# shellcheck shell=bash

kafka_version=4.3.1
kafka_port=23392
kafka_controller_port=23393

kafka_get() {
  local root=$place/dist/kafka-$kafka_version version
  "$repository/scripts/install.sh" java mvn openssl
  [ -e "$root/complete" ] && return
  version=$(java -version 2>&1 | sed -nE '1s/.*"(1\.)?([0-9]+).*/\2/p')
  [ "${version:-0}" -ge 17 ] || fail "Kafka needs Java 17 or newer: make that the java on the PATH"
  say "fetching Kafka $kafka_version into $root (about 55 MB)"
  rm -rf "$root"
  maven_jars "$root" "org.apache.kafka:kafka_2.13:$kafka_version" \
    "org.apache.kafka:kafka-tools:$kafka_version" org.slf4j:slf4j-simple:1.7.36
  touch "$root/complete"
}

# Becomes Java with Kafka's classes: kafka_java LOG_LEVEL [OPTION...] CLASS [ARGUMENT...]
kafka_java() {
  local level=$1
  shift
  exec java -XX:+UseSerialGC -Djava.net.preferIPv4Stack=true \
    -Dorg.slf4j.simpleLogger.defaultLogLevel="$level" -Dorg.slf4j.simpleLogger.showDateTime=true \
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS" \
    -cp "$place/dist/kafka-$kafka_version/*" "$@"
}

# Becomes one of Kafka's tools, which are known by the names of their classes.
kafka_tool() {
  locked kafka kafka_get
  kafka_java error -Xmx256m -XX:TieredStopAtLevel=1 "$@"
}

# kafka_run [--secure | --join FIRST] PORT FOLDER [KEY=VALUE...]: becomes a broker with its data in
# FOLDER, made there if there is none; with --join one more of the cluster whose first broker has its
# data in FIRST and runs. The settings that are given win. FOLDER/ports keeps the two other ports:
# that of the controller, and the admin port of a secure broker.
kafka_run() {
  local secure= first= port folder
  if [ "$1" = --secure ]; then secure=yes; shift; fi
  if [ "$1" = --join ]; then first=$(cd "$2" && pwd); shift 2; fi
  port=$1 folder=$2
  shift 2
  locked kafka kafka_prepare
  mkdir -p "$folder"
  kafka_serve "$secure" "$port" "$(cd "$folder" && pwd)" "$@"
}

kafka_serve() {
  local secure=$1 port=$2 folder=$3 controller admin
  shift 3
  [ -s "$folder/ports" ] || echo "$(free_port 24000) $(free_port 28000)" >"$folder/ports"
  read -r controller admin <"$folder/ports"
  {
    kafka_properties "$folder/data" "127.0.0.1:$controller"
    if [ -n "$secure" ]; then kafka_secure "$folder" "$port" "$controller" "$admin"
    else kafka_open 127.0.0.1 "$port" "$controller"; fi
    if [ -n "${first:-}" ]; then kafka_joins "$first" "$port"; fi
    if [ $# -gt 0 ]; then printf '%s\n' "$@"; fi
  } >"$folder/server.properties"
  [ -e "$folder/data/meta.properties" ] || kafka_format "$folder"
  # shellcheck disable=SC2086
  kafka_java info ${KAFKA_JVM_PERFORMANCE_OPTS:-} -Xms64m -Xmx512m -Xlog:cds=off -Xlog:cds+dynamic=off "${kafka_archive[@]}" \
    kafka.Kafka "$folder/server.properties"
}

kafka_prepare() {
  kafka_get
  [ -e "$kafka_classes" ] || kafka_archive_classes
}

# What the JVM keeps of Kafka's classes, so that a broker starts in two thirds of the time. A JVM
# that cannot use it does without it.
kafka_classes=$place/dist/kafka-$kafka_version.jsa
kafka_archive=(-XX:SharedArchiveFile="$kafka_classes")

# It is written at the end of a broker that only lives for that.
kafka_archive_classes() {
  local folder=$place/dist/kafka-archive pid
  local kafka_archive=(-XX:ArchiveClassesAtExit="$kafka_classes.new")
  say "preparing Kafka's classes, so that brokers start faster"
  rm -rf "$folder"
  mkdir -p "$folder"
  (kafka_serve "" "$(free_port 20000)" "$folder") >"$folder/log" 2>&1 &
  pid=$!
  until grep -q 'Kafka Server started' "$folder/log"; do
    kill -0 "$pid" || fail "Kafka does not start: $(tail -3 "$folder/log")"
    sleep 0.1
  done
  kill "$pid"
  wait "$pid" || true
  if [ -e "$kafka_classes.new" ]; then mv "$kafka_classes.new" "$kafka_classes"
  else : >"$kafka_classes"; fi
  rm -rf "$folder"
}

# A node that is alone has one copy of everything. Few partitions of Kafka's own and short sessions
# let it start fast, also after a kill -9, when the controller waits for the broker that was.
kafka_properties() {
  cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$2
controller.listener.names=CONTROLLER
log.dirs=$1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=300
controller.quorum.election.timeout.ms=200
controller.quorum.fetch.timeout.ms=1000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
PROPERTIES
}

# kafka_open ADDRESS PORT CONTROLLER_PORT: everybody may do everything.
kafka_open() {
  cat <<PROPERTIES
listeners=PLAINTEXT://$1:$2,CONTROLLER://127.0.0.1:$3
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
PROPERTIES
}

# kafka_joins FIRST PORT: a broker of a cluster whose controller is another one.
kafka_joins() {
  local controller
  read -r controller _ <"$1/ports"
  cat <<PROPERTIES
process.roles=broker
node.id=$2
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$2
PROPERTIES
}

# kafka_secure FOLDER PORT CONTROLLER_PORT ADMIN_PORT: SASL_SSL on the port. On the admin port
# nobody says who they are and may do everything: that is where a test grants rights.
kafka_secure() {
  local folder=$1 user plain=
  kafka_certificates "$folder" >&2
  for user in "${kafka_users[@]}"; do plain+=" user_$user=\"$user-secret\""; done
  cat <<PROPERTIES
listeners=SECURE://127.0.0.1:$2,CONTROLLER://127.0.0.1:$3,ADMIN://127.0.0.1:$4
listener.security.protocol.map=SECURE:SASL_SSL,CONTROLLER:PLAINTEXT,ADMIN:PLAINTEXT
inter.broker.listener.name=ADMIN
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
ssl.keystore.type=PEM
ssl.keystore.location=$folder/broker.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=$kafka_security.plain.PlainLoginModule required$plain;
listener.name.secure.scram-sha-256.sasl.jaas.config=$kafka_security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config=$kafka_security.scram.ScramLoginModule required;
PROPERTIES
}

kafka_security=org.apache.kafka.common.security
# The password of each is its name and -secret. admin may do everything, the others nothing yet.
kafka_users=(admin dts worker nobody)

# broker.pem is what ca.pem signed, with its key.
kafka_certificates() {
  [ -e "$1/broker.pem" ] && return
  certificates "$1" broker
  cat "$1/broker.key" "$1/broker.crt" >"$1/broker.pem.new"
  mv "$1/broker.pem.new" "$1/broker.pem"
}

# Prepares the data folder of a broker: one that joins others is of their cluster, each other one has
# a cluster of its own, with the users' SCRAM secrets in it.
kafka_format() {
  local folder=$1 template=$place/dist/kafka-formatted-$kafka_version
  if [ -n "${first:-}" ]; then
    kafka_storage "$folder" "$(sed -n 's/^cluster.id=//p' "$first/data/meta.properties")"
    return
  fi
  locked kafka-format kafka_template "$template" "$folder"
  rm -rf "$folder/data"
  cp -a "$template/data" "$folder/data.new"
  sed -i -E "s/^(cluster|directory)\.id=.*/\1.id=$(kafka_id)/" "$folder/data.new/meta.properties"
  mv "$folder/data.new" "$folder/data"
}

# A JVM prepares it once, for all.
kafka_template() {
  local template=$1 like=$2 user mechanism users=()
  [ -e "$template/complete" ] && return
  for user in "${kafka_users[@]}"; do
    for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
      users+=(--add-scram "$mechanism=[name=$user,password=$user-secret]")
    done
  done
  rm -rf "$template"
  mkdir -p "$template"
  sed "s|^log.dirs=.*|log.dirs=$template/data|" "$like/server.properties" >"$template/server.properties"
  kafka_storage "$template" "$(kafka_id)" "${users[@]}"
  touch "$template/complete"
}

kafka_id() { head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d =; }

# kafka_storage FOLDER CLUSTER [OPTION...]
kafka_storage() {
  local folder=$1 id=$2
  shift 2
  (kafka_java error -Xmx128m -XX:TieredStopAtLevel=1 kafka.tools.StorageTool format \
    --cluster-id "$id" --config "$folder/server.properties" "$@") >"$folder/format.log" 2>&1 ||
    fail "the data folder of Kafka cannot be prepared: $(tail -3 "$folder/format.log")"
}

kafka_answers() { (: <"/dev/tcp/127.0.0.1/$kafka_port") 2>/dev/null; }

kafka_up() {
  local folder=$place/run/kafka file=$place/run/kafka.pid log=$place/run/kafka.log pid started
  if pid=$(running "$file"); then say "kafka is up already on 127.0.0.1:$kafka_port"; return; fi
  locked kafka kafka_prepare
  if kafka_answers; then
    fail "127.0.0.1:$kafka_port is taken by a program that is not ours; stop it first"
  fi
  started=$SECONDS
  mkdir -p "$folder"
  echo "$kafka_controller_port" >"$folder/ports"
  # A session of its own: an interrupt at the terminal is not for it. And nobody kills this broker,
  # so a machine that is busy need not cut it off: Kafka's default.
  setsid nohup "$repository/scripts/servers.sh" kafka-instance "$kafka_port" "$folder" \
    broker.session.timeout.ms=9000 broker.heartbeat.interval.ms=2000 \
    >"$log" 2>&1 </dev/null &
  pid=$!
  remember "$file" "$pid"
  until grep -q 'Kafka Server started' "$log"; do
    running "$file" >/dev/null || fail "kafka ended at once; see $log"
    if [ $((SECONDS - started)) -gt 120 ]; then fail "kafka is not up after 120 s; see $log"; fi
    sleep 0.1
  done
  say "kafka is up on 127.0.0.1:$kafka_port ($((SECONDS - started)) s, $(resident_mb "$pid") MB)"
}

kafka_status() {
  local pid file=$place/run/kafka.pid
  if pid=$(running "$file") && kafka_answers; then
    echo "kafka is up on 127.0.0.1:$kafka_port (pid $pid, $(resident_mb "$pid") MB)"
  else
    echo "kafka is down"
    return 1
  fi
}
