//! A sink of a listener: its target, its handlers, and what they have done.

use std::{fmt, sync::Arc, time::Duration};

use full_sync::Table;
use handler::Handler;
use tokio::time::timeout;

use crate::{
    config::{SinkConfig, TargetConfig},
    elasticsearch::Elasticsearch,
    fetch::Fetch,
    figures::{Counts, Figures},
    file::Files,
    host_look::HostLook,
    kafka::Kafka,
    mysql::Mysql,
    postgres::Postgres,
    redis::Redis,
    tables::Tables,
    target::{Means, SinkHandler, Target, TargetFinding},
};

/// So long the target may take for a look at it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

const HANGS: &str = "see whether the server hangs (its process, its disks), or the network and the \
                     firewall keep us away";

/// What to do about a condition or a template that fits no row.
const MISFIT: &str = "correct it; a DECIMAL is a text: `{{ Data.price | float * 2 }}` in a \
                      template and `double(Data.price)` in `where` compute with it";

/// The sink of a listener. Its lanes share the target's connections.
#[derive(Clone)]
pub struct Sink {
    handler: SinkHandler,
}

impl Sink {
    /// Prepares the sink; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// What the machine lacks for it.
    pub fn new(
        config: &SinkConfig,
        listener: &str,
        tables: Arc<dyn Tables>,
    ) -> Result<Self, String> {
        let counts = Arc::new(Counts::default());
        let shape = Arc::new(config.shape.clone());
        let means = Means {
            listener: listener.to_owned(),
            tables: Arc::clone(&tables),
            shape: Arc::clone(&shape),
            counts: Arc::clone(&counts),
        };
        let target: Arc<dyn Target> = match &config.target {
            TargetConfig::Elasticsearch(target) => Arc::new(Elasticsearch::new(target, means)?),
            TargetConfig::Mysql(target) => Arc::new(Mysql::new(target, means)),
            TargetConfig::Redis(target) => Arc::new(Redis::new(target, means)),
            TargetConfig::Kafka(target) => Arc::new(Kafka::new(target, means)),
            TargetConfig::File(target) => Arc::new(Files::new(target, means)),
            TargetConfig::Postgres(target) => Arc::new(Postgres::new(target, means)?),
        };
        let servers = config.servers.clone();
        let fetch =
            config.fetch.clone().map(|fetch| Arc::new(Fetch::new(fetch, Arc::clone(&counts))));
        Ok(Self { handler: SinkHandler { shape, target, servers, tables, counts, fetch } })
    }

    /// The handler of a lane.
    pub fn handler(&self) -> Box<dyn Handler> {
        Box::new(self.handler.clone())
    }

    /// What has been done.
    pub fn figures(&self) -> Figures {
        self.handler.counts.figures()
    }

    /// Whether the target is there and lets us do what is needed for these tables, and how each of
    /// its hosts is.
    pub async fn check(&self, tables: &[Arc<Table>]) -> Vec<TargetFinding> {
        let SinkHandler { target, servers, .. } = &self.handler;
        let (looked, hosts) =
            tokio::join!(timeout(ANSWER_DEADLINE, target.check(tables)), target.hosts());
        let mut found = looked.unwrap_or_else(|_| {
            let what = format!("{servers} does not answer within {ANSWER_DEADLINE:?}");
            vec![TargetFinding::wrong(what, HANGS)]
        });
        found.extend(told(&hosts));
        if let Some(fetch) = &self.handler.fetch {
            let looked = timeout(ANSWER_DEADLINE, fetch.check(tables)).await;
            found.extend(looked.unwrap_or_else(|_| {
                let what =
                    format!("the source of oversized.fetch: no answer in {ANSWER_DEADLINE:?}");
                vec![TargetFinding::wrong(what, HANGS)]
            }));
        }
        let templates = self.handler.target.templates();
        let strangers = self.handler.shape.strangers(tables, &templates).into_iter();
        found.extend(strangers.map(|name| {
            let what = format!("{name} is no column of a table that dts has told of");
            TargetFinding::wrong(
                what,
                "correct the name: of `columns`, what is named wrongly has no effect; of a template, \
                 no row is written",
            )
        }));
        for table in tables {
            let misfits = self.handler.shape.misfits(table).into_iter();
            found.extend(misfits.map(|why| {
                let of = format!("{}.{}", table.schema, table.table);
                TargetFinding::wrong(format!("no row of {of} fits the config: {why}"), MISFIT)
            }));
        }
        found
    }
}

/// What is to be told of the hosts. Of a single one the target tells all.
fn told(hosts: &[HostLook]) -> Vec<TargetFinding> {
    if hosts.len() < 2 {
        return Vec::new();
    }
    let told = hosts.iter().map(|HostLook { address, state }| match state {
        Ok(state) => TargetFinding::good(format!("{address} {state}")),
        Err(why) => TargetFinding::doubtful(
            // Some errors name the host themselves.
            match why.contains(address.as_str()) {
                true => why.clone(),
                false => format!("{address}: {why}"),
            },
            "see that it runs, or correct the config; the sink uses the other hosts meanwhile",
        ),
    });
    told.collect()
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("figures", &self.figures()).finish_non_exhaustive()
    }
}
