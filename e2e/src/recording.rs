//! What a handler was given, as `record-handler` wrote it down, and what must be true of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    path::Path,
};

use anyhow::{Result, bail, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::processes::read_growing;

/// One call of the handler.
#[derive(Debug, Deserialize)]
pub struct Call {
    /// When the handler got it, in milliseconds since 1970.
    #[serde(default)]
    pub began: u64,
    /// When it was handled, in milliseconds since 1970.
    pub at: u64,
    /// What the handler answered.
    pub outcome: Outcome,
    /// The batch, in its order; empty when only the number was recorded.
    pub events: Vec<Event>,
    /// How many events the batch had, when only that was recorded.
    #[serde(default)]
    pub count: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Outcome {
    Done,
    Failed,
    Hung,
    Died,
}

/// A change event as a handler gets it (`docs/event-format.md`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the fields of the documented format")]
pub struct Event {
    pub ev_id: String,
    pub schema: String,
    pub table_name: String,
    pub action: String,
    #[serde(rename = "PK")]
    pub pk: Box<RawValue>,
    pub data: Box<RawValue>,
    pub old: Option<Box<RawValue>>,
    pub oversized: Option<u64>,
    #[serde(default)]
    pub absent: Vec<String>,
    pub seq: Option<u64>,
    pub origin: String,
    pub listener: Option<String>,
    pub ts: u64,
    pub bus: Bus,
}

/// Where the event lies in the bus.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the fields of the documented format")]
pub struct Bus {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
}

impl Event {
    /// What a row is recognised by, among those of all tables.
    pub fn key(&self) -> (&str, &str) {
        (&self.table_name, self.pk.get())
    }

    fn content(&self) -> [&str; 6] {
        let old = self.old.as_ref().map_or("", |old| old.get());
        let Self { schema, table_name, action, pk, data, .. } = self;
        [schema, table_name, action, pk.get(), data.get(), old]
    }
}

/// All calls of a recording, in order.
#[derive(Debug, Default)]
pub struct Recording {
    /// The calls, oldest first.
    pub calls: Vec<Call>,
    /// Lines that a kill cut off.
    pub torn: usize,
}

impl Recording {
    /// Reads what is there now. A last line that is not yet whole counts as torn.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_growing(path)?;
        let lines = text.lines().filter(|line| !line.is_empty());
        let parsed: Vec<Option<Call>> = lines.map(|line| serde_json::from_str(line).ok()).collect();
        let torn = parsed.iter().filter(|call| call.is_none()).count();
        Ok(Self { calls: parsed.into_iter().flatten().collect(), torn })
    }

    /// The events that were handled, in order, repeats included.
    pub fn done(&self) -> impl Iterator<Item = &Event> {
        self.calls.iter().filter(|call| call.outcome == Outcome::Done).flat_map(|call| &call.events)
    }

    /// The ids of all events that were handled.
    pub fn done_ids(&self) -> BTreeSet<&str> {
        self.done().map(|event| event.ev_id.as_str()).collect()
    }

    /// No id has two contents, and none is twice in the bus.
    ///
    /// # Errors
    ///
    /// Names the first id that breaks the rule.
    pub fn check_ids(&self) -> Result<()> {
        let mut known: HashMap<&str, &Event> = HashMap::new();
        for event in self.calls.iter().flat_map(|call| &call.events) {
            let first = *known.entry(&event.ev_id).or_insert(event);
            let (id, same) = (&event.ev_id, first.content() == event.content());
            ensure!(same, "{id} has two contents: {first:?} and {event:?}");
            ensure!(first.bus == event.bus, "{id} is twice in the bus: {first:?} and {event:?}");
        }
        Ok(())
    }

    /// The handler sees an event only when all earlier events of its key are done, or come before
    /// that event in the same call.
    ///
    /// # Errors
    ///
    /// Names the first event that came too early.
    pub fn check_order(&self) -> Result<()> {
        let mut waiting: HashMap<(&str, &str), BTreeSet<u64>> = HashMap::new();
        for event in self.calls.iter().flat_map(|call| &call.events) {
            waiting.entry(event.key()).or_default().insert(event.bus.offset);
        }
        for call in &self.calls {
            check_call(call, &mut waiting)?;
        }
        Ok(())
    }

    /// In each partition, what lies later in the bus has the higher number.
    ///
    /// # Errors
    ///
    /// Names the first event that has not, or has none.
    pub fn check_numbers(&self) -> Result<()> {
        let mut events: Vec<&Event> = self.calls.iter().flat_map(|call| &call.events).collect();
        events.sort_by(|one, other| one.bus.cmp(&other.bus));
        events.dedup_by(|one, other| one.bus == other.bus);
        ensure!(events.iter().all(|event| event.seq.is_some()), "an event has no Seq");
        for pair in events.windows(2) {
            let is_same = pair[0].bus.partition == pair[1].bus.partition
                && pair[0].bus.topic == pair[1].bus.topic;
            let grows = pair[0].seq < pair[1].seq;
            ensure!(grows || !is_same, "Seq does not grow: {:?} and {:?}", pair[0], pair[1]);
        }
        Ok(())
    }

    /// Lag from commit to handler of each handled event, in milliseconds, sorted.
    pub fn lags(&self) -> Vec<u64> {
        self.lags_between(0..u64::MAX)
    }

    /// The same of the changes that were committed in a time, in milliseconds since 1970.
    pub fn lags_between(&self, committed: Range<u64>) -> Vec<u64> {
        let done = self.calls.iter().filter(|call| call.outcome == Outcome::Done);
        let events = done.flat_map(|call| call.events.iter().map(move |event| (call.at, event)));
        let live = events.filter(|(_, event)| event.listener.is_none());
        let mut lags: Vec<u64> = live
            .filter(|(_, event)| committed.contains(&event.ts))
            .map(|(at, event)| at.saturating_sub(event.ts))
            .collect();
        lags.sort_unstable();
        lags
    }
}

type Waiting<'a> = HashMap<(&'a str, &'a str), BTreeSet<u64>>;

fn check_call<'a>(call: &'a Call, waiting: &mut Waiting<'a>) -> Result<()> {
    let mut ahead: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    for event in &call.events {
        let before = ahead.entry(event.key()).or_default();
        let open = waiting.entry(event.key()).or_default();
        let early = open.range(..event.bus.offset).find(|offset| !before.contains(offset));
        if let Some(offset) = early {
            bail!("{} of {:?} came before offset {offset} was done", event.ev_id, event.key());
        }
        before.push(event.bus.offset);
    }
    if call.outcome == Outcome::Done {
        for (key, offsets) in ahead {
            waiting.entry(key).or_default().retain(|offset| !offsets.contains(offset));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, key: u32, offset: u64, price: u32) -> String {
        format!(
            r#"{{"EvId":"{id}","Schema":"s","TableName":"t","Action":"update","PK":{{"id":{key}}},
             "Data":{{"id":{key},"price":{price}}},"Seq":{offset},"Origin":"binlog","Ts":1,
             "Bus":{{"topic":"s.t","partition":0,"offset":{offset}}}}}"#
        )
    }

    /// Each call: what was answered, and key and offset of each of its events.
    fn recording(calls: &[(&str, &[(u32, u64)])]) -> Recording {
        let call = |(outcome, events): &(&str, &[(u32, u64)])| {
            let events: Vec<String> =
                events.iter().map(|(key, at)| event(&format!("e{at}"), *key, *at, 0)).collect();
            let text =
                format!(r#"{{"at":2,"outcome":"{outcome}","events":[{}]}}"#, events.join(","));
            serde_json::from_str(&text).unwrap()
        };
        Recording { calls: calls.iter().map(call).collect(), torn: 0 }
    }

    #[test]
    fn repeats_and_retries_are_in_order() {
        let calls: &[(&str, &[(u32, u64)])] = &[
            ("failed", &[(1, 10), (1, 11)]),
            ("done", &[(1, 10)]),
            ("done", &[(1, 11), (2, 5)]),
            ("done", &[(1, 10), (1, 11), (1, 12)]),
        ];
        recording(calls).check_order().unwrap();
    }

    #[test]
    fn a_number_that_does_not_grow_is_found() {
        let calls: &[(&str, &[(u32, u64)])] = &[("done", &[(1, 12)]), ("done", &[(1, 10)])];
        let mut recording = recording(calls);
        recording.check_numbers().unwrap();
        recording.calls[0].events[0].seq = Some(9);
        assert!(recording.check_numbers().is_err());
        recording.calls[0].events[0].seq = None;
        assert!(recording.check_numbers().is_err());
    }

    #[test]
    fn an_event_before_an_earlier_one_of_its_key_is_done_is_found() {
        let early: &[(&str, &[(u32, u64)])] = &[("done", &[(1, 11)]), ("done", &[(1, 10)])];
        assert!(recording(early).check_order().is_err());
        let past_a_failure: &[(&str, &[(u32, u64)])] =
            &[("failed", &[(1, 10)]), ("failed", &[(1, 11)]), ("done", &[(1, 10), (1, 11)])];
        assert!(recording(past_a_failure).check_order().is_err());
    }

    #[test]
    fn an_id_with_two_contents_or_two_places_is_found() {
        let pair = |second: String| {
            let text = format!(
                r#"{{"at":2,"outcome":"done","events":[{},{second}]}}"#,
                event("e", 1, 10, 5)
            );
            Recording { calls: vec![serde_json::from_str(&text).unwrap()], torn: 0 }
        };
        pair(event("e", 1, 10, 5)).check_ids().unwrap();
        assert!(pair(event("e", 1, 10, 6)).check_ids().is_err());
        assert!(pair(event("e", 1, 11, 5)).check_ids().is_err());
    }
}
