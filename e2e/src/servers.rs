//! The real servers that `scripts/servers.sh` starts, and instances of a test's own.

/// The address of the MySQL 9.7 that tests share (`TEST_MYSQL_97` names another).
pub fn mysql_97_url() -> String {
    std::env::var("TEST_MYSQL_97").unwrap_or_else(|_| "mysql://root@127.0.0.1:23397".to_owned())
}

/// The address of the MySQL 8.0.31 that tests share (`TEST_MYSQL_80` names another).
pub fn mysql_80_url() -> String {
    std::env::var("TEST_MYSQL_80").unwrap_or_else(|_| "mysql://root@127.0.0.1:23380".to_owned())
}
