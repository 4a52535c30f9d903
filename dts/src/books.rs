//! The books of `dts`: what was counted of each table since the first start, and what does not
//! agree.
//!
//! Rows and records are counted at both sides of two seams: what the decoder gave and the publisher
//! took; what the publisher made and the producer sent to the bus. A difference is an alarm. The
//! counts of a table are a part of the checkpoint, so they cover exactly what is durable.

use std::{collections::BTreeMap, fmt, sync::Arc};

use event_bus::{Checkpoint, CheckpointChange};
use serde::Serialize;
use service::clock::now_ms;

use crate::{
    checkpoint::{Accounting, InvalidCheckpoint},
    publish::{TableCounts, Tally},
};

/// The checkpoint's keys for the counts of a table begin with this; its name follows.
const TABLE_PREFIX: &str = "accounting/";

/// So many tables are counted by themselves, because the checkpoint is kept in memory; all others
/// together.
const MAX_TABLES: usize = 20_000;

/// The name for these.
const OTHERS: &str = "all other tables";

/// So many differences are remembered, each of another table.
const MAX_DIFFERENCES: usize = 100;

/// The counts of all tables since the first start.
#[derive(Clone, Debug, Default)]
pub struct Books {
    tables: BTreeMap<Arc<str>, TableCounts>,
}

/// Two places between which records are missing, or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seam {
    /// What the decoder gave out, and what the publisher took.
    DecoderPublisher,
    /// What the publisher made, and what was sent to the bus.
    PublisherBus,
}

impl Seam {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::DecoderPublisher, Self::PublisherBus];

    /// As the API and the metrics name it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::DecoderPublisher => "decoder-publisher",
            Self::PublisherBus => "publisher-bus",
        }
    }
}

impl fmt::Display for Seam {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::DecoderPublisher => "between the decoder and the publisher",
            Self::PublisherBus => "between the publisher and the bus",
        })
    }
}

/// Records that are missing, or too many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Where they are missing.
    pub between: Seam,
    /// `schema.table`; several with commas where they share a topic.
    pub table: String,
    /// How many are missing; negative for records that are too many.
    pub missing: i64,
    /// The binlog file and position around which this was found first.
    pub first_seen_at: String,
    /// When this was found first, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

impl Difference {
    /// Found now, at this place in the binlog.
    pub(crate) fn new(
        (between, missing): (Seam, i64),
        table: impl Into<String>,
        at: impl fmt::Display,
    ) -> Self {
        let (table, first_seen_at) = (table.into(), at.to_string());
        Self { between, table, missing, first_seen_at, since_ms: now_ms() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { between, table, missing, first_seen_at, .. } = self;
        let (count, what) = match missing {
            ..0 => (missing.unsigned_abs(), "too many"),
            _ => (missing.unsigned_abs(), "missing"),
        };
        let records = if count == 1 { "record is" } else { "records are" };
        write!(out, "{count} {records} {what} {between}: of {table}, from {first_seen_at} on")
    }
}

/// What to do about a difference.
pub(crate) const REMEDY: &str = "this is a bug of dts: keep the log, report it, and send the table \
    again with a full sync to each of its listeners";

impl Books {
    /// The counts that a checkpoint has.
    ///
    /// # Errors
    ///
    /// When an entry has a form that this version does not know.
    pub fn open(checkpoint: &Checkpoint) -> Result<Self, InvalidCheckpoint> {
        let mut tables = BTreeMap::new();
        for (key, value) in checkpoint.range(TABLE_PREFIX.to_owned()..) {
            let Some(name) = key.strip_prefix(TABLE_PREFIX) else { break };
            tables.insert(name.into(), serde_json::from_slice(value)?);
        }
        Ok(Self { tables })
    }

    /// Adds the counts of a batch; gives what the checkpoint must take with the batch.
    pub(crate) fn add(&mut self, tally: &Tally) -> Vec<CheckpointChange> {
        self.count(tally);
        let change = |name: &Arc<str>| {
            let known = self.tables.get_key_value(name);
            let (name, counts) = known.or_else(|| self.tables.get_key_value(OTHERS))?;
            // Four numbers always serialise.
            let value = serde_json::to_vec(counts).unwrap_or_default();
            Some((format!("{TABLE_PREFIX}{name}"), Some(value.into())))
        };
        tally.iter().filter_map(|(table, _)| change(&table.name)).collect()
    }

    /// Adds the counts of a batch that is durable.
    pub(crate) fn count(&mut self, tally: &Tally) {
        for (table, counts) in tally.iter() {
            let has_room = self.tables.len() < MAX_TABLES || self.tables.contains_key(&table.name);
            let name = if has_room { Arc::clone(&table.name) } else { OTHERS.into() };
            *self.tables.entry(name).or_default() += *counts;
        }
    }

    /// The counts of each table, by name.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &TableCounts)> {
        self.tables.iter().map(|(name, counts)| (&**name, counts))
    }

    /// What does not agree in the counts since the first start: in a table, or else in the sums.
    pub(crate) fn differences(&self, sums: &Accounting) -> Vec<Difference> {
        const EARLIER: &str = "a place before this start of dts";
        let seam = |missing| (Seam::DecoderPublisher, missing);
        let missing = self.tables().filter(|(_, counts)| counts.missing() != 0);
        let found: Vec<Difference> = missing
            .map(|(table, counts)| Difference::new(seam(counts.missing()), table, EARLIER))
            .collect();
        if found.is_empty() && sums.missing() != 0 {
            return vec![Difference::new(seam(sums.missing()), "a table, see the log", EARLIER)];
        }
        found
    }
}

