# Sourced by servers.sh: where things lie, and how a server is stopped.
# shellcheck shell=bash

place=${DBEVENT_SERVERS:-$repository/target/servers}
mkdir -p "$place/run"
place=$(cd "$place" && pwd)

say() { echo "servers: $*" >&2; }
fail() { say "$*"; exit 69; }

# Stops a server that we started, and no other process that may have its pid now.
stop_server() {
  local name=$1 pid file=$place/run/$1.pid
  if ! pid=$(running "$file"); then rm -f "$file"; say "$name is not running"; return; fi
  kill "$pid"
  if ! ends_within "$file" 60; then
    say "$name did not end within 60 s: killing it"
    kill -9 "$pid"
  fi
  rm -f "$file"
  say "$name stopped"
}

# One process at a time may fetch or initialise: others wait here and find it done.
locked() {
  local lock=$1
  shift
  (
    flock 9
    "$@"
  ) 9>"$place/$lock.lock"
}

resident_mb() { awk '/^VmRSS/ { printf "%d", $2 / 1024 }' "/proc/$1/status"; }

# free_port FROM: prints a TCP port of the 4000 from there that nobody listens on. Kept below those
# that the system gives to connections, it is still free for a server that is started again.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$(($1 + RANDOM % 4000))
    if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
  done
  fail "no free port was found from $1 on"
}
