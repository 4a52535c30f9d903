#!/usr/bin/env bash
# Measures this checkout on this machine; bench/README.md says what and how.
#
#   bench/run.sh [--runs 3] [--rows 1000000] [--transactions 200000] [--seconds 30]
#                [--large-rows 500] [--against REVISION] [--only log|kafka|source|full-sync|park|sinks]
#
# With --against the decoder of another commit is built too, and measured in turns with this one.
# Writes bench/results/latest.json and latest.md, but for --only. Let the machine be quiet meanwhile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
target=${CARGO_TARGET_DIR:-target}

# build_against COMMIT: builds the benchmark of another commit, apart from this one.
build_against() {
  local folder=$target/against/$1
  rm -rf "$folder"
  mkdir -p "$folder"
  git archive "$1" | tar x -C "$folder"
  CARGO_TARGET_DIR=$target/against/target cargo build --release --locked -p bench \
    --manifest-path "$folder/Cargo.toml"
  cp "$target/against/target/release/bench" "$target/against/bench-$1"
  rm -rf "$folder"
}

arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --against)
      commit=$(git rev-parse --verify --short=12 "${2:?--against needs a revision}^{commit}")
      build_against "$commit"
      arguments+=(--against "$target/against/bench-$commit")
      shift
      ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
scripts/install.sh build curl setpriv java mvn openssl
cargo build --release --locked -p dts -p event-worker -p e2e -p bench
exec "$target/release/bench" all "${arguments[@]}"
