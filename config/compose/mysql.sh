#!/bin/sh
# Run, or sourced, by MySQL's image when it makes its data folder: the user that dts connects as.
MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysql -uroot --protocol=socket <<SQL
CREATE USER 'dts'@'%' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'dts'@'%';
SQL
