//! Two servers that replicate: MySQL by its set of GTIDs, MariaDB by its position in domains.

use anyhow::{Result, ensure};
use mysql_async::{Row, prelude::Queryable};

use crate::{programs::Site, servers::Mysql};

/// An empty server with its data in a folder of the site.
///
/// # Errors
///
/// When it does not answer.
pub async fn start_server(site: &Site, flavor: &str, name: &str) -> Result<Mysql> {
    let folder = site.path(name);
    std::fs::create_dir_all(&folder)?;
    let server = Mysql::start(flavor, &folder).await?;
    if server.is_mariadb() {
        // `dts check` prints this right: without it a MariaDB's replica is not recognised.
        let grant = "GRANT REPLICA MONITOR ON *.* TO 'dts'@'%'";
        server.execute(&["SET SESSION sql_log_bin = 0", grant]).await?;
    }
    Ok(server)
}

/// Makes a server follow another, with more options of the statement.
///
/// # Errors
///
/// When the server refuses.
pub async fn follow(replica: &Mysql, source: &Mysql, more: &str) -> Result<()> {
    let port = source.port();
    if source.is_mariadb() {
        let change = format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
             MASTER_USER = 'dts', MASTER_PASSWORD = 'dts', MASTER_USE_GTID = slave_pos, \
             MASTER_CONNECT_RETRY = 1, MASTER_SSL = 0, MASTER_SSL_VERIFY_SERVER_CERT = 0{more}"
        );
        return replica.execute(&[&change, "START SLAVE"]).await;
    }
    let change = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
         SOURCE_USER = 'dts', SOURCE_PASSWORD = 'dts', GET_SOURCE_PUBLIC_KEY = 1, \
         SOURCE_AUTO_POSITION = 1, SOURCE_CONNECT_RETRY = 1{more}"
    );
    replica.execute(&[&change, "START REPLICA"]).await
}

/// Ends replication: the server is a source of its own from then on.
///
/// # Errors
///
/// When it does not execute in time what it has received.
pub async fn promote(server: &Mysql) -> Result<()> {
    let replica = if server.is_mariadb() { "SLAVE" } else { "REPLICA" };
    server.execute(&[&format!("STOP {replica} IO_THREAD")]).await?;
    wait_for_gtids(server, &received(server).await?).await?;
    server.execute(&[&format!("STOP {replica}"), &format!("RESET {replica} ALL")]).await
}

/// The GTIDs that a replica has received.
///
/// # Errors
///
/// When it does not answer.
pub async fn received(replica: &Mysql) -> Result<String> {
    let (query, column) = match replica.is_mariadb() {
        true => ("SHOW SLAVE STATUS", "Gtid_IO_Pos"),
        false => ("SHOW REPLICA STATUS", "Retrieved_Gtid_Set"),
    };
    let rows: Vec<Row> = replica.connect().await?.query(query).await?;
    Ok(rows.first().and_then(|row| row.get(column)).unwrap_or_default())
}

/// The GTIDs that a server has executed.
///
/// # Errors
///
/// When it does not answer.
pub async fn gtids(server: &Mysql) -> Result<String> {
    let variable = if server.is_mariadb() { "gtid_binlog_pos" } else { "gtid_executed" };
    server.ask(&format!("SELECT @@GLOBAL.{variable}")).await
}

/// Waits until a replica has everything that its source has.
///
/// # Errors
///
/// When it has not in time.
pub async fn wait_for(replica: &Mysql, source: &Mysql) -> Result<()> {
    wait_for_gtids(replica, &gtids(source).await?).await
}

/// Waits until a server has executed these.
///
/// # Errors
///
/// When it has not in time.
pub async fn wait_for_gtids(server: &Mysql, gtids: &str) -> Result<()> {
    let wait = if server.is_mariadb() { "MASTER_GTID_WAIT" } else { "WAIT_FOR_EXECUTED_GTID_SET" };
    let query = format!("SELECT {wait}('{gtids}', 60)");
    let timed_out: Option<i8> = server.connect().await?.query_first(query).await?;
    ensure!(timed_out == Some(0), "the server does not get {gtids}");
    Ok(())
}
