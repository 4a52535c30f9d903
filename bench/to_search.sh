#!/usr/bin/env bash
# For the benchmark: the script that a user would write to fill an index once from a SELECT.
#
#   bench/to_search.sh fetch           what it needs
#   bench/to_search.sh MYSQL SEARCH    both host:port; the table bench.t goes to the index t
#
# The packages that it needs are put into a folder of their own beside the servers.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$repository/scripts/servers/place.sh"

[ $# -eq 2 ] || [ "$*" = fetch ] || {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
  exit 64
}
packages=(PyMySQL==1.2.4 opensearch-py==3.2.0)
venv=$place/bench-venv

fetch() {
  "$repository/scripts/install.sh" python3 venv
  [ "$(cat "$venv/packages" 2>/dev/null)" = "${packages[*]}" ] && return
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" --disable-pip-version-check --quiet install "${packages[@]}"
  echo "${packages[*]}" >"$venv/packages"
}

locked bench-venv fetch >&2
[ "$*" != fetch ] || exit 0
exec "$venv/bin/python3" "$repository/bench/to_search.py" "$@"
