# Sourced by servers.sh: real MariaDB servers, started as those of MySQL are (mysql.sh).
#
# 10.11 is Debian bookworm's and 11.8 is trixie's, unpacked and run through their own loaders.
# shellcheck shell=bash

mariadb_get() {
  local flavor=$1 root=$place/dist/$1 suite
  [ -e "$root/complete" ] && return
  case $flavor in
    mariadb-10.11) suite=bookworm ;;
    mariadb-11.8) suite=trixie ;;
  esac
  say "fetching MariaDB ${flavor#mariadb-} into $root (about 20 MB)"
  rm -rf "$root"
  mkdir -p "$root"
  unpack_debian "$suite" "$root" "perl perl-base debconf mysql-common mariadb-common galera-4 gawk \
    adduser psmisc rsync socat procps lsof iproute2 passwd systemd" \
    mariadb-server-core mariadb-client-core mariadb-client
  touch "$root/complete"
}

# mariadb_program FLAVOR PATH [ARGUMENT...]: becomes a program of a flavor.
mariadb_program() {
  local root=$place/dist/$1 program=$2 loader
  shift 2
  loader=$root/usr/lib64/ld-linux-x86-64.so.2
  if [ ! -e "$loader" ]; then loader=$root/lib64/ld-linux-x86-64.so.2; fi
  exec "$loader" --library-path "$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu" \
    "$root/usr/$program" --no-defaults "$@"
}

# Becomes the server; must be the last call of a subshell.
mariadb_exec() {
  local flavor=$1 root=$place/dist/$1 user=()
  shift
  if [ "$(id -u)" = 0 ]; then user=(--user=root); fi
  mariadb_program "$flavor" sbin/mariadbd --basedir="$root/usr" \
    --lc-messages-dir="$root/usr/share/mysql" \
    --character-sets-dir="$root/usr/share/mysql/charsets" \
    --plugin-dir="$root/usr/lib/mysql/plugin" "${user[@]}" "$@"
}

# What mariadb-install-db does, without its search for programs: the system tables' own scripts,
# and then our users.
mariadb_system_tables() {
  local folder=$place/dist/$1/usr/share/mysql name file
  [ -d "$folder" ] || folder=$place/dist/$1/usr/share/mariadb
  # A line is a statement here.
  printf '%s\n' "CREATE DATABASE IF NOT EXISTS mysql;" "USE mysql;" \
    "SET @auth_root_socket = NULL;" "SET @skip_auth_anonymous = '1';"
  for name in system_tables performance_tables system_tables_data; do
    for file in "$folder"/{mysql,mariadb}_"$name.sql"; do [ ! -e "$file" ] || cat "$file"; done
  done
  for file in "$folder"/{maria_add_gis_sp_bootstrap,mysql_sys_schema,mariadb_sys_schema}.sql; do
    [ ! -e "$file" ] || cat "$file"
  done
  echo "FLUSH PRIVILEGES;"
  mysql_users
}

mariadb_template() {
  local flavor=$1 template=$place/dist/$1/template
  mariadb_certificate "$flavor"
  [ -e "$template/complete" ] && return
  rm -rf "$template"
  mkdir -p "$template"/{data/mysql,tmp}
  mariadb_system_tables "$flavor" >"$template/tables.sql"
  (mariadb_exec "$flavor" --bootstrap --datadir="$template/data" --tmpdir="$template/tmp" \
    --log-warnings=0 --enforce-storage-engine= <"$template/tables.sql") >"$template/log" 2>&1 ||
    fail "MariaDB ${flavor#mariadb-} cannot be initialised: $(tail -3 "$template/log")"
  touch "$template/complete"
}

# 11.8 speaks TLS, and would make itself a key at each start, which may take two seconds.
mariadb_certificate() {
  [ "$1" != mariadb-11.8 ] || certificates "$place/dist/$1" server >/dev/null 2>&1
}

# mariadb_tls FLAVOR: the options for it.
mariadb_tls() {
  local at=$place/dist/$1/server
  [ "$1" != mariadb-11.8 ] || printf '%s\n' "--ssl-cert=$at.crt" "--ssl-key=$at.key"
}

# What is set for MariaDB and not for MySQL.
mariadb_options=(--gtid-strict-mode=ON --log-slave-updates=ON --innodb-log-file-size=64M)

# Becomes one of the programs of the newest MariaDB.
mariadb_tool() {
  locked mysql mysql_get mariadb-11.8
  mariadb_program mariadb-11.8 "bin/$1" "${@:2}"
}
