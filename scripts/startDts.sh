#!/usr/bin/env bash
# dts in the background, or with no word in the foreground.
#
#   scripts/startDts.sh [start|stop|restart|reload|status] [--config config/dts.toml]
. "$(dirname "${BASH_SOURCE[0]}")/daemon.sh"
verb=
case ${1:-} in
  "" | --*) ;;
  *) verb=$1; shift ;;
esac
daemon "$verb" dts run "$@"
