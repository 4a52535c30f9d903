#!/usr/bin/env bash
# The Python packages that tests use, in a folder of their own: prints the interpreter that has them.
#
#   $(scripts/venv.sh) -c 'import prometheus_client'
#
# It lies under target/servers (DBEVENT_SERVERS names another place), and is made where it is missing.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
place=${DBEVENT_SERVERS:-$repository/target/servers}
packages=(prometheus-client==0.26.0 grpcio-tools==1.85.1)

"$repository/scripts/install.sh" python3 venv flock >&2
mkdir -p "$place"
place=$(cd "$place" && pwd)
venv=$place/venv
# The file with its contents is written last, so that half of a folder is made again.
(
  flock 9
  if [ "$(cat "$venv/packages" 2>/dev/null)" != "${packages[*]}" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" --disable-pip-version-check --quiet install "${packages[@]}" >&2
    echo "${packages[*]}" >"$venv/packages"
  fi
) 9>"$place/venv.lock"
echo "$venv/bin/python3"
