#!/usr/bin/env bash
# Measures this checkout on this machine; bench/README.md says what and how.
#
#   bench/run.sh [--runs 3] [--rows 1000000] [--transactions 200000] [--seconds 30]
#
# Writes bench/results/latest.json and latest.md. Let the machine be quiet meanwhile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
scripts/install.sh build curl setpriv java mvn openssl
cargo build --release --locked -p dts -p event-worker -p e2e -p bench
exec "${CARGO_TARGET_DIR:-target}/release/bench" all "$@"
