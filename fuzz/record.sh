#!/usr/bin/env bash
# Cuts the small inputs of corpus/ and the table maps of tables.binlog from what real servers log:
# each runs the statements in record/, and `examples/cut.rs` takes its binlog files apart. Needs
# what scripts/servers.sh needs, and a nightly compiler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
servers=$PWD/../scripts/servers.sh
work=$(mktemp -d)
pid=
stop() { [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid"; } || true; pid=; }
trap 'stop; rm -rf "$work"' EXIT

# record FLAVOR PORT FILE...: runs the statements of each file on a server of its own.
record() {
  local flavor=$1 port=$2 folder=$work/$1 file
  shift 2
  mkdir -p "$folder"
  "$servers" mysql-instance "$flavor" "$port" "$folder" >"$folder.log" 2>&1 &
  pid=$!
  until "$servers" client "$flavor" -P"$port" -e 'SELECT 1' >/dev/null 2>&1; do
    kill -0 "$pid" || { tail "$folder.log" >&2; exit 1; }
    sleep 0.2
  done
  # What the server says first, and why it refuses what is no answer.
  exec 3<>"/dev/tcp/127.0.0.1/$port"
  printf '\1\0\0\1x' >&3
  cat <&3 >"$folder/greeting"
  exec 3<&-
  for file in "$@"; do
    "$servers" client "$flavor" -P"$port" --binary-mode --default-character-set=utf8mb4 <"$file"
  done
  stop
}

record 9.7 23497 record/mysql.sql record/mysql-9.7.sql
record 8.0 23480 record/mysql.sql
(echo 'SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10;'
  cat record/mariadb.sql) >"$work/compressed.sql"
record mariadb-10.11 23411 record/mariadb.sql "$work/compressed.sql"
record mariadb-11.8 23418 record/mariadb.sql "$work/compressed.sql"
cargo +nightly run --release --quiet --example cut -- "$work"/{9.7,8.0,mariadb-10.11,mariadb-11.8}
