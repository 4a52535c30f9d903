#!/usr/bin/env bash
# Runs all checks and tests: what CI runs, and what to run before a commit.
#
#   scripts/test.sh          everything that every change must pass
#   scripts/test.sh --all    and the long runs, the full sizes, licences and duplicate crates
#
# Tools that are missing are installed (it says so first); real servers, MySQL, MariaDB and Kafka, are
# started, and stopped again if they were not up. Output is kept in target/test-logs. The last line
# sums up.
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

stop_servers() {
  if [ ${#started[@]} -gt 0 ]; then ./scripts/servers.sh down "${started[@]}"; fi
  started=()
}

# Adds up the lines that each test binary ends with.
sum_up() {
  awk '/^test result:/ { passed += $4; failed += $6; binaries++ }
    END { printf "%d passed, %d failed\n", passed, failed; exit !(binaries && !failed) }' \
    "$logs/tests.log"
}

dependencies() {
  command -v cargo-deny >/dev/null || cargo install --locked --quiet cargo-deny
  cargo deny --locked check licenses bans sources
}

mkdir -p "$logs"
phase tools ./scripts/install.sh build curl python3 setpriv flock java mvn openssl
phase format cargo fmt --all --check
phase lints cargo clippy --locked --release --workspace --all-targets -- -D warnings
phase build cargo build --locked --release --workspace --all-targets
if [ -n "$all" ]; then phase dependencies dependencies; fi

started=()
for server in mysql-9.7 mysql-8.0 mariadb-10.11 mariadb-11.8 kafka; do
  ./scripts/servers.sh status "$server" >/dev/null 2>&1 || started+=("$server")
done
trap stop_servers EXIT
trap 'exit 130' INT TERM
phase servers ./scripts/servers.sh up

phase tests cargo test --locked --release --workspace --no-fail-fast
stop_servers
echo "all phases took $SECONDS s; output is in $logs"
if [ ${#failed[@]} -gt 0 ]; then echo "failed phases: ${failed[*]}"; fi
sum_up
[ ${#failed[@]} -eq 0 ]
