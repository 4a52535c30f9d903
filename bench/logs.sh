#!/usr/bin/env bash
# Measures the event log beside Kafka and NATS JetStream on this machine; bench/README.md says what.
#
#   bench/logs.sh [--runs 3] [--seconds 5] [--records 1000000] [--mirror-bytes 10000000000]
#
# Prints the results. Needs Go, and 30 GB on the disk of target/. Let the machine be quiet meanwhile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/local/go/bin
target=${CARGO_TARGET_DIR:-target}
command -v go >/dev/null || { echo "bench/logs.sh: go is missing (https://go.dev/dl)" >&2; exit 69; }
scripts/install.sh build curl setpriv java
mkdir -p "$target/release"
go -C bench/jetstream build -o "$(realpath "$target")/release/jetstream" .
cargo build --release --locked -p event-log-program -p e2e -p bench
exec "$target/release/bench" logs --jetstream "$target/release/jetstream" "$@"
