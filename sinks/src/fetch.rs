//! Rows that were too large for their events: the sink fetches them from the source, by their keys,
//! and goes on as if each event had had all columns, as they are now.
//!
//! | | |
//! |---|---|
//! | `short` | which events lack their rows |
//! | `source` | a connection to a source that has their changes |
//! | `rows` | asks for the rows of a table |
//! | `look` | whether the source lets us read, for `event-worker check` |

mod look;
mod rows;
mod short;
mod source;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use bytesize::ByteSize;
use handler::{Event, Failure};
use service::{Address, Secret, config::Section};
use tracing::info;

use self::{
    rows::{Fetched, MAX_KEYS, fetch_rows},
    short::{Given, Short, TablePlace, oversized_bytes},
    source::SourceConn,
};
use crate::{
    change::Unusable,
    connection::{SqlTls, read_hosts},
    figures::Counts,
};

/// So many bytes of rows are fetched for one write, if nothing else is set.
const MAX_BYTES: ByteSize = ByteSize::mib(64);

/// From where rows are fetched: `oversized.fetch`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FetchConfig {
    /// The first one that answers, and has the changes, is asked.
    hosts: Vec<Address>,
    user: String,
    password: Option<Secret>,
    tls: SqlTls,
    timeout: Duration,
    /// A larger row is refused; of several rows no more are in memory at a time.
    max_bytes: u64,
}

impl FetchConfig {
    /// Reads `oversized` of a sink; mistakes are noted. `None`: such events are refused.
    pub(crate) fn read(section: &Section) -> Option<Self> {
        let oversized = section.section("oversized");
        let fetch = oversized.section("fetch");
        if oversized.is_present() && !oversized.has("fetch") {
            let remedy = "write oversized.fetch = { hosts = […], user = \"…\", password = … }, or \
                          remove `oversized`: such events are refused then";
            oversized.note("fetch", "is missing", remedy);
        }
        if !fetch.is_present() {
            return None;
        }
        let hosts = read_hosts(&fetch, 3306);
        Some(Self {
            tls: SqlTls::read(&fetch, &hosts),
            hosts,
            user: fetch.required("user", String::new()),
            password: fetch.secret("password"),
            timeout: fetch.or("timeout", Duration::from_secs(30)),
            max_bytes: fetch.or("maxBytes", MAX_BYTES).as_u64(),
        })
    }
}

/// Fetches the rows of a listener.
#[derive(Debug)]
pub(crate) struct Fetch {
    config: FetchConfig,
    counts: Arc<Counts>,
}

/// Events with their rows.
#[derive(Debug, Default)]
pub(crate) struct Completed<'a> {
    /// In the order in which they were given, without those whose rows are gone.
    pub(crate) events: Vec<Cow<'a, Event>>,
    /// Those of which no row can be had.
    pub(crate) unusable: Vec<Unusable>,
}

impl Fetch {
    pub(crate) fn new(config: FetchConfig, counts: Arc<Counts>) -> Self {
        Self { config, counts }
    }

    /// Cuts a batch into parts whose rows, as large as they were, are in memory together.
    pub(crate) fn parts<'e, 'a>(&self, events: &'e [&'a Event]) -> Vec<&'e [&'a Event]> {
        let (mut parts, mut begin, mut total) = (Vec::new(), 0, 0_u64);
        for (at, event) in events.iter().enumerate() {
            let bytes = oversized_bytes(event).unwrap_or(0);
            total = total.saturating_add(bytes);
            if bytes > 0 && total > self.config.max_bytes && at > begin {
                parts.extend(events.get(begin..at));
                (begin, total) = (at, bytes);
            }
        }
        parts.extend(events.get(begin..));
        parts
    }

    /// The events with the rows that they lack.
    ///
    /// # Errors
    ///
    /// Why the source as a whole cannot be asked. Then nothing is known of any row.
    pub(crate) async fn complete<'a>(
        &self,
        events: &[&'a Event],
    ) -> Result<Completed<'a>, Failure> {
        let Given { mut slots, short, mut unusable } = Given::of(events, self.config.max_bytes);
        if !short.is_empty() {
            let mut source = self.config.connect(&short).await?;
            let mut tables: BTreeMap<_, Vec<Short<'a>>> = BTreeMap::new();
            for one in short {
                tables.entry(one.place()).or_default().push(one);
            }
            for (place, short) in &tables {
                let rows = fetch_all(&mut source, place, short).await?;
                let (mut fetched, mut gone) = (0, 0);
                for (one, row) in short.iter().zip(rows) {
                    match self.completed(one, row) {
                        Ok(Some(event)) => {
                            fetched += 1;
                            slots[one.at] = Some(Cow::Owned(event));
                        }
                        Ok(None) => gone += 1,
                        Err(refused) => unusable.push(refused),
                    }
                }
                self.note(&place.name(), fetched, gone);
            }
        }
        Ok(Completed { events: slots.into_iter().flatten().collect(), unusable })
    }

    /// The event with its row; `None` when the row is gone.
    fn completed(&self, one: &Short<'_>, row: Fetched) -> Result<Option<Event>, Unusable> {
        let max_bytes = self.config.max_bytes;
        match row {
            Fetched::Row(data) if data.len() as u64 > max_bytes => {
                Err(one.too_large(data.len() as u64, max_bytes))
            }
            Fetched::Row(data) => Ok(Some(one.completed(&data))),
            Fetched::Gone => Ok(None),
            Fetched::Unclear(why) => Err(one.unusable(why)),
        }
    }

    fn note(&self, table: &str, fetched: u64, gone: u64) {
        self.counts.fetched(fetched, gone);
        if gone > 0 {
            info!(
                table,
                rows = gone,
                "rows of events that have only the key are not at the source any more: nothing is \
                 written for these events; the changes that removed the rows come later"
            );
        }
    }
}

async fn fetch_all(
    source: &mut SourceConn,
    place: &TablePlace,
    short: &[Short<'_>],
) -> Result<Vec<Fetched>, Failure> {
    let mut rows = Vec::with_capacity(short.len());
    for some in short.chunks(MAX_KEYS) {
        rows.extend(fetch_rows(source, place, some).await?);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
