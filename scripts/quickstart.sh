#!/usr/bin/env bash
# From nothing to the first events: builds, starts everything, changes a row, shows what arrives.
#
#   scripts/quickstart.sh         again whenever you like; the second time takes seconds
#   scripts/quickstart.sh stop    stops what it started (the data stays in target/quickstart)
#
# It needs the ports 12358, 12359 and 19288, which must be free.
# It starts a MySQL of its own (scripts/servers.sh), unless MYSQL_URL names one:
#   MYSQL_URL=mysql://user:password@host:3306 scripts/quickstart.sh
# The user needs REPLICATION SLAVE, REPLICATION CLIENT and SELECT, and for the schema
# dbevent_quickstart, which the quickstart makes there, ALL.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/process.sh
export PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH

schema=dbevent_quickstart
# A checkpoint belongs to one server: each has a folder of its own.
site=$PWD/target/quickstart/$(cksum <<<"${MYSQL_URL:-}" | cut -d' ' -f1)
built=${CARGO_TARGET_DIR:-$PWD/target}/debug
programs=$PWD/target/quickstart
free_ports="
  If a port is taken, stop the program that has it, then run this again. One of dbevent is stopped in
  its folder, by scripts/quickstart.sh stop, or by scripts/startDbEventWorker.sh stop and then
  scripts/startDts.sh stop."

say() { echo "quickstart: $*"; }
fail() { echo "quickstart: $*" >&2; exit 1; }

stop() {
  local name file pid
  for name in event-worker dts; do
    file=$programs/$name.pid
    if pid=$(running "$file"); then
      kill "$pid"
      ends_within "$file" 65 || kill -9 "$pid"
      say "$name stopped"
    fi
    rm -f "$file"
  done
  if [ -e "$programs/own-mysql" ]; then
    scripts/servers.sh down mysql-9.7
    rm "$programs/own-mysql"
  fi
}

# Takes MYSQL_URL apart, or starts a server.
find_mysql() {
  if [ -z "${MYSQL_URL:-}" ]; then
    if ! scripts/servers.sh status mysql-9.7 >/dev/null; then touch "$programs/own-mysql"; fi
    scripts/servers.sh up mysql-9.7
    host=127.0.0.1 port=23397 user=dts password=dts writer=root writer_password=
    return
  fi
  local form='^mysql://([^:@/]+)(:([^@/]*))?@([^:/]+)(:([0-9]+))?/?$'
  [[ $MYSQL_URL =~ $form ]] || fail "MYSQL_URL is not mysql://user:password@host:port"
  user=${BASH_REMATCH[1]} password=${BASH_REMATCH[3]}
  host=${BASH_REMATCH[4]} port=${BASH_REMATCH[6]:-3306} writer=$user writer_password=$password
}

sql() {
  MYSQL_PWD=$writer_password scripts/servers.sh tool mysql \
    --host="$host" --port="$port" --user="$writer" --batch --skip-column-names --execute="$1"
}

configure() {
  mkdir -p "$site"
  cat >"$site/dts.toml" <<TOML
name = "quickstart"
[source]
hosts = ["$host:$port"]
user = "$user"
password = { env = "QUICKSTART_PASSWORD" }
[capture]
tables = ["$schema.*"]
[bus]
directory = "$site/event-log"
TOML
  cat >"$site/db_event_listener.toml" <<TOML
[supervisor]
directory = "$site/event-worker"
[listeners.print]
subscribe = { $schema = [] }
start = "earliest"
handler = "print"
TOML
}

# start NAME CONFIG PORT...: runs a program that is not running yet; its stdout is kept apart.
start() {
  local name=$1 config=$2 file=$programs/$1.pid port
  shift 2
  if running "$file" >/dev/null; then say "$name runs already"; return; fi
  for port in "$@"; do free "$name" "$port"; done
  QUICKSTART_PASSWORD=$password setsid nohup "$built/$name" run --config "$site/$config" \
    >>"$site/$name.out" 2>>"$site/$name.log" </dev/null &
  remember "$file" $! || true
}

# free NAME PORT: ends where another program listens on the port. It would answer in our place.
free() {
  (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null || return 0
  if command -v ss >/dev/null; then ss -Hltnp "sport = :$2" >&2 || true; fi
  fail "$1 cannot start: another program listens on port $2 of this machine.$free_ports"
}

# ready NAME PORT: waits until the program that we started says that it moves.
ready() {
  local waited=0
  until curl -sf -o /dev/null "http://127.0.0.1:$2/readyz" && lives "$1"; do
    lives "$1" || ended "$1"
    [ $((waited++)) -lt 300 ] || broken "$1" "is not ready after 60 s"
    sleep 0.2
  done
  say "$1 is up: http://127.0.0.1:$2"
}

lives() { running "$programs/$1.pid" >/dev/null; }

ended() { broken "$1" "has ended, and the lines above say why.$free_ports"; }

broken() {
  tail -n 10 "$site/$1.log" >&2
  fail "$1 $2
  All of its log is in $site/$1.log"
}

change_a_row() {
  sql "CREATE DATABASE IF NOT EXISTS $schema;
    CREATE TABLE IF NOT EXISTS $schema.wx_config
      (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40), price DECIMAL(8,2));
    INSERT INTO $schema.wx_config (name, price) VALUES ('first', 19.90);
    SET @id = LAST_INSERT_ID();
    UPDATE $schema.wx_config SET price = 17.50 WHERE id = @id;
    DELETE FROM $schema.wx_config WHERE id = @id;"
}

# Prints what the listener printed after the given line, once it is three events.
show_events() {
  local before=$1 waited=0 name
  until [ "$(events)" -ge $((before + 3)) ]; do
    for name in dts event-worker; do lives "$name" || ended "$name"; done
    [ $((waited++)) -lt 300 ] || broken event-worker "handled no event within 60 s"
    sleep 0.2
  done
  tail -n +$((before + 1)) "$site/event-worker.out"
}

events() { if [ -e "$site/event-worker.out" ]; then wc -l <"$site/event-worker.out"; else echo 0; fi; }

case ${1:-} in
  "") ;;
  stop) stop; exit ;;
  *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 64 ;;
esac
mkdir -p "$programs"
scripts/install.sh build curl
say "building (the first time takes minutes)"
cargo build --locked --quiet -p dts -p event-worker
find_mysql
configure
start dts dts.toml 12358 19288
ready dts 12358
start event-worker db_event_listener.toml 12359
ready event-worker 12359
before=$(events)
say "inserting, updating and deleting a row of $schema.wx_config"
change_a_row
say "what the listener was given:"
show_events "$before"
cat <<NEXT

It works. To go on:
  - change rows yourself, and watch:  tail -f $site/event-worker.out
      $(if [ -z "${MYSQL_URL:-}" ]; then echo "scripts/servers.sh client 9.7 $schema"; else echo "in your MySQL, schema $schema"; fi)
  - how it is:  curl http://127.0.0.1:12358/api/v1/status
                curl http://127.0.0.1:12359/api/v1/listeners
  - your own tables and your own handler: README.md, "Your own table"
  - what is built here starts soon but is not fast; for speed:  cargo build --release
  - stop it:  scripts/quickstart.sh stop
NEXT
