//! What the server is and how it is configured: the facts that decide whether we can read from it.

use std::collections::HashMap;

use binlog::GtidSet;
use mysql_async::Row;

use source_table::Conn;

use super::connect::classify;
use crate::{config::SourceConfig, error::Result};

/// The facts, read at one moment.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its identity.
    pub uuid: String,
    /// Its version, as the server prints it.
    pub version: String,
    /// All its transactions, if it has GTIDs.
    pub gtid_executed: Option<GtidSet>,
    /// The transactions that are no longer in its binlog.
    pub gtid_purged: GtidSet,
    /// Its product.
    pub product: Product,
    pub(super) variables: HashMap<String, String>,
}

/// The product that a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// MySQL, or a server that behaves like MySQL.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl std::fmt::Display for Product {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Mysql => "MySQL",
            Self::Mariadb => "MariaDB",
        })
    }
}

impl Server {
    /// A global variable, if the server has the variable and we asked for it.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The variables that we asked for, in no order.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether applications can write to the server: then it may be the source of others.
    pub(super) fn is_writable(&self) -> bool {
        !self.is("read_only", "ON")
    }

    pub(crate) fn is(&self, name: &str, wanted: &str) -> bool {
        self.variables.get(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
    }

    /// The binlog files that the server still has, oldest first, with their sizes.
    ///
    /// # Errors
    ///
    /// As [`connect`](super::connect()).
    pub async fn binlog_files(
        conn: &mut Conn,
        config: &SourceConfig,
    ) -> Result<Vec<(String, u64)>> {
        let rows: Vec<Row> =
            conn.query("SHOW BINARY LOGS").await.map_err(|error| classify(config, error))?;
        Ok(rows
            .iter()
            .filter_map(|row| Some((row.get("Log_name")?, row.get("File_size")?)))
            .collect())
    }
}
