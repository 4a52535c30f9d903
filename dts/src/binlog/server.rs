//! What the server is and how it is set: the facts that decide whether we can read from it.

use std::collections::HashMap;

use mysql_async::{Conn, Row, prelude::Queryable};

use super::connect::classify;
use crate::{
    config::SourceConfig,
    error::{Error, Result},
    gtid::GtidSet,
    position::Position,
};

const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'version', \
    'version_comment', 'log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata', \
    'binlog_row_value_options', 'gtid_mode', 'gtid_executed', 'gtid_purged', 'server_id', \
    'sync_binlog', 'binlog_transaction_compression', 'read_only')";

/// A variable that must have one value.
struct Setting {
    name: &'static str,
    wanted: &'static str,
    why: &'static str,
}

const SETTINGS: [Setting; 5] = [
    Setting { name: "binlog_format", wanted: "ROW", why: "other formats log statements, not rows" },
    Setting {
        name: "binlog_row_metadata",
        wanted: "FULL",
        why: "without it the binlog has no column names and no keys (MySQL 8.0.1 or later has it)",
    },
    Setting {
        name: "binlog_row_image",
        wanted: "FULL",
        why: "partial row images come in a later version",
    },
    Setting {
        name: "binlog_row_value_options",
        wanted: "",
        why: "partial JSON updates come in a later version",
    },
    Setting {
        name: "binlog_transaction_compression",
        wanted: "OFF",
        why: "compressed transactions come in a later version",
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
    variables: HashMap<String, String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// We cannot work with it.
    Stop,
    /// It works, but may surprise.
    Warn,
}

/// Something about the server that the user should know.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was found and why it matters.
    pub problem: String,
    /// The statement or step that mends it.
    pub remedy: String,
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
            variables,
        })
    }

    /// What is not as it should be.
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.version.contains("MariaDB") {
            found.push(Finding {
                severity: Severity::Stop,
                problem: format!("this is MariaDB {}", self.version),
                remedy: "MariaDB comes in a later version of dts; use MySQL 8.0 or later".into(),
            });
            return found;
        }
        if !self.is("log_bin", "ON") {
            found.push(Finding {
                severity: Severity::Stop,
                problem: "the binlog is off (log_bin = OFF), so there are no changes to read"
                    .into(),
                remedy: "start the server with --log-bin and a --server-id, without --skip-log-bin"
                    .into(),
            });
        }
        found.extend(SETTINGS.iter().filter_map(|setting| self.judge(setting)));
        if self.gtid_executed.is_none() {
            found.push(Finding {
                severity: Severity::Warn,
                problem: "GTIDs are off, so we can follow this one server only".into(),
                remedy: "turn gtid_mode ON in the manual's four steps, when it suits".into(),
            });
        }
        if !self.is("sync_binlog", "1") {
            found.push(Finding {
                severity: Severity::Warn,
                problem:
                    "sync_binlog is not 1: after a crash the server may lose what we have read"
                        .into(),
                remedy: "SET PERSIST sync_binlog = 1".into(),
            });
        }
        found
    }

    /// Whether applications can write to it: whether it may be the source of others.
    pub(super) fn is_writable(&self) -> bool {
        !self.is("read_only", "ON")
    }

    fn is(&self, name: &str, wanted: &str) -> bool {
        self.variables.get(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
    }

    /// A finding, if the variable has not the one value that we can work with. A server that does
    /// not know it at all behaves as one where it is off.
    fn judge(&self, setting: &Setting) -> Option<Finding> {
        let Setting { name, wanted, why } = setting;
        let value = self.variables.get(*name).map(String::as_str);
        let off_by_absence = value.is_none() && matches!(*wanted, "" | "OFF");
        if off_by_absence || value.is_some_and(|value| value.eq_ignore_ascii_case(wanted)) {
            return None;
        }
        let shown = value.unwrap_or("not known to this server");
        Some(Finding {
            severity: Severity::Stop,
            problem: format!("{name} is {shown}: {why}"),
            remedy: format!("SET PERSIST {name} = '{wanted}', then reconnect the applications"),
        })
    }

    /// The end of the binlog at this moment.
    ///
    /// # Errors
    ///
    /// As [`connect`](super::connect()); also when the binlog is off.
    pub async fn binlog_end(&self, conn: &mut Conn, config: &SourceConfig) -> Result<Position> {
        let row = match conn.query_first::<Row, _>("SHOW BINARY LOG STATUS").await {
            // The statement's name before MySQL 8.2.
            Err(mysql_async::Error::Server(error)) if error.code == 1064 => {
                conn.query_first::<Row, _>("SHOW MASTER STATUS").await
            }
            other => other,
        };
        let row = row.map_err(|error| classify(config, error))?.ok_or_else(|| {
            Error::refused("the binlog is off", "start the server with --log-bin")
        })?;
        let text = |name: &str| row.get::<String, _>(name).unwrap_or_default();
        let executed = text("Executed_Gtid_Set").parse();
        let executed = executed.map_err(|error| Error::Internal(format!("{error}")))?;
        Ok(Position {
            gtids: self.gtid_executed.is_some().then_some(executed),
            file: text("File"),
            pos: row.get("Position").unwrap_or(4),
        })
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
