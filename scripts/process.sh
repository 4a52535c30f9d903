# Sourced: processes that are remembered in a file, and recognised again.
# shellcheck shell=bash

# What tells a process from every other that ever had its pid: when it was started, in which boot.
identity_of() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The name, in parentheses, may hold spaces: the fields are counted after it.
  read -r -a fields <<<"${stat##*) }"
  # A zombie has ended.
  [ "${fields[0]}" != Z ] || return 1
  echo "$1 ${fields[19]} $(cat /proc/sys/kernel/random/boot_id)"
}

# remember FILE PID: the file holds the pid alone, as other tools want it; which process had it then
# stands in FILE.id.
remember() { identity_of "$2" >"$1.id" && echo "$2" >"$1"; }

# running FILE: prints the pid of the remembered process if it still runs.
running() {
  local known=$1.id
  [ -s "$1" ] || return 1
  # What an earlier version wrote: all in one file.
  if [ ! -s "$known" ]; then known=$1; fi
  known=$(cat "$known")
  [ "$(identity_of "${known%% *}")" = "$known" ] && echo "${known%% *}"
}

# forget FILE
forget() { rm -f "$1" "$1.id"; }

# ends_within FILE SECONDS: waits for the remembered process to end.
ends_within() {
  local turns=$(($2 * 10))
  while running "$1" >/dev/null; do
    [ $((turns--)) -gt 0 ] || return 1
    sleep 0.1
  done
}
