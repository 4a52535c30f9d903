//! `event-worker tail`: shows changes on the bus as JSON lines, without a group.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Write},
    os::fd::AsFd,
    path::Path,
    time::Duration,
};

use event_bus::{Bus, Consumer, Delivery, Partition, Polled, Progress, TopicFilter};
use service::{Backoff, BackoffConfig, glob};
use tokio::{io::Interest, net::unix::pipe, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    config::Config, error::Error, event::TakenEvent, listener::read_change, reach::Catalogs,
    reset::ResetPlace,
};

/// How long to wait for the list of captured tables.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

const BUS_RETRY: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(5), factor: 2.0 };

/// Which changes are shown.
#[derive(Clone, Debug)]
pub struct TailRange {
    /// Where to begin.
    pub from: ResetPlace,
    /// The most changes.
    pub count: Option<u64>,
    /// Whether to end when all is shown that was there at the beginning.
    pub until_end: bool,
}

/// Prints the changes of the tables that match `table` (`table` or `schema.table`, with * and ? as
/// wildcards; `None`: all tables), until the end of the range, until `stop`, or until nobody reads
/// them any more.
///
/// # Errors
///
/// When the config is wrong, or when the bus refuses us or does not answer at the start.
pub async fn tail(
    file: &Path,
    table: Option<&str>,
    range: TailRange,
    stop: CancellationToken,
) -> Result<(), Error> {
    let config = Config::open_for_bus(file)?;
    let wanted = ShownTables::new(table);
    let bus = event_bus::open(&config.bus)?;
    let opened = stop.run_until_cancelled(open(&*bus, &config, (&wanted, &range))).await;
    let Some(opened) = opened else { return Ok(()) };
    let (mut tail, rest) = opened?;
    if !range.until_end {
        stop.run_until_cancelled(wanted.warn(&*bus, &config)).await;
    }
    let shown = async {
        tokio::select! {
            shown = show(&mut *tail, &wanted, rest) => shown,
            () = nobody_reads() => Ok(()),
        }
    };
    let shown = stop.run_until_cancelled(shown).await;
    tail.close().await;
    shown.unwrap_or(Ok(()))
}

/// Opens the bus at the beginning of a range, and gives what is to be shown.
async fn open(
    bus: &dyn Bus,
    config: &Config,
    (wanted, range): (&ShownTables, &TailRange),
) -> event_bus::Result<(Box<dyn Consumer>, Rest)> {
    let (topics, from) = (wanted.topics(config), range.from.to);
    let until = if range.until_end {
        let group = format!("{}.tail", config.bus.topic_prefix);
        let begins = bus.plan_reset(&group, &topics, from).await?;
        let begins = begins.into_iter().map(|at| (at.partition, at.to)).collect();
        Some(Ends::new(bus.progress(&group, &topics).await?, &begins))
    } else {
        None
    };
    Ok((bus.tail(&topics, from).await?, Rest { count: range.count, until }))
}

/// Waits until the reader of standard output is gone. Never ends where that cannot be seen: a file
/// has no reader.
async fn nobody_reads() {
    let gone = async {
        let out = std::io::stdout().as_fd().try_clone_to_owned()?;
        pipe::Sender::from_owned_fd_unchecked(out)?.ready(Interest::ERROR).await
    };
    if gone.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What is still to be shown.
struct Rest {
    count: Option<u64>,
    until: Option<Ends>,
}

impl Rest {
    /// Takes out what is not to be shown, because it is after an end.
    fn cut(&self, deliveries: &mut Vec<Delivery>) {
        if let Some(until) = &self.until {
            deliveries.retain(|delivery| until.is_before(delivery));
        }
    }

    fn is_over(&self) -> bool {
        self.count == Some(0) || self.until.as_ref().is_some_and(|until| until.left.is_empty())
    }
}

/// Where to end in each partition that is not shown to its end yet.
#[derive(Debug, PartialEq, Eq)]
struct Ends {
    left: BTreeMap<Partition, u64>,
}

impl Ends {
    fn new(ends: Vec<Progress>, begins: &BTreeMap<Partition, u64>) -> Self {
        let has_more =
            |at: &Progress| begins.get(&at.partition).is_some_and(|begin| *begin < at.end);
        let left = ends.into_iter().filter(has_more).map(|at| (at.partition, at.end));
        Self { left: left.collect() }
    }

    fn is_before(&self, delivery: &Delivery) -> bool {
        self.left.get(&delivery.partition).is_some_and(|end| delivery.offset < *end)
    }

    /// All before `next` came.
    fn came(&mut self, partition: &Partition, next: u64) {
        if self.left.get(partition).is_some_and(|end| *end <= next) {
            self.left.remove(partition);
        }
    }
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

async fn show(tail: &mut dyn Consumer, wanted: &ShownTables, mut rest: Rest) -> Result<(), Error> {
    let mut backoff = Backoff::new(BUS_RETRY);
    while !rest.is_over() {
        match tail.poll().await {
            Ok(Polled::Records { mut deliveries, mut scanned }) => {
                backoff.reset();
                scanned.extend(deliveries.iter().map(|at| (at.partition.clone(), at.offset + 1)));
                rest.cut(&mut deliveries);
                let lines = lines(&deliveries, wanted, &mut rest.count);
                if !lines.is_empty() && !print(lines).await? {
                    return Ok(());
                }
                if let Some(until) = &mut rest.until {
                    scanned.iter().for_each(|(partition, next)| until.came(partition, *next));
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
    Ok(())
}

/// The events of these tables, as handlers get them, one per line, and no more than `count`. Counts
/// down.
fn lines(deliveries: &[Delivery], wanted: &ShownTables, count: &mut Option<u64>) -> Vec<u8> {
    let mut lines = Vec::new();
    for delivery in deliveries {
        if *count == Some(0) {
            break;
        }
        let (text, change) = match read_change(("ID", delivery)) {
            Ok(read) => read,
            Err(error) => {
                warn!(%error, "a record is skipped");
                continue;
            }
        };
        if wanted.fits(&change.schema, &change.table_name) {
            lines.extend_from_slice(TakenEvent::new((delivery, text), change, 0).json().as_bytes());
            lines.push(b'\n');
            *count = count.map(|count| count - 1);
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
        assert_eq!(lines(&deliveries, &ShownTables::new(None), &mut Some(0)), b"");
        let mut count = Some(2);
        let lines = lines(&deliveries, &ShownTables::new(None), &mut count);
        assert_eq!(count, Some(0));
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
