//! The sink `postgres` with a real PostgreSQL: `scripts/servers.sh up postgres`.

mod begun;
mod limits;
mod look;
mod refusals;
mod rows;
mod speed;
mod stall;
mod types;
mod unique;
mod versions;

use std::{path::Path, sync::Arc};

use handler::{Batch, Event, Outcome};
use service::config::File;
use sinks::{Sink, SinkConfig, Tables};
use tokio_postgres::{Client, NoTls};

use crate::source::Source;

const ADDRESS: &str = "127.0.0.1:23432";

/// A schema of its own in the server, into which a sink writes.
struct Target {
    client: Client,
    schema: String,
    source: Arc<Source>,
}

impl Target {
    /// The source's table has these columns; the first one is the key.
    async fn new(columns: &[(&str, &str)]) -> Self {
        let client = connect("user=postgres").await;
        let schema = format!("test_{:016x}", rand::random::<u64>());
        client.batch_execute(&format!("CREATE SCHEMA {schema}")).await.unwrap();
        let source = Arc::new(Source::default());
        source.set(columns, &[columns[0].0]);
        Self { client, schema, source }
    }

    /// A sink with these keys besides those that say where to.
    fn sink(&self, toml: &str) -> Sink {
        self.sink_of("postgres", toml)
    }

    fn sink_of(&self, user: &str, toml: &str) -> Sink {
        self.sink_with((ADDRESS, user), toml)
    }

    fn sink_at(&self, address: &str, toml: &str) -> Sink {
        self.sink_with((address, "postgres"), toml)
    }

    fn sink_with(&self, (address, user): (&str, &str), toml: &str) -> Sink {
        let toml = format!(
            "hosts = [\"{address}\"]\nuser = \"{user}\"\ndatabase = \"postgres\"\ntable = \
             \"{}.{{table}}\"\n{toml}",
            self.schema
        );
        let file = File::parse(Path::new("test"), &toml).unwrap();
        let config = SinkConfig::read("postgres", file.root());
        let config = file.finish(config).unwrap().unwrap();
        Sink::new(&config, "copy", Arc::clone(&self.source) as Arc<dyn Tables>).unwrap()
    }

    /// Runs statements, where `S.` stands for the schema.
    async fn run(&self, sql: &str) {
        let sql = sql.replace("S.", &format!("{}.", self.schema));
        self.client.batch_execute(&sql).await.unwrap();
    }

    /// The rows of a query, each as one text of its row.
    async fn rows(&self, select: &str) -> Vec<String> {
        let sql = select.replace("S.", &format!("{}.", self.schema));
        let sql = format!("SELECT row_of::text FROM ({sql}) AS row_of");
        let rows = self.client.query(&sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn end(self) {
        self.client.batch_execute(&format!("DROP SCHEMA {} CASCADE", self.schema)).await.unwrap();
    }
}

async fn connect(who: &str) -> Client {
    let (host, port) = ADDRESS.split_once(':').unwrap();
    let config = format!("host={host} port={port} dbname=postgres {who}");
    let connected = tokio_postgres::connect(&config, NoTls).await;
    let (client, connection) =
        connected.expect("PostgreSQL is not there: run scripts/servers.sh up postgres");
    tokio::spawn(connection);
    client.batch_execute("SET timezone = 'UTC'").await.unwrap();
    client
}

async fn give(sink: &Sink, events: &[Event]) -> Outcome {
    let events: Vec<&Event> = events.iter().collect();
    sink.handler().handle(Batch { events: &events, attempt: 1 }).await
}

/// The change with this `Seq` of the row with the key `id`. `data` are the columns besides the key.
fn change(seq: u64, action: &str, id: u64, data: &str, old: Option<&str>) -> Event {
    let data = if data.is_empty() { String::new() } else { format!(",{data}") };
    let old = old.map_or_else(String::new, |old| format!(r#""Old":{{{old}}},"#));
    event(seq, action, (&format!(r#"{{"id":{id}}}"#), &format!(r#"{{"id":{id}{data}}}"#)), &old)
}

fn event(seq: u64, action: &str, (key, data): (&str, &str), old: &str) -> Event {
    let head = format!(r#""EvId":"g:{seq}#0","Schema":"shop","TableName":"item""#);
    let row = format!(r#""Action":"{action}","PK":{key},"Data":{data},{old}"Seq":{seq}"#);
    let tail = r#""Origin":"binlog","Ts":1700000000123"#;
    let source = r#"{"serverId":1,"file":"b.1","pos":4,"row":0}"#;
    let json = format!(r#"{{{head},{row},{tail},"Source":{source}}}"#);
    Event { json, ev_id: format!("g:{seq}#0"), seq: Some(seq), ..Event::default() }
}

/// The ids of the events that failed, and why.
fn failed(outcome: Outcome) -> (Vec<String>, String) {
    match outcome {
        Outcome::Partly { failed, failure } => (failed, failure.said.unwrap_or_default()),
        other => panic!("not partly: {other:?}"),
    }
}
