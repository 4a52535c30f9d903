# Sourced by startDts.sh and startDbEventWorker.sh: one program in the background.
#
# Its pid and its log lie in data/run of the directory that holds scripts/, where it also runs. The log
# only grows: scripts/logrotate.conf keeps it small. Under systemd: scripts/systemd/.
#
# Who sources it may set: $instance, by which the files are named instead of by the program; and
# $detaches, for a program that goes to the background by itself (-d).
# shellcheck shell=bash
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=$(dirname "$here")
. "$here/process.sh"

# The program where it was installed, or as cargo built it, or on the PATH.
program_path() {
  local path
  for path in "$home/bin/$1" "$home/$1" "${CARGO_TARGET_DIR:-$home/target}/release/$1"; do
    if [ -f "$path" ] && [ -x "$path" ]; then echo "$path"; return; fi
  done
  command -v "$1" || {
    echo "$1 is not built: run cargo build --release" >&2
    exit 69
  }
}

# daemon VERB PROGRAM ARGUMENT...: start, stop, restart, reload or status; no verb runs it in front.
daemon() {
  local verb=$1 name=${instance:-$2} path
  path=$(program_path "$2")
  shift 2
  cd "$home"
  # What lies there is ours alone.
  mkdir -p -m 700 data data/run
  local pid_file=data/run/$name.pid log=data/run/$name.log
  case $verb in
    "") exec "$path" "$@" ;;
    start) daemon_start "$path" "$@" ;;
    stop) daemon_stop ;;
    restart) daemon_stop && daemon_start "$path" "$@" ;;
    reload) daemon_reload ;;
    status) daemon_status ;;
    *) echo "$0 start|stop|restart|reload|status, or no word for the foreground" >&2; exit 64 ;;
  esac
}

daemon_start() {
  local pid outcome=0 why="it was not asked"
  if pid=$(running "$pid_file"); then echo "$name runs already (pid $pid)"; return; fi
  if [ -n "${detaches:-}" ]; then
    # It waits until the program is up, or shows why it is not.
    "$@" -d --pid-file "$home/$pid_file" --log-file "$home/$log" || exit $?
    return
  fi
  # A session of its own: it outlives this terminal.
  (umask 077 && touch "$log")
  setsid nohup "$@" >>"$log" 2>&1 </dev/null &
  pid=$!
  remember "$pid_file" "$pid" || true
  # What is wrong with config, machine, bus or source shows until it is ready, or right after that.
  for _ in {1..20}; do
    sleep 0.5
    if ! running "$pid_file" >/dev/null; then
      wait "$pid" || outcome=$?
      forget "$pid_file"
      echo "$name ended at once with code $outcome; the end of $home/$log:" >&2
      tail -n 15 "$log" >&2
      exit "$outcome"
    fi
    if [ -z "$why" ]; then break; fi
    # The program and its arguments, without "run".
    why=$("$1" healthy "${@:3}" 2>&1) || continue
    # Each dts stands by until it leads, and only then looks at its source.
    case $why in *standby*) ;; *) why= ;; esac
  done
  echo "$name started (pid $pid, log $home/$log)"
  case $why in
    "") ;;
    *"ready: standby"*) echo "It stands by: another one leads" ;;
    *) echo "It is not ready yet: ${why##*$'\n'}" ;;
  esac
}

daemon_stop() {
  local pid
  if ! pid=$(running "$pid_file"); then forget "$pid_file"; echo "$name is not running"; return; fi
  kill "$pid"
  # The programs themselves give up after 60 s, and log what they left.
  if ends_within "$pid_file" 65; then
    echo "$name stopped"
  else
    echo "$name did not end: killing it; the end of $home/$log:" >&2
    tail -n 15 "$log" >&2
    kill -9 "$pid"
  fi
  forget "$pid_file"
}

# Makes the program read its changed config. If the config has mistakes, the log says which, and the
# old config stays in force.
daemon_reload() {
  local pid
  if ! pid=$(running "$pid_file"); then echo "$name is not running" >&2; return 69; fi
  kill -HUP "$pid"
  echo "$name reloads its config; its log $home/$log says what changed"
}

daemon_status() {
  local pid
  if pid=$(running "$pid_file"); then echo "$name runs (pid $pid, log $home/$log)"; return; fi
  echo "$name is not running"
  return 3
}
