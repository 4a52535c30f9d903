# Sourced by MySQL's image when it makes its data folder: the user that dts connects as.
# shellcheck shell=bash
docker_process_sql <<SQL
CREATE USER 'dts'@'%' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'dts'@'%';
SQL
