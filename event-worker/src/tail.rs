//! `event-worker tail`: shows changes on the bus as JSON lines, without a group.

use std::{
    io::{ErrorKind, Write},
    path::Path,
    time::Duration,
};

use event_bus::{Bus, Consumer, Delivery, Polled, TopicFilter};
use service::{Backoff, BackoffConfig, glob};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    config::Config, error::Error, event::Event, listener::read_change, reach::Catalogs,
    reset::ResetPlace,
};

/// How long to wait for the list of captured tables.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

const BUS_RETRY: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(5), factor: 2.0 };

/// Prints the changes of the tables that match `table` (`table` or `schema.table`, with * and ? as
/// wildcards; `None`: all tables), from a place on, until `stop` or until nobody reads them any
/// more.
///
/// # Errors
///
/// When the config is wrong, or when the bus refuses us or does not answer at the start.
pub async fn tail(
    file: &Path,
    table: Option<&str>,
    from: &ResetPlace,
    stop: CancellationToken,
) -> Result<(), Error> {
    let config = Config::open_for_bus(file)?;
    let wanted = ShownTables::new(table);
    let bus = event_bus::open(&config.bus)?;
    let opened = stop.run_until_cancelled(bus.tail(&wanted.topics(&config), from.to)).await;
    let Some(opened) = opened else { return Ok(()) };
    let mut tail = opened?;
    stop.run_until_cancelled(wanted.warn(&*bus, &config)).await;
    let shown = stop.run_until_cancelled(show(&mut *tail, &wanted)).await;
    tail.close().await;
    shown.unwrap_or(Ok(()))
}

/// Which tables are shown.
struct ShownTables {
    schema: String,
    table: String,
}

impl ShownTables {
    fn new(table: Option<&str>) -> Self {
        let (schema, table) = match table {
            Some(name) => name.split_once('.').unwrap_or(("*", name)),
            None => ("*", "*"),
        };
        Self { schema: schema.to_owned(), table: table.to_owned() }
    }

    /// Warns when no changes can come.
    async fn warn(&self, bus: &dyn Bus, config: &Config) {
        let looked = timeout(LOOK_DEADLINE, Catalogs::read(bus)).await;
        let Ok(Ok(catalogs)) = looked else { return };
        let glob = (self.schema.clone(), self.table.clone());
        if let Some(why) = catalogs.why_nothing(&glob, &config.bus.topic_prefix) {
            warn!(remedy = why.remedy, "{}; waiting for it", why.message);
        }
    }

    fn topics(&self, config: &Config) -> TopicFilter {
        config.bus.topics().filter(&[(self.schema.clone(), self.table.clone())])
    }

    /// One topic may have several tables.
    fn fits(&self, schema: &str, table: &str) -> bool {
        glob::matches(&self.schema, schema) && glob::matches(&self.table, table)
    }
}

async fn show(tail: &mut dyn Consumer, wanted: &ShownTables) -> Result<(), Error> {
    let mut backoff = Backoff::new(BUS_RETRY);
    loop {
        match tail.poll().await {
            Ok(Polled::Records { deliveries, .. }) => {
                backoff.reset();
                let lines = lines(&deliveries, wanted);
                if !lines.is_empty() && !print(lines).await? {
                    return Ok(());
                }
            }
            Ok(_) => {}
            Err(error) if error.is_transient() => {
                if backoff.failures() == 0 {
                    warn!(%error, "the bus is away; waiting for it");
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The events of these tables, as handlers get them, one per line.
fn lines(deliveries: &[Delivery], wanted: &ShownTables) -> Vec<u8> {
    let mut lines = Vec::new();
    for delivery in deliveries {
        let (text, change) = match read_change(("ID", delivery)) {
            Ok(read) => read,
            Err(error) => {
                warn!(%error, "a record is skipped");
                continue;
            }
        };
        if wanted.fits(&change.schema, &change.table_name) {
            lines.extend_from_slice(Event::new((delivery, text), change, 0).json().as_bytes());
            lines.push(b'\n');
        }
    }
    lines
}

/// Prints; `false` when nobody reads any more.
async fn print(lines: Vec<u8>) -> Result<bool, Error> {
    // A full pipe blocks, so this is not done on a thread of the runtime.
    let written = tokio::task::spawn_blocking(move || {
        let mut out = std::io::stdout().lock();
        out.write_all(&lines).and_then(|()| out.flush())
    });
    match written.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::io("cannot write to standard output")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::{delivery, value};

    #[test]
    fn a_table_is_wanted_by_its_name_with_or_without_its_schema() {
        let fits = |wanted: &str, schema: &str, table: &str| {
            ShownTables::new(Some(wanted)).fits(schema, table)
        };
        assert!(fits("item", "shop", "item") && fits("shop.item", "shop", "item"));
        assert!(fits("shop.*", "shop", "x") && !fits("shop.*", "more", "x"));
        assert!(!fits("shop.item", "more", "item") && !fits("item", "shop", "items"));
        assert!(ShownTables::new(None).fits("any", "thing"));
    }

    #[test]
    fn each_event_is_a_line_and_what_is_none_is_left_out() {
        let deliveries = [delivery(1, &value("a")), delivery(2, "null"), delivery(3, &value("b"))];
        let lines = lines(&deliveries, &ShownTables::new(None));
        let lines: Vec<serde_json::Value> = String::from_utf8(lines)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let ids: Vec<_> = lines.iter().map(|line| line["EvId"].as_str().unwrap()).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(lines[1]["Bus"]["offset"], 3);
    }
}
