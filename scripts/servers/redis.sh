# Sourced by servers.sh: real Redis and Valkey servers, started as those of MySQL are (mysql.sh).
#
# Redis 7 is Debian bookworm's, Redis 8 and Valkey 9 are sid's, unpacked and run through their own
# loaders.
# shellcheck shell=bash

redis_port() {
  case $1 in
    redis-7) echo 23437 ;;
    redis-8) echo 23438 ;;
    valkey-9) echo 23439 ;;
    *) fail "$1 is not known; write redis-7, redis-8 or valkey-9" ;;
  esac
}

redis_get() {
  local flavor=$1 root=$place/dist/$1 suite
  [ -e "$root/complete" ] && return
  case $flavor in
    redis-7) suite=bookworm ;;
    redis-8 | valkey-9) suite=sid ;;
  esac
  say "fetching $flavor into $root (about 10 MB)"
  rm -rf "$root"
  mkdir -p "$root"
  unpack_debian "$suite" "$root" "adduser lsb-base passwd systemd init-system-helpers \
    sysvinit-utils libsystemd0 perl perl-base dpkg libcap2" \
    "${flavor%-*}-server" "${flavor%-*}-tools"
  touch "$root/complete"
}

# redis_program FLAVOR server|cli [ARGUMENT...]: becomes a program of a flavor.
redis_program() {
  local root=$place/dist/$1 program=${1%-*}-$2 loader
  shift 2
  loader=$root/usr/lib64/ld-linux-x86-64.so.2
  if [ ! -e "$loader" ]; then loader=$root/lib64/ld-linux-x86-64.so.2; fi
  exec "$loader" --library-path "$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu" \
    "$root/usr/bin/$program" "$@"
}

# redis_run FLAVOR PORT FOLDER [OPTION...]: becomes a server with its data in FOLDER. Every write is
# on disk before it is answered, so that a kill -9 loses nothing. The options that are given win.
redis_run() {
  local flavor=$1 port=$2 folder=$3
  shift 3
  redis_port "$flavor" >/dev/null
  locked redis redis_get "$flavor"
  mkdir -p "$folder"
  redis_program "$flavor" server --port "$port" --bind 127.0.0.1 \
    --dir "$(cd "$folder" && pwd)" --save "" --appendonly yes --appendfsync always "$@"
}

redis_client() {
  local flavor=$1 port
  shift
  port=$(redis_port "$flavor")
  locked redis redis_get "$flavor"
  redis_program "$flavor" cli -p "$port" "$@"
}

redis_answers() { [ "$( (redis_client "$1" ping) 2>/dev/null)" = PONG ]; }

redis_up() {
  local name=$1 port pid started file=$place/run/$1.pid
  port=$(redis_port "$name")
  if pid=$(running "$file"); then say "$name is up already on 127.0.0.1:$port"; return; fi
  locked redis redis_get "$name"
  if redis_answers "$name"; then
    fail "127.0.0.1:$port is taken by a server that is not ours; stop it first"
  fi
  started=$SECONDS
  # A session of its own: an interrupt at the terminal is not for it.
  setsid nohup "$repository/scripts/servers.sh" redis-instance "$name" "$port" "$place/run/$name" \
    >"$place/run/$name.log" 2>&1 </dev/null &
  pid=$!
  remember "$file" "$pid"
  until redis_answers "$name"; do
    running "$file" >/dev/null || fail "$name ended at once; see $place/run/$name.log"
    if [ $((SECONDS - started)) -gt 60 ]; then
      fail "$name does not answer after 60 s; see $place/run/$name.log"
    fi
    sleep 0.1
  done
  say "$name is up on 127.0.0.1:$port ($((SECONDS - started)) s, $(resident_mb "$pid") MB)"
}

redis_status() {
  local pid file=$place/run/$1.pid
  if pid=$(running "$file") && redis_answers "$1"; then
    echo "$1 is up on 127.0.0.1:$(redis_port "$1") (pid $pid, $(resident_mb "$pid") MB)"
  else
    echo "$1 is down"
    return 1
  fi
}
