#!/bin/sh
# MySQL's image runs or sources this file when it makes its data folder. It creates the user of dts.
MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysql -uroot --protocol=socket <<SQL
CREATE USER 'dts'@'%' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'dts'@'%';
SQL
