//! What the control table of the bus says of a replay: what was asked, what is wished of it since,
//! and how far each partition is.
//!
//! | key | value | written by |
//! |---|---|---|
//! | `replay/asked/{id}` | [`Replay`] | the event-worker that was asked |
//! | `replay/wish/{id}` | [`Wish`]: pause, go on or end | the event-worker that was asked |
//! | `replay/place/{id}/{partition}/{topic}` | [`ReplayPlace`] | the member with the partition |
//!
//! There is no entry for the state of the whole: it follows from these. So nobody has to be alive
//! to write it.

use std::collections::BTreeMap;

use bytes::Bytes;
use event_bus::{ControlChange, Partition};
use full_sync::{Wish, Wished};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::debug;

const ASKED: &str = "replay/asked/";
const WISH: &str = "replay/wish/";
const PLACE: &str = "replay/place/";

/// Past events that a listener is to get once more. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Replay {
    pub(crate) id: String,
    pub(crate) listener: String,
    /// In each partition, all offsets from the first one up to before the last one.
    pub(crate) ranges: Vec<ReplayRange>,
    /// As it was written.
    pub(crate) from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    /// Only tables that fit: `table` or `schema.table`, with `*` and `?` as wildcards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<String>,
    /// Only events of this key: a JSON object, or the value of a key of one column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// Only events with this number or a higher one,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from_seq: Option<u64>,
    /// and only those that come before the first event with this number or a higher one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to_seq: Option<u64>,
    /// Whether keys with newer events go backwards.
    #[serde(default)]
    pub(crate) force: bool,
    /// When it was asked for, in ms since 1970.
    pub(crate) at_ms: u64,
}

/// The part of a replay in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplayRange {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// How far a replay is in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplayPlace {
    /// The next offset that is not finished.
    pub(crate) next: u64,
    /// Events that the handler has done. After a crash some are counted twice.
    pub(crate) replayed: u64,
    /// Events that did not come, because a newer event of their key was done.
    pub(crate) left_out: u64,
    /// Whether all of the range is done.
    pub(crate) is_done: bool,
    /// Why it does not go on; for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// When this was written, in ms since 1970.
    pub(crate) at_ms: u64,
}

/// What a replay is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReplayState {
    /// No member of the group has begun it.
    Waiting,
    Running,
    /// A human paused it.
    Paused,
    /// All events were done or left out.
    Done,
    Cancelled,
    /// It cannot go on.
    Failed,
}

impl ReplayState {
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }

    /// Its word in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

impl Replay {
    pub(crate) fn entry(&self) -> ControlChange {
        put(format!("{ASKED}{}", self.id), self)
    }
}

impl ReplayRange {
    pub(crate) fn partition(&self) -> Partition {
        Partition { topic: self.topic.as_str().into(), number: self.partition }
    }
}

/// The entry that makes a wish.
pub(crate) fn wish_entry(id: &str, wish: Wish) -> ControlChange {
    (format!("{WISH}{id}"), Some(wish.to_bytes().into()))
}

/// The entry that says how far a partition is.
pub(crate) fn place_entry(id: &str, range: &ReplayRange, place: &ReplayPlace) -> ControlChange {
    put(format!("{PLACE}{id}/{}/{}", range.partition, range.topic), place)
}

fn put(key: String, value: &impl Serialize) -> ControlChange {
    // Texts, numbers and lists always serialise.
    (key, Some(serde_json::to_vec(value).unwrap_or_default().into()))
}

/// A replay with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownReplay {
    pub(crate) replay: Replay,
    pub(crate) wish: Option<Wish>,
    /// In the order of its ranges.
    pub(crate) places: Vec<Option<ReplayPlace>>,
}

impl KnownReplay {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.wish.is_some_and(|wish| wish.state == Wished::Cancel)
    }

    pub(crate) fn state(&self) -> ReplayState {
        let wished = self.wish.map(|wish| wish.state);
        let known = || self.places.iter().flatten();
        if self.is_cancelled() {
            ReplayState::Cancelled
        } else if self.places.iter().all(|place| place.as_ref().is_some_and(|it| it.is_over())) {
            match known().any(|place| place.error.is_some()) {
                true => ReplayState::Failed,
                false => ReplayState::Done,
            }
        } else if wished == Some(Wished::Pause) {
            ReplayState::Paused
        } else if known().next().is_some() {
            ReplayState::Running
        } else {
            ReplayState::Waiting
        }
    }

    /// When something of it was written last, in ms since 1970.
    pub(crate) fn updated_ms(&self) -> u64 {
        let wish = self.wish.map(|wish| wish.at_ms);
        let places = self.places.iter().flatten().map(|place| place.at_ms);
        places.chain(wish).chain([self.replay.at_ms]).max().unwrap_or_default()
    }
}

impl ReplayPlace {
    /// Whether nothing more comes in this partition.
    pub(crate) fn is_over(&self) -> bool {
        self.is_done || self.error.is_some()
    }
}

/// The entries of the control table that are about replays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplayTable(BTreeMap<String, Bytes>);

