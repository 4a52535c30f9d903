#!/usr/bin/env bash
# event-worker in the background, or with no word in the foreground.
#
#   scripts/startDbEventWorker.sh [start|stop|restart|reload|status] [--config config/db_event_listener.toml]
. "$(dirname "${BASH_SOURCE[0]}")/daemon.sh"
verb=
case ${1:-} in
  "" | --*) ;;
  *) verb=$1; shift ;;
esac
daemon "$verb" event-worker run "$@"
if [ "$verb" = status ]; then
  "$(program_path event-worker)" status "$@"
fi
