//! Asks a server what it is, and where its binlog ends: MySQL here, MariaDB in its own file.

use std::collections::HashMap;

use binlog::{FIRST_POS, GtidSet};
use mysql_async::Row;

use source_table::Conn;

use super::{
    connect::classify,
    mariadb,
    server::{Product, Server},
};
use crate::{
    checkpoint::{BinlogPlace, SourcePosition},
    config::SourceConfig,
    error::{Error, Result},
};

const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'version', \
    'version_comment', 'log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata', \
    'binlog_row_value_options', 'gtid_mode', 'gtid_executed', 'gtid_purged', 'server_id', \
    'sync_binlog', 'binlog_transaction_compression', 'read_only', 'basedir', 'aurora_version', \
    'innodb_flush_log_at_trx_commit', 'innodb_native_foreign_keys', 'log_replica_updates', \
    'log_slave_updates', 'binlog_expire_logs_seconds', 'binlog_expire_logs_auto_purge', \
    'expire_logs_days', 'gtid_strict_mode') OR Variable_name LIKE 'rds\\_%' OR Variable_name LIKE 'polardb\\_%'";

impl Server {
    /// Asks the server for all its facts.
    ///
    /// # Errors
    ///
    /// As [`connect`](super::connect()).
    pub async fn ask(conn: &mut Conn, config: &SourceConfig) -> Result<Self> {
        let rows: Vec<(String, String)> =
            conn.query(VARIABLES).await.map_err(|error| classify(config, error))?;
        let variables: HashMap<String, String> = rows.into_iter().collect();
        if mariadb::is_version(variables.get("version").map_or("", String::as_str)) {
            return mariadb::ask(conn, config, variables).await;
        }
        let text = |name: &str| variables.get(name).cloned().unwrap_or_default();
        let set = |name: &str| {
            text(name).parse::<GtidSet>().map_err(|error| Error::Internal(error.to_string()))
        };
        let has_gtids = text("gtid_mode").eq_ignore_ascii_case("ON");
        Ok(Self {
            uuid: text("server_uuid"),
            version: text("version"),
            gtid_executed: if has_gtids { Some(set("gtid_executed")?) } else { None },
            gtid_purged: if has_gtids { set("gtid_purged")? } else { GtidSet::default() },
            product: Product::Mysql,
            variables,
        })
    }

    /// The current end of the binlog.
    ///
    /// # Errors
    ///
    /// As [`connect`](super::connect()); also when the binlog is off.
    pub async fn binlog_end(
        &self,
        conn: &mut Conn,
        config: &SourceConfig,
    ) -> Result<SourcePosition> {
        if self.product == Product::Mariadb {
            return mariadb::binlog_end(conn, config).await;
        }
        let row = binlog_status(conn).await.map_err(|error| classify(config, error))?;
        let row = row.ok_or_else(|| {
            Error::refused("the binlog is off", "start the server with --log-bin")
        })?;
        let text = |name: &str| row.get::<String, _>(name).unwrap_or_default();
        let executed = text("Executed_Gtid_Set").parse();
        let executed = executed.map_err(|error| Error::Internal(format!("{error}")))?;
        Ok(SourcePosition {
            gtids: self.gtid_executed.is_some().then_some(executed),
            file: text("File"),
            pos: row.get("Position").unwrap_or(FIRST_POS),
        })
    }

    /// The current end of the binlog, as a place.
    ///
    /// # Errors
    ///
    /// As [`Server::binlog_end`].
    pub async fn end_place(&self, conn: &mut Conn, config: &SourceConfig) -> Result<BinlogPlace> {
        if self.product == Product::Mariadb {
            return mariadb::end_place(conn, config).await;
        }
        let SourcePosition { file, pos, .. } = self.binlog_end(conn, config).await?;
        Ok(BinlogPlace { file, pos })
    }
}

/// The schemas that `--binlog-do-db` and `--binlog-ignore-db` name, as far as the server shows
/// them.
pub(crate) async fn binlog_filters(conn: &mut Conn) -> (Vec<String>, Vec<String>) {
    let row = binlog_status(conn).await.ok().flatten();
    let names = |column: &str| -> Vec<String> {
        let text = row.as_ref().and_then(|row| row.get::<Option<String>, _>(column).flatten());
        let text = text.unwrap_or_default();
        text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    (names("Binlog_Do_DB"), names("Binlog_Ignore_DB"))
}

async fn binlog_status(conn: &mut Conn) -> mysql_async::Result<Option<Row>> {
    match conn.query_first::<Row, _>("SHOW BINARY LOG STATUS").await {
        // The statement's name before MySQL 8.2, and on MariaDB.
        Err(mysql_async::Error::Server(error)) if error.code == 1064 => {
            conn.query_first::<Row, _>("SHOW MASTER STATUS").await
        }
        other => other,
    }
}