impl ReplayTable {
    /// Takes changes in; `true` if something is different now.
    pub(crate) fn take(&mut self, changes: Vec<ControlChange>) -> bool {
        let mut is_changed = false;
        for (key, value) in changes.into_iter().filter(|(key, _)| key.starts_with("replay/")) {
            is_changed |= match value {
                Some(value) if self.0.get(&key) == Some(&value) => false,
                Some(value) => {
                    self.0.insert(key, value);
                    true
                }
                None => self.0.remove(&key).is_some(),
            };
        }
        is_changed
    }

    /// All replays, the oldest first.
    pub(crate) fn all(&self) -> Vec<KnownReplay> {
        let asked = self.with(ASKED).filter_map(|(_, value)| read::<Replay>(value));
        let mut all: Vec<KnownReplay> = asked.map(|replay| self.known(replay)).collect();
        all.sort_by(|one, other| one.order().cmp(&other.order()));
        all
    }

    /// The keys of all entries of one replay.
    pub(crate) fn keys_of(&self, id: &str) -> Vec<String> {
        let place = format!("{PLACE}{id}/");
        let is_of = |key: &&String| {
            let rest = key.strip_prefix(ASKED).or_else(|| key.strip_prefix(WISH));
            rest == Some(id) || key.starts_with(&place)
        };
        self.0.keys().filter(is_of).cloned().collect()
    }

    /// The keys of all entries.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    fn known(&self, replay: Replay) -> KnownReplay {
        let wish = self.0.get(&format!("{WISH}{}", replay.id));
        let wish = wish.and_then(|value| Wish::from_bytes(value).ok());
        let place = |range: &ReplayRange| {
            read(self.0.get(&format!("{PLACE}{}/{}/{}", replay.id, range.partition, range.topic))?)
        };
        let places = replay.ranges.iter().map(place).collect();
        KnownReplay { wish, places, replay }
    }

    fn with(&self, prefix: &str) -> impl Iterator<Item = (&String, &Bytes)> {
        let from = self.0.range(prefix.to_owned()..);
        let prefix = prefix.to_owned();
        from.take_while(move |(key, _)| key.starts_with(&prefix))
    }
}

impl KnownReplay {
    fn order(&self) -> (u64, &str) {
        (self.replay.at_ms, &self.replay.id)
    }
}

fn read<T: DeserializeOwned>(value: &Bytes) -> Option<T> {
    let read = serde_json::from_slice(value);
    read.inspect_err(|error| debug!(%error, "an entry of a replay that we do not understand")).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn replay(id: &str, at_ms: u64) -> Replay {
        let range = |partition| ReplayRange { topic: "t".into(), partition, from: 0, to: 9 };
        Replay {
            id: id.into(),
            listener: "l".into(),
            ranges: vec![range(0), range(1)],
            from: "earliest".into(),
            to: None,
            table: None,
            key: None,
            from_seq: None,
            to_seq: None,
            force: false,
            at_ms,
        }
    }

    fn place(next: u64, is_done: bool, error: Option<&str>) -> ReplayPlace {
        let error = error.map(str::to_owned);
        ReplayPlace { next, is_done, error, ..ReplayPlace::default() }
    }

    #[test]
    fn the_state_follows_from_what_was_asked_wished_and_done() {
        let (asked, mut table) = (replay("r", 1), ReplayTable::default());
        let mut after = |change: ControlChange| {
            assert!(table.take(vec![change.clone()]) && !table.take(vec![change]));
            table.all()[0].state()
        };
        let of = |number: usize, place| place_entry("r", &replay("r", 1).ranges[number], &place);
        let wish = |state| wish_entry("r", Wish { state, at_ms: 1 });
        assert_eq!(after(asked.entry()), ReplayState::Waiting);
        assert_eq!(after(of(0, place(3, false, None))), ReplayState::Running);
        assert_eq!(after(wish(Wished::Pause)), ReplayState::Paused);
        assert_eq!(after(of(1, place(9, true, None))), ReplayState::Paused);
        assert_eq!(after(wish(Wished::Run)), ReplayState::Running);
        assert_eq!(after(of(0, place(9, true, None))), ReplayState::Done);
        assert_eq!(after(of(0, place(3, false, Some("no")))), ReplayState::Failed);
        assert_eq!(after(wish(Wished::Cancel)), ReplayState::Cancelled);
    }

    #[test]
    fn the_oldest_comes_first_and_each_has_its_own_entries() {
        let mut table = ReplayTable::default();
        let (old, new) = (replay("b", 1), replay("a", 2));
        let of_old = place_entry("b", &old.ranges[1], &place(4, false, None));
        let foreign = ("full-sync/wish/b".to_owned(), Some("{}".into()));
        table.take(vec![new.entry(), old.entry(), of_old, foreign]);
        let ids: Vec<String> = table.all().into_iter().map(|known| known.replay.id).collect();
        assert_eq!(ids, ["b", "a"]);
        assert_eq!(table.keys_of("b"), ["replay/asked/b", "replay/place/b/1/t"]);
        assert_eq!(table.all()[0].places[1].as_ref().unwrap().next, 4);
    }
}
