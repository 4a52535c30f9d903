//! The sink `mysql` with a real MySQL and a real MariaDB: `scripts/servers.sh up`.

mod added;
mod altered;
mod begun;
mod circle;
mod fits;
mod look;
mod unique;

use std::{path::Path, sync::Arc};

use handler::Outcome;
use mysql_async::{Conn, Row, prelude::Queryable as _};
use service::config::File;
use sinks::{Sink, SinkConfig, Tables};

use crate::{mysql_servers, source::Source};

/// A schema of its own in a server, into which a sink writes.
struct Target {
    url: String,
    conn: Conn,
    schema: String,
    source: Arc<Source>,
}

impl Target {
    /// One in each server. Nobody has told how the source's table is defined.
    async fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (url, mut conn) in mysql_servers::all().await {
            let schema = format!("test_{:016x}", rand::random::<u64>());
            conn.query_drop(format!("CREATE DATABASE {schema}")).await.unwrap();
            all.push(Self { url, conn, schema, source: Arc::default() });
        }
        all
    }

    /// A sink of root with these keys besides those that say where to.
    fn sink(&self, toml: &str) -> Sink {
        self.sink_of("root", toml)
    }

    fn sink_of(&self, user: &str, toml: &str) -> Sink {
        let (_, address) = self.url.split_once('@').unwrap();
        let toml = format!(
            "hosts = [\"{address}\"]\nuser = \"{user}\"\ntable = \"{}.{{table}}\"\n{toml}",
            self.schema
        );
        let file = File::parse(Path::new("test"), &toml).unwrap();
        let config = SinkConfig::read("mysql", file.root());
        let config = file.finish(config).unwrap().unwrap();
        Sink::new(&config, "copy", Arc::clone(&self.source) as Arc<dyn Tables>).unwrap()
    }

    /// Runs a statement, where `S.` stands for the schema.
    async fn run(&mut self, sql: &str) {
        let sql = sql.replace("S.", &format!("{}.", self.schema));
        self.conn.query_drop(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The values of all rows of a query, each as a text.
    async fn rows(&mut self, select: &str) -> Vec<String> {
        let sql = select.replace("S.", &format!("{}.", self.schema));
        let rows: Vec<Row> = self.conn.query(&sql).await.unwrap();
        let text = |row: Row| {
            let values = row.unwrap().into_iter().map(|value| value.as_sql(true));
            values.collect::<Vec<_>>().join(",")
        };
        rows.into_iter().map(text).collect()
    }

    /// What a MySQL's GTIDs begin with.
    async fn uuid(&mut self) -> Option<String> {
        let version: Option<String> = self.conn.query_first("SELECT VERSION()").await.unwrap();
        if version.is_some_and(|version| version.contains("MariaDB")) {
            return None;
        }
        self.conn.query_first("SELECT @@server_uuid").await.unwrap()
    }

    async fn end(mut self) {
        self.conn.query_drop(format!("DROP DATABASE {}", self.schema)).await.unwrap();
    }
}

/// The ids of the events that failed, and why.
fn failed(outcome: Outcome) -> (Vec<String>, String) {
    match outcome {
        Outcome::Partly { failed, failure } => (failed, failure.said.unwrap_or_default()),
        other => panic!("not partly: {other:?}"),
    }
}
