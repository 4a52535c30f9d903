#!/usr/bin/env bash
# One listener alone, in the foreground: ID is the NAME of its table [listeners.NAME].
#
#   scripts/DbEventListener.sh -t ID [--config config/db_event_listener.toml]
. "$(dirname "${BASH_SOURCE[0]}")/daemon.sh"
daemon "" event-worker listener "$@"
