#!/usr/bin/env bash
# Runs all checks and tests: what CI runs, and what to run before a commit.
#
#   scripts/test.sh          everything that every change must pass
#   scripts/test.sh --all    the same, and what takes longer:
#                              - every test at its full size (DBEVENT_TEST_SIZE=full): a million rows,
#                                ten kills, all keys and values, long waits
#                              - the same on a second server or bus: an older MySQL and MariaDB, Kafka
#                                where the log was used, failover of MariaDB
#                              - three brokers: hundreds of tables, a rolling restart, one that hangs
#                              - the README's section on containers, where Docker runs
#                              - a client of the event log in Go (needs go)
#                              - licences, banned and duplicate crates (cargo-deny)
#
# Tools that are missing are installed (it says so first); real servers (MySQL, MariaDB, Kafka,
# PostgreSQL, Redis, OpenSearch) are started, and stopped again if they were not up. Output is kept
# in target/test-logs.
# The last line sums up.
#
# The budget on two cores: 25 minutes with everything to be fetched and built, 12 when it was before.
# What does not fit belongs to --all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
logs=target/test-logs

case ${1:-} in
  "") all= ;;
  --all) all=yes; export DBEVENT_TEST_SIZE=full ;;
  *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 64 ;;
esac

# phase NAME COMMAND...: runs it, keeps its output, says how long it took, and goes on if it fails.
failed=()
phase() {
  local name=$1 began=$SECONDS
  shift
  echo "== $name"
  "$@" 2>&1 | tee "$logs/$name.log" || failed+=("$name")
  echo "== $name took $((SECONDS - began)) s"
}

# The servers are fetched and started while the compiler works.
started=()
start_servers() {
  local server
  for server in mysql-9.7 mysql-8.0 mariadb-10.11 mariadb-11.8 kafka postgres redis-7 \
    opensearch-2; do
    ./scripts/servers.sh status "$server" >/dev/null 2>&1 || started+=("$server")
  done
  ./scripts/servers.sh up >"$logs/starting.log" 2>&1 &
  starting=$!
}

# Says what came of it.
show_servers() {
  cat "$logs/starting.log"
  return "$servers_outcome"
}

stop_servers() {
  if [ ${#started[@]} -gt 0 ]; then ./scripts/servers.sh down "${started[@]}"; fi
  started=()
}

# What the failed tests said, once more, where a reader of the end finds it: 30 lines of each.
tell_failures() {
  awk '/^---- .* stdout ----$/ { left = 30 }
    /^failures:$/ { left = 0 }
    left-- > 0' "$logs"/{tests,long,containers}.log 2>/dev/null || true
}

# Adds up the lines that each test binary ends with.
sum_up() {
  awk '/^test result:/ { passed += $4; failed += $6; binaries++ }
    END { printf "%d passed, %d failed\n", passed, failed; exit !(binaries && !failed) }' \
    "$logs/tests.log" ${all:+"$logs/long.log" "$logs/containers.log"}
}

# The tests of whole programs wait for servers and processes most of the time, so more of them than
# cores run at once, and those of the crates run beside them. Cargo would build the packages that
# are selected alone with other features, and so once more: theirs are run without it. Brokers that
# live for seconds are not worth the JVM's second compiler.
run_tests() {
  local binaries binary crates outcome=0
  export KAFKA_JVM_PERFORMANCE_OPTS=${KAFKA_JVM_PERFORMANCE_OPTS--XX:TieredStopAtLevel=1}
  binaries=$(cargo test --locked --workspace --no-run --message-format=json |
    sed -n 's|.*/e2e#.*"test":true},"features".*"executable":"\([^"]*\)".*|\1|p')
  [ -n "$binaries" ] || return
  RUST_TEST_THREADS=${RUST_TEST_THREADS:-2} cargo test --locked --workspace --no-fail-fast \
    --exclude e2e >"$logs/crates.log" 2>&1 &
  crates=$!
  lint_beside "$crates" >"$logs/lints.log" 2>&1 &
  lints=$!
  for binary in $binaries; do
    (cd e2e && RUST_TEST_THREADS=${RUST_TEST_THREADS:-4} "$binary") || outcome=1
  done
  wait "$crates" || outcome=1
  cat "$logs/crates.log"
  wait "$lints" || outcome=1
  cat "$logs/lints.log"
  return "$outcome"
}

# Lints once the tests of this process run: before that it has the build directory for itself. Where
# the build was by clippy, it has said all.
lint_beside() {
  if [ "${RUSTC_WORKSPACE_WRAPPER-}" = clippy-driver ]; then return; fi
  while kill -0 "$1" 2>/dev/null && ! grep -q Running "$logs/crates.log"; do sleep 1; done
  nice -n 19 cargo clippy --locked --workspace --all-targets -- -D warnings
}

dependencies() {
  command -v cargo-deny >/dev/null ||
    env -u RUSTC_WORKSPACE_WRAPPER cargo install --locked --quiet cargo-deny
  cargo deny --locked check licenses bans sources
}

# The README's section on containers, where a container engine is.
containers() {
  if docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
    cargo test --locked --package e2e -- --ignored containers::
  else
    echo "not run: Docker does not answer here, or has no Compose"
  fi
}

mkdir -p "$logs"
rm -f "$logs"/*.log
phase tools ./scripts/install.sh build curl python3 setpriv flock java mvn openssl unzip
trap stop_servers EXIT
trap 'exit 130' INT TERM
start_servers
phase format cargo fmt --all --check
# The benchmarks, too, for the lints; nothing runs them here.
phase build cargo build --locked --workspace --all-targets
if [ -n "$all" ]; then phase dependencies dependencies; fi
servers_outcome=0
wait "$starting" || servers_outcome=$?
phase servers show_servers
phase tests run_tests
if [ -n "$all" ]; then
  phase long cargo test --locked --package dts --package e2e --package event-log-program -- \
    --ignored --skip containers::
  phase containers containers
fi
stop_servers
echo "all phases took $SECONDS s; output is in $logs"
if [ ${#failed[@]} -gt 0 ]; then
  tell_failures
  echo "failed phases: ${failed[*]}"
fi
sum_up
[ ${#failed[@]} -eq 0 ]
