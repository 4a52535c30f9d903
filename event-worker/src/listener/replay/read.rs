//! Reads a range of a partition, and chooses what a replay is about.

use change_event::ChangeEvent;
use event_bus::{Bus, Consumer, Delivery, Partition, Polled, TopicFilter};
use futures_util::FutureExt as _;
use serde_json::Value;
use service::{Backoff, glob};
use tracing::warn;

use crate::{
    listener::{BUS_RETRY, filter::Filter, journey::read_change},
    replay::Replay,
};

/// So many records that come at once are given together.
const MANY: usize = 100;

/// A range of a partition while it is read.
pub(super) struct RangeReader {
    tail: Box<dyn Consumer>,
    partition: Partition,
    next: u64,
    end: u64,
    backoff: Backoff,
}

impl RangeReader {
    pub(super) async fn open(
        bus: &dyn Bus,
        (partition, topics): (&Partition, &TopicFilter),
        (from, end): (u64, u64),
    ) -> event_bus::Result<Self> {
        let mut backoff = Backoff::new(BUS_RETRY);
        let tail = loop {
            match bus.reread(partition, topics, from).await {
                Ok(tail) => break tail,
                Err(error) => away(error, &mut backoff).await?,
            }
        };
        let partition = partition.clone();
        Ok(Self { tail, partition, next: from, end, backoff })
    }

    /// All before this was read.
    pub(super) fn next_offset(&self) -> u64 {
        self.next
    }

    /// The next records of the range, some at once; `None` at its end. Waits while the bus is away.
    pub(super) async fn read(&mut self) -> event_bus::Result<Option<Vec<Delivery>>> {
        let mut read = Vec::new();
        while self.next < self.end && read.len() < MANY {
            let polled = match read.is_empty() {
                true => self.tail.poll().await,
                // A bus may give one record at a time.
                false => match self.tail.poll().now_or_never() {
                    Some(polled) => polled,
                    None => break,
                },
            };
            match polled {
                Ok(Polled::Records { deliveries, scanned }) => {
                    self.backoff.reset();
                    self.take(deliveries, &scanned, &mut read);
                }
                Ok(_) => {}
                // What was read before is given first.
                Err(error) if error.is_transient() && !read.is_empty() => break,
                Err(error) => away(error, &mut self.backoff).await?,
            }
        }
        Ok((!read.is_empty()).then_some(read))
    }

    fn take(
        &mut self,
        deliveries: Vec<Delivery>,
        scanned: &[(Partition, u64)],
        read: &mut Vec<Delivery>,
    ) {
        let is_ours = |partition: &Partition| *partition == self.partition;
        let last = deliveries.last().filter(|delivery| is_ours(&delivery.partition));
        let last = last.map(|delivery| delivery.offset + 1);
        let scanned = scanned.iter().filter(|(at, _)| is_ours(at)).map(|(_, next)| *next);
        let next = scanned.chain(last).max().unwrap_or_default();
        let in_range =
            |delivery: &Delivery| is_ours(&delivery.partition) && delivery.offset < self.end;
        read.extend(deliveries.into_iter().filter(in_range));
        self.next = self.next.max(next).min(self.end);
    }
}

/// Waits after an error that ends by itself; gives back any other.
async fn away(error: event_bus::Error, backoff: &mut Backoff) -> event_bus::Result<()> {
    if !error.is_transient() {
        return Err(error);
    }
    if backoff.failures() == 0 {
        warn!(%error, "the bus is away; the replay waits for it");
    }
    tokio::time::sleep(backoff.next_wait()).await;
    Ok(())
}

/// Which events a replay gives once more.
pub(super) struct Choice<'a> {
    listener: &'a str,
    filter: &'a Filter,
    replay: &'a Replay,
    key: Option<WantedKey>,
}

enum WantedKey {
    /// A whole key.
    Object(Value),
    /// The value of a key of one column, as text.
    Text(String),
}

impl<'a> Choice<'a> {
    pub(super) fn new((listener, filter): (&'a str, &'a Filter), replay: &'a Replay) -> Self {
        Self { listener, filter, replay, key: replay.key.as_deref().map(WantedKey::read) }
    }

    /// The text of a record and its change, if the listener wants the record. What cannot be read
    /// is skipped: the live stream stopped there, and a human skipped it.
    pub(super) fn live<'d>(&self, delivery: &'d Delivery) -> Option<(&'d str, ChangeEvent<'d>)> {
        if self.filter.is_foreign(&delivery.headers) {
            return None;
        }
        let read = read_change((self.listener, delivery));
        let (text, change) = read
            .inspect_err(|error| warn!(%error, "a replay skips a record that is not an event"))
            .ok()?;
        self.filter.wants(&change).unwrap_or_default().then_some((text, change))
    }

    /// Whether the replay is about a change that the listener wants.
    pub(super) fn has(&self, change: &ChangeEvent<'_>) -> bool {
        let Replay { table, from_seq, .. } = self.replay;
        from_seq.is_none_or(|from| change.seq.is_some_and(|seq| seq >= from))
            && table.as_deref().is_none_or(|wanted| fits_table(wanted, change))
            && self.key.as_ref().is_none_or(|key| key.fits(change.key))
    }

    /// Whether the replay ends before this change.
    pub(super) fn ends_before(&self, change: &ChangeEvent<'_>) -> bool {
        self.replay.to_seq.is_some_and(|to| change.seq.is_some_and(|seq| seq >= to))
    }
}

fn fits_table(wanted: &str, change: &ChangeEvent<'_>) -> bool {
    let whole = format!("{}.{}", change.schema, change.table_name);
    glob::matches(wanted, &change.table_name) || glob::matches(wanted, &whole)
}

impl WantedKey {
    fn read(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(value @ Value::Object(_)) => Self::Object(value),
            _ => Self::Text(text.to_owned()),
        }
    }

    fn fits(&self, key: &str) -> bool {
        let Ok(key) = serde_json::from_str::<Value>(key) else { return false };
        match self {
            Self::Object(wanted) => key == *wanted,
            Self::Text(wanted) => {
                let columns: Vec<&Value> =
                    key.as_object().into_iter().flat_map(|it| it.values()).collect();
                match columns[..] {
                    [Value::String(text)] => text == wanted,
                    [other] => serde_json::from_str(wanted).is_ok_and(|it: Value| it == *other),
                    _ => false,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_wanted_as_an_object_or_by_the_value_of_its_only_column() {
        let fits = |wanted: &str, key: &str| WantedKey::read(wanted).fits(key);
        assert!(fits("17", r#"{"id":17}"#) && fits("a b", r#"{"id":"a b"}"#));
        assert!(fits(r#"{ "b": "x", "a": 1 }"#, r#"{"a":1,"b":"x"}"#));
        assert!(!fits("17", r#"{"id":171}"#) && !fits("17", r#"{"a":17,"b":1}"#));
        assert!(!fits(r#"{"id":17}"#, r#"{"id":"17"}"#) && !fits("17", "{}"));
    }

    #[test]
    fn a_table_is_wanted_with_or_without_its_schema() {
        let value = crate::event::tests::value("1");
        let change = ChangeEvent::read_text(&value).unwrap();
        assert!(
            fits_table("t", &change) && fits_table("s.t", &change) && fits_table("s.*", &change)
        );
        assert!(!fits_table("u", &change) && !fits_table("x.t", &change));
    }
}
