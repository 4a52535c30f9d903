# Sourced by servers.sh: where things lie, and processes that are remembered and recognised.
# shellcheck shell=bash

place=${DBEVENT_SERVERS:-$repository/target/servers}
mkdir -p "$place/run"
place=$(cd "$place" && pwd)

say() { echo "servers: $*" >&2; }
fail() { say "$*"; exit 69; }

# What tells a process from every other that ever had its pid: the boot, and when it was started.
identity_of() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The name, in parentheses, may hold spaces: the fields are counted after it.
  read -r -a fields <<<"${stat##*) }"
  [ "${fields[0]}" != Z ] || return 1
  echo "$1 ${fields[19]} $(cat /proc/sys/kernel/random/boot_id)"
}

remember() { identity_of "$2" >"$place/run/$1.pid"; }

# Prints the pid of a server that we started and that still runs.
running() {
  local file=$place/run/$1.pid known
  [ -s "$file" ] || return 1
  known=$(cat "$file")
  [ "$(identity_of "${known%% *}")" = "$known" ] && echo "${known%% *}"
}

# Stops a server that we started, and no other process that may have its pid now.
stop_process() {
  local name=$1 pid
  if ! pid=$(running "$name"); then rm -f "$place/run/$name.pid"; say "$name is not running"; return; fi
  kill "$pid"
  for _ in $(seq 600); do running "$name" >/dev/null || break; sleep 0.1; done
  if running "$name" >/dev/null; then
    say "$name did not end within 60 s: killing it"
    kill -9 "$pid"
  fi
  rm -f "$place/run/$name.pid"
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
