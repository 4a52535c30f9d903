//! MySQL and MariaDB: each row is a row of a table there, written in multi-row statements.
//!
//! The rows of a call are in the target in one transaction, or not at all. Of several changes of a
//! row in one call only the last is written. With a version column, no row that is there goes
//! backwards, also when events come again after a crash.

mod audit;
mod client;
mod create;
mod define;
mod deleted;
mod fit;
mod follow;
mod grant;
mod known;
mod literal;
mod look;
mod members;
mod rows;
mod statement;
mod table;
mod tables;
mod writer;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use handler::Failure;
use service::{Address, Secret, config::Section};

use self::{client::MysqlClient, tables::TargetTables, writer::Writer};
use crate::{
    change::Unusable,
    connection::{SqlTls, read_hosts},
    host_look::HostLook,
    shape::Wanted,
    sql::{DELETED_FOR, ForgetTimes},
    target::{Means, Target, TargetFinding},
    template::Template,
};

/// The config of this target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MysqlConfig {
    /// The first one that answers, and lets us write, is written to.
    hosts: Vec<Address>,
    user: String,
    password: Option<Secret>,
    tls: SqlTls,
    timeout: Duration,
    /// The name of the target's table: `schema.table`.
    table: Template,
    /// One more row of an audit log for each change, instead of the row as it is now.
    is_audit: bool,
    /// Makes tables and columns that the target lacks.
    create: bool,
    /// The column with the number of the change that wrote the row.
    version_column: Option<String>,
    /// How long the number of a deleted row is kept.
    deleted_for: Duration,
    /// Changes of rows without a key are rows of an audit log.
    appends_keyless: bool,
    checks_foreign_keys: bool,
}

impl MysqlConfig {
    /// Reads the keys; mistakes are noted.
    pub(crate) fn read(section: &Section) -> Option<Self> {
        let text = section.or("table", "{schema}.{table}".to_owned());
        let table = Template::new(&text).map_err(|problem| {
            section.note("table", &format!("is no template: {problem}"), "correct it");
        });
        let create = section.or("create", false);
        let is_audit = section.choice("mode", ["apply", "append"]) == Some(1);
        let version_column: Option<String> = section.optional("versionColumn");
        if is_audit && version_column.is_some() {
            let remedy = "remove it: the column ev_seq has the number";
            section.note("versionColumn", "has no meaning in mode \"append\"", remedy);
        }
        let hosts = read_hosts(section, 3306);
        Some(Self {
            tls: SqlTls::read(section, &hosts),
            hosts,
            user: section.required("user", String::new()),
            password: section.secret("password"),
            timeout: section.or("timeout", Duration::from_secs(30)),
            table: table.ok()?,
            is_audit,
            create,
            version_column,
            deleted_for: section.or("deletedFor", DELETED_FOR),
            appends_keyless: section.choice("keyless", ["refuse", "append"]) == Some(1),
            checks_foreign_keys: section.or("foreignKeys", false),
        })
    }
}

/// The target.
pub(crate) struct Mysql {
    writer: Writer,
}

impl Mysql {
    pub(crate) fn new(config: &MysqlConfig, means: Means) -> Self {
        let config = Arc::new(config.clone());
        let client = Arc::new(MysqlClient::new(Arc::clone(&config)));
        let tables = TargetTables::new(Arc::clone(&config), means.clone());
        Self { writer: Writer { config, client, tables, means, forgot: ForgetTimes::default() } }
    }
}

#[async_trait]
impl Target for Mysql {
    async fn write(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
        self.writer.write(wanted).await
    }

    fn templates(&self) -> Vec<&Template> {
        vec![&self.writer.config.table]
    }

    fn needs_tables(&self) -> bool {
        self.writer.config.create
    }

    async fn hosts(&self) -> Vec<HostLook> {
        self.writer.client.hosts().await
    }

    async fn check(&self, tables: &[Arc<full_sync::Table>]) -> Vec<TargetFinding> {
        self.writer.check(tables).await
    }
}
