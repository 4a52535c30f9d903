# Sourced by servers.sh: a real PostgreSQL server.
#
# It is PostgreSQL 15 of Debian bookworm, unpacked and run through its own loader.
# shellcheck shell=bash

postgres_port=23432
postgres_root=$place/dist/postgres-15

postgres_get() {
  local bin=$postgres_root/usr/lib/postgresql/15/bin program
  [ -e "$postgres_root/complete" ] && return
  say "fetching PostgreSQL 15 into $postgres_root (about 30 MB)"
  rm -rf "$postgres_root"
  mkdir -p "$postgres_root"
  unpack_debian bookworm "$postgres_root" "perl perl-base debconf ssl-cert locales locales-all \
    adduser passwd ucf sed sysvinit-utils init-system-helpers netbase systemd tzdata python3 \
    postgresql-common postgresql-client-common" postgresql-15 postgresql-client-15
  # initdb starts the program `postgres` that lies beside it: each becomes a script that goes
  # through our loader, under the name that its other files are found by.
  for program in initdb postgres psql; do
    mv "$bin/$program" "$bin/$program.real"
    postgres_script "$program" >"$bin/$program"
    chmod 755 "$bin/$program"
  done
  touch "$postgres_root/complete"
}

postgres_script() {
  cat <<SCRIPT
#!/bin/sh
root=$postgres_root
bin=\$root/usr/lib/postgresql/15/bin
loader=\$root/lib64/ld-linux-x86-64.so.2
[ -e "\$loader" ] || loader=\$root/usr/lib64/ld-linux-x86-64.so.2
libraries=\$root/usr/lib/x86_64-linux-gnu:\$root/lib/x86_64-linux-gnu
exec "\$loader" --library-path "\$libraries" --argv0 "\$bin/$1" "\$bin/$1.real" "\$@"
SCRIPT
}

# postgres_as FOLDER PROGRAM [ARGUMENT...]: becomes a program of the server, which refuses to run as
# root: there it runs as nobody, who may pass through the folders of root.
postgres_as() {
  local folder=$1 bin=$postgres_root/usr/lib/postgresql/15/bin user=()
  if [ "$(id -u)" = 0 ]; then
    chown 65534:65534 "$folder"
    user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    user+=(--inh-caps=+dac_override --ambient-caps=+dac_override)
    if ! "${user[@]}" true 2>/dev/null; then user=("${user[@]:0:4}"); fi
  fi
  # What the machine has of a language counts for nothing.
  exec "${user[@]}" env HOME="$folder" LC_ALL=C TZ=UTC "$bin/$2" "${@:3}"
}

postgres_template() {
  local template=$postgres_root/template
  [ -e "$template/complete" ] && return
  rm -rf "$template"
  mkdir -p "$template"
  (postgres_as "$template" initdb -D "$template/data" -U postgres -A trust -E UTF8 --locale=C \
    --no-sync) >"$template.log" 2>&1 ||
    fail "PostgreSQL cannot be initialised: $(tail -3 "$template.log")"
  touch "$template/complete"
}

postgres_prepare() {
  postgres_get
  postgres_template
}

# postgres_run PORT FOLDER [OPTION...]: becomes a server with its data in FOLDER, made there if
# there is none. Memory is kept small; durability is PostgreSQL's default.
postgres_run() {
  local port=$1 folder=$2
  shift 2
  locked postgres postgres_prepare
  mkdir -p "$folder"
  folder=$(cd "$folder" && pwd)
  if [ ! -d "$folder/data" ]; then
    rm -rf "$folder/data.new"
    cp -a "$postgres_root/template/data" "$folder/data.new"
    mv "$folder/data.new" "$folder/data"
  fi
  postgres_as "$folder" postgres -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 \
    -c unix_socket_directories= -c shared_buffers=64MB -c max_connections=200 -c log_timezone=UTC \
    -c timezone=UTC "$@"
}

# Becomes psql at our server, whose superuser is postgres, without a password.
postgres_client() {
  locked postgres postgres_prepare
  exec "$postgres_root/usr/lib/postgresql/15/bin/psql" -X -h127.0.0.1 -p"$postgres_port" \
    -Upostgres "$@"
}

postgres_answers() {
  (postgres_client -Atc 'SELECT 1') >/dev/null 2>&1
}

postgres_up() {
  local name=postgres pid started=$SECONDS file=$place/run/postgres.pid
  if pid=$(running "$file"); then say "$name is up already on 127.0.0.1:$postgres_port"; return; fi
  locked postgres postgres_prepare
  if postgres_answers; then
    fail "127.0.0.1:$postgres_port is taken by a server that is not ours; stop it first"
  fi
  setsid nohup "$repository/scripts/servers.sh" postgres-instance "$postgres_port" \
    "$place/run/$name" >"$place/run/$name.log" 2>&1 </dev/null &
  pid=$!
  remember "$file" "$pid"
  until postgres_answers; do
    running "$file" >/dev/null || fail "$name ended at once; see $place/run/$name.log"
    if [ $((SECONDS - started)) -gt 60 ]; then
      fail "$name does not answer after 60 s; see $place/run/$name.log"
    fi
    sleep 0.1
  done
  say "$name is up on 127.0.0.1:$postgres_port ($((SECONDS - started)) s, $(resident_mb "$pid") MB)"
}

postgres_status() {
  local pid
  if pid=$(running "$place/run/postgres.pid") && postgres_answers; then
    echo "postgres is up on 127.0.0.1:$postgres_port (pid $pid, $(resident_mb "$pid") MB)"
  else
    echo "postgres is down"
    return 1
  fi
}
