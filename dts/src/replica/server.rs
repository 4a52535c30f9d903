//! What the server is and how it is set: the facts that decide whether we can read from it.

use std::collections::HashMap;

use binlog::GtidSet;
use mysql_async::Row;

use super::{conn::Conn, connect::classify, managed::Managed, mariadb};
use crate::{
    check::{Finding, Severity},
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

/// A variable that must have one value.
struct Setting {
    name: &'static str,
    wanted: &'static str,
    why: &'static str,
}

const SETTINGS: [Setting; 2] = [
    Setting { name: "binlog_format", wanted: "ROW", why: "other formats log statements, not rows" },
    Setting {
        name: "binlog_row_metadata",
        wanted: "FULL",
        why: "without it the binlog has no column names and no keys (MySQL 8.0.1 and \
              MariaDB 10.5 have it, and later ones)",
    },
];

/// The facts, read at one moment.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its identity.
    pub uuid: String,
    /// As it prints it.
    pub version: String,
    /// All its transactions, where it has GTIDs.
    pub gtid_executed: Option<GtidSet>,
    /// Those that are no longer in its binlog.
    pub gtid_purged: GtidSet,
    /// What it is.
    pub product: Product,
    pub(super) variables: HashMap<String, String>,
}

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// MySQL, or what behaves as it does.
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
    /// Asks the server.
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

    /// What is not as it should be, as far as the server's variables tell.
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        found.extend(self.too_old());
        if !self.is("log_bin", "ON") {
            found.push(Finding {
                severity: Severity::Stop,
                name: "log_bin",
                what: "the binlog is off (log_bin = OFF)".into(),
                why: "there are no changes to read".into(),
                remedy: Managed::of(self).binlog_on(),
            });
        }
        found.extend(SETTINGS.iter().filter_map(|setting| self.judge(setting)));
        if !self.is("binlog_row_image", "FULL")
            && self.is("binlog_row_value_options", "PARTIAL_JSON")
        {
            found.push(Finding {
                severity: Severity::Stop,
                name: "binlog_row_value_options",
                what: "binlog_row_value_options is PARTIAL_JSON and binlog_row_image is not FULL"
                    .into(),
                why: "JSON columns are logged as differences to what is not logged".into(),
                remedy: "SET PERSIST binlog_row_value_options = ''".into(),
            });
        }
        if !self.is("binlog_row_image", "FULL") {
            found.push(Finding {
                severity: Severity::Warn,
                name: "binlog_row_image",
                what: "binlog_row_image is not FULL".into(),
                why: "events lack the columns that the server does not log, and tables without a \
                      primary key cannot be captured"
                    .into(),
                remedy: format!(
                    "{}, unless that is meant so",
                    Managed::of(self).set("binlog_row_image", "FULL")
                ),
            });
        }
        if self.gtid_executed.is_none() {
            found.push(Finding {
                severity: Severity::Warn,
                name: "gtid_mode",
                what: "GTIDs are off".into(),
                why: "we can follow this one server only, and a restored backup is told by its \
                      files alone"
                    .into(),
                remedy: "turn gtid_mode ON in the manual's four steps, when it suits".into(),
            });
        }
        if self.product == Product::Mariadb {
            found.extend(mariadb::findings(self));
        }
        found
    }

    /// A global variable, if the server has it and we asked for it.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The variables that we asked for, in no order.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether applications can write to it: whether it may be the source of others.
    pub(super) fn is_writable(&self) -> bool {
        !self.is("read_only", "ON")
    }

    pub(crate) fn is(&self, name: &str, wanted: &str) -> bool {
        self.variables.get(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
    }

    /// A server without column names in its binlog; there is no setting that helps.
    fn too_old(&self) -> Option<Finding> {
        let (product, version) = (self.product, &self.version);
        let needed = match product {
            Product::Mysql => "MySQL 8.0.1",
            Product::Mariadb => "MariaDB 10.5",
        };
        self.variable("binlog_row_metadata").is_none().then(|| Finding {
            severity: Severity::Stop,
            name: "version",
            what: format!("{product} {version} is too old"),
            why: "its binlog has no column names and no keys".into(),
            remedy: format!(
                "upgrade it to {needed} or later; or let such a server replicate from it, with \
                 log_replica_updates (log_slave_updates) and binlog_row_metadata = FULL, and name \
                 that one in source.hosts"
            ),
        })
    }

    /// A finding, if the variable has not the one value that we can work with.
    fn judge(&self, setting: &Setting) -> Option<Finding> {
        let Setting { name, wanted, why } = setting;
        let value = self.variables.get(*name).map(String::as_str);
        // One that does not know it is too old: that is said.
        let shown = value.filter(|value| !value.eq_ignore_ascii_case(wanted))?;
        let statement = Managed::of(self).set(name, &format!("'{wanted}'"));
        Some(Finding {
            severity: Severity::Stop,
            name,
            what: format!("{name} is {shown}"),
            why: (*why).to_owned(),
            remedy: format!("{statement}, then reconnect the applications"),
        })
    }

    /// The end of the binlog at this moment.
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
            pos: row.get("Position").unwrap_or(4),
        })
    }

    /// Where the binlog ends at this moment.
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

/// The schemas that `--binlog-do-db` and `--binlog-ignore-db` name, as far as the server tells.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_column_names_in_its_binlog_is_told_to_be_too_old() {
        let server = |version: &str, more: &[(&str, &str)]| {
            let always =
                [("log_bin", "ON"), ("binlog_format", "ROW"), ("binlog_row_image", "FULL")];
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Server {
                uuid: String::new(),
                version: version.to_owned(),
                gtid_executed: Some(GtidSet::default()),
                gtid_purged: GtidSet::default(),
                product: Product::Mysql,
                variables: always.iter().chain(more).map(owned).collect(),
            }
        };
        let found = server("5.7.44-log", &[]).findings();
        let [Finding { severity: Severity::Stop, name: "version", what, remedy, .. }] = &found[..]
        else {
            panic!("{found:?}");
        };
        assert_eq!(what, "MySQL 5.7.44-log is too old");
        assert!(!remedy.contains("SET GLOBAL"), "{remedy}");
        let minimal = server("8.0.31", &[("binlog_row_metadata", "MINIMAL")]).findings();
        assert_eq!(
            minimal[0].remedy.split(',').next(),
            Some("SET PERSIST binlog_row_metadata = 'FULL'")
        );
        assert!(server("8.0.31", &[("binlog_row_metadata", "FULL")]).findings().is_empty());
    }
}
