//! PostgreSQL: each row is a row of a table there.
//!
//! The rows of a call are in the target in one transaction, or not at all; a row that the server
//! refuses is found by halving, and named. Of several changes of a row in one call only the last
//! state is written. With a version column no row ever goes backwards, and no deleted row comes
//! back, also when changes come again after a crash.

mod array;
mod binary;
mod client;
mod create;
mod follow;
mod halves;
mod limit;
mod literal;
mod look;
mod pending;
mod refusal;
mod rights;
mod statement;
mod table;
mod tables;
mod tls;
mod writer;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use handler::Failure;
use service::{Address, Secret, config::Section};

use self::{client::PgClient, look::Look, tables::PgTables, writer::PgWriter};
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
pub(crate) struct PostgresConfig {
    /// The first one that answers, and lets us write, is written to.
    hosts: Vec<Address>,
    user: String,
    password: Option<Secret>,
    database: String,
    tls: SqlTls,
    timeout: Duration,
    /// The name of the target's table: `schema.table`.
    table: Template,
    rows: PgRows,
}

/// How changes become rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PgRows {
    /// One more row for each change, instead of the row as it is now.
    is_audit: bool,
    /// Tables and columns that the target lacks are made.
    create: bool,
    /// The column with the number of the change that wrote the row.
    version_column: Option<String>,
    /// How long the number of a deleted row is kept.
    deleted_for: Duration,
    /// Rows without a key are inserted, and never changed.
    appends_keyless: bool,
}

impl PostgresConfig {
    /// Reads the keys; mistakes are noted.
    pub(crate) fn read(section: &Section) -> Option<Self> {
        let text = section.or("table", "{schema}.{table}".to_owned());
        let table = Template::new(&text).map_err(|problem| {
            section.note("table", &format!("is no template: {problem}"), "correct it");
        });
        let hosts = read_hosts(section, 5432);
        let timeout = section.or("timeout", Duration::from_secs(30));
        if timeout < Duration::from_millis(1) {
            section.note("timeout", "is too short", r#"write "1ms" or more"#);
        }
        Some(Self {
            tls: SqlTls::read(section, &hosts),
            hosts,
            user: section.required("user", String::new()),
            password: section.secret("password"),
            database: section.required("database", String::new()),
            timeout,
            rows: PgRows::read(section),
            table: table.ok()?,
        })
    }
}

impl PgRows {
    fn read(section: &Section) -> Self {
        let rows = Self {
            is_audit: section.choice("mode", ["apply", "append"]) == Some(1),
            create: section.or("create", false),
            version_column: section.optional("versionColumn"),
            deleted_for: section.or("deletedFor", DELETED_FOR),
            appends_keyless: section.choice("keyless", ["refuse", "append"]) == Some(1),
        };
        if rows.is_audit && rows.version_column.is_some() {
            let remedy = "remove it: the column ev_seq has the number";
            section.note("versionColumn", "has no meaning in mode \"append\"", remedy);
        }
        rows
    }
}

/// The target.
pub(crate) struct Postgres {
    writer: PgWriter,
    look: Look,
}

impl Postgres {
    /// # Errors
    ///
    /// What is wrong with the certificates.
    pub(crate) fn new(config: &PostgresConfig, means: Means) -> Result<Self, String> {
        let config = Arc::new(config.clone());
        let client = Arc::new(PgClient::new(&config, &means.listener)?);
        let tables = Arc::new(PgTables::new(Arc::clone(&config), &means));
        let look = Look {
            config: Arc::clone(&config),
            client: Arc::clone(&client),
            shape: means.shape.clone(),
        };
        Ok(Self {
            writer: PgWriter { config, client, tables, means, forgot: ForgetTimes::default() },
            look,
        })
    }
}

#[async_trait]
impl Target for Postgres {
    async fn write(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
        self.writer.write(wanted).await
    }

    fn templates(&self) -> Vec<&Template> {
        vec![&self.writer.config.table]
    }

    fn needs_tables(&self) -> bool {
        self.writer.config.rows.create
    }

    async fn check(&self, tables: &[Arc<full_sync::Table>]) -> Vec<TargetFinding> {
        self.look.at(tables).await
    }

    async fn hosts(&self) -> Vec<HostLook> {
        self.writer.client.hosts().await
    }

    async fn abandon(&self) {
        self.writer.client.abandon().await;
    }
}