/// What was sent to the bus of each topic, against what the publisher made of them.
pub(crate) fn compare(made: &Tally, sent: &[(String, u64)], at: &str) -> Vec<Difference> {
    let mut topics: BTreeMap<&str, (u64, Vec<&str>)> = BTreeMap::new();
    for (table, counts) in made.iter().filter(|(_, counts)| counts.records() > 0) {
        let (records, names) = topics.entry(&table.topic).or_default();
        *records += counts.records();
        names.push(&table.name);
    }
    for (topic, _) in sent {
        topics.entry(topic).or_insert_with(|| (0, vec![topic]));
    }
    let sent_of = |topic: &str| {
        sent.iter().find(|(known, _)| known == topic).map_or(0, |(_, records)| *records)
    };
    let found = topics.iter().filter_map(|(topic, (records, names))| {
        let missing = records.cast_signed() - sent_of(topic).cast_signed();
        let seam = (Seam::PublisherBus, missing);
        (missing != 0).then(|| Difference::new(seam, names.join(", "), at))
    });
    found.collect()
}

/// The differences that were found since this process began.
#[derive(Debug, Default)]
pub(crate) struct Differences(Vec<Difference>);

impl Differences {
    /// Takes one more; gives the difference if it is the first of its place and table.
    pub(crate) fn note(&mut self, found: Difference) -> Option<&Difference> {
        let is_it =
            |known: &Difference| known.between == found.between && known.table == found.table;
        if let Some(known) = self.0.iter_mut().find(|known| is_it(known)) {
            known.missing += found.missing;
            return None;
        }
        if self.0.len() == MAX_DIFFERENCES {
            return None;
        }
        self.0.push(found);
        self.0.last()
    }

    pub(crate) fn all(&self) -> &[Difference] {
        &self.0
    }

    /// How many records are missing or too many at a seam.
    pub(crate) fn records(&self, between: Seam) -> u64 {
        let at = self.0.iter().filter(|found| found.between == between);
        at.map(|found| found.missing.unsigned_abs()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::CountedTable;

    fn tally(tables: &[(&str, &str, u64)]) -> Tally {
        let mut tally = Tally::default();
        for (name, topic, rows) in tables {
            let table = CountedTable { name: (*name).into(), topic: (*topic).into() };
            let counts = TableCounts { read: *rows, published: *rows, ..TableCounts::default() };
            tally.add(&Arc::new(table), counts);
        }
        tally
    }

    #[test]
    fn the_counts_go_on_from_the_checkpoint() {
        let mut books = Books::default();
        let changes = books.add(&tally(&[("s.a", "t", 2), ("s.b", "t", 1)]));
        let checkpoint = changes.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let mut again = Books::open(&checkpoint.collect()).unwrap();
        assert_eq!(again.add(&tally(&[("s.a", "t", 5)])).len(), 1, "only what has changed");
        let read: Vec<_> = again.tables().map(|(name, counts)| (name, counts.read)).collect();
        assert_eq!(read, [("s.a", 7), ("s.b", 1)]);
        assert_eq!(again.differences(&Accounting::default()), []);
        assert!(Books::open(&[("accounting/s.a".to_owned(), "[".into())].into()).is_err());
    }

    #[test]
    fn a_table_that_lost_a_row_is_named_at_the_next_start() {
        let mut books = Books::default();
        books.add(&tally(&[("s.a", "t", 2), ("s.b", "t", 1)]));
        books.tables.get_mut("s.b").unwrap().published = 0;
        let found = books.differences(&Accounting::default());
        assert_eq!((found[0].table.as_str(), found[0].missing), ("s.b", 1));
        let sums = Accounting { read: 5, filtered: 1, split: 1, published: 4 };
        assert_eq!(Books::default().differences(&sums)[0].missing, 1);
    }

    #[test]
    fn what_the_bus_got_is_compared_topic_by_topic() {
        let made = tally(&[("s.a", "t", 2), ("s.b", "t", 1), ("s.c", "u", 4)]);
        let sent = |t, u| [("t".to_owned(), t), ("u".to_owned(), u)];
        assert_eq!(compare(&made, &sent(3, 4), "b.1:4"), []);
        let found = compare(&made, &sent(2, 6), "b.1:4");
        let found: Vec<String> = found.iter().map(Difference::to_string).collect();
        assert_eq!(
            found,
            [
                "1 record is missing between the publisher and the bus: of s.a, s.b, from b.1:4 on",
                "2 records are too many between the publisher and the bus: of s.c, from b.1:4 on",
            ]
        );
        assert_eq!(compare(&Tally::default(), &sent(0, 1), "b.1:4")[0].table, "u");
    }

    #[test]
    fn a_difference_is_told_once_and_summed() {
        let mut all = Differences::default();
        let one = || Difference::new((Seam::DecoderPublisher, 1), "s.a", "b.1:4");
        assert!(all.note(one()).is_some());
        assert!(all.note(one()).is_none());
        assert_eq!((all.all().len(), all.records(Seam::DecoderPublisher)), (1, 2));
        assert_eq!(all.records(Seam::PublisherBus), 0);
    }
}
