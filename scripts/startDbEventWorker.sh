#!/usr/bin/env bash
# event-worker in the background, or with no word in the foreground. With -g only the listeners of
# these groups: such a program has a pid file and a log of its own, and runs beside others.
#
#   scripts/startDbEventWorker.sh [start|stop|restart|reload|status] [-g GROUP] [--config config/db_event_listener.toml]
. "$(dirname "${BASH_SOURCE[0]}")/daemon.sh"
verb=
case ${1:-} in
  "" | -*) ;;
  *) verb=$1; shift ;;
esac

# The groups among the arguments, a line each.
groups_of() {
  while [ $# -gt 0 ]; do
    case $1 in
      -g | --group) echo "${2:-}"; shift ;;
      --group=* | -g=*) echo "${1#*=}" ;;
      -g*) echo "${1#-g}" ;;
    esac
    shift
  done
}

# The name that event-worker, too, gives to the files of these groups.
joined=$(groups_of "$@" | LC_ALL=C sort -u | paste -s -d + -)
instance=event-worker${joined:+-$joined}
detaches=yes
daemon "$verb" event-worker run "$@"
if [ "$verb" = status ]; then
  "$(program_path event-worker)" status "$@"
fi
