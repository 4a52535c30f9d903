//! What a member has to do for replays: one range of a partition that it has.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use event_bus::ControlChange;

use super::super::{link::Owned, part::Began};
use crate::replay::{KnownReplay, Replay, ReplayPlace, ReplayRange, place_entry};

/// A range that is to be played.
pub(super) struct Work {
    /// Names the run within this process.
    pub(super) run: u64,
    pub(super) replay: Replay,
    pub(super) range: ReplayRange,
    /// How far it is.
    pub(super) place: ReplayPlace,
    pub(super) owned: Owned,
}

/// The places that this process has kept. The control table may show them later.
#[derive(Default)]
pub(super) struct OwnPlaces(Mutex<BTreeMap<PlaceKey, ReplayPlace>>);

/// A replay, and a partition by topic and number.
type PlaceKey = (String, String, u32);

impl Work {
    pub(super) fn began(&self) -> Began {
        let ReplayPlace { next, replayed, left_out, .. } = self.place;
        Began { next, replayed, left_out }
    }

    pub(super) fn entry(&self, place: &ReplayPlace) -> ControlChange {
        place_entry(&self.replay.id, &self.range, place)
    }

    /// What is known of its replay.
    pub(super) fn known_in<'a>(&self, all: &'a [KnownReplay]) -> Option<&'a KnownReplay> {
        all.iter().find(|known| known.replay.id == self.replay.id)
    }

    /// Whether nobody has cancelled it.
    pub(super) fn is_wanted(&self, all: &[KnownReplay]) -> bool {
        self.known_in(all).is_some_and(|known| !known.is_cancelled())
    }

    /// Why it cannot go on after an error of the bus.
    pub(super) fn why(&self, error: &event_bus::Error) -> String {
        match error {
            event_bus::Error::OffsetGone { committed, first, .. } => format!(
                "retention deleted events before they came: the replay was at offset {committed} \
                 of {}, and the first one there now is {first}",
                self.range.topic
            ),
            error => error.to_string(),
        }
    }
}

impl OwnPlaces {
    /// The next range of the listener's oldest replay that is to be played here.
    pub(super) fn next(
        &self,
        all: &[KnownReplay],
        listener: &str,
        owned: &[Owned],
    ) -> Option<Work> {
        let is_ours = |known: &&KnownReplay| known.replay.listener == listener;
        let known = all.iter().filter(is_ours).find(|known| !known.state().is_final())?;
        let ranges = known.replay.ranges.iter().zip(&known.places);
        ranges.into_iter().find_map(|(range, told)| {
            let partition = range.partition();
            let owned = owned.iter().find(|owned| owned.partition == partition)?.clone();
            let place = self.latest(&known.replay.id, range, told.as_ref());
            let replay = known.replay.clone();
            let is_left = !place.is_over();
            is_left.then(|| Work { run: 0, replay, range: range.clone(), place, owned })
        })
    }

    /// Whether this is what was kept last.
    pub(super) fn is_at(&self, work: &Work, next: u64) -> bool {
        self.lock().get(&key(&work.replay.id, &work.range)).is_some_and(|kept| kept.next == next)
    }

    pub(super) fn keep(&self, work: &Work, place: ReplayPlace) {
        self.lock().insert(key(&work.replay.id, &work.range), place);
    }

    /// The place that is the furthest: a place only grows.
    fn latest(&self, id: &str, range: &ReplayRange, told: Option<&ReplayPlace>) -> ReplayPlace {
        let kept = self.lock();
        let kept = kept.get(&key(id, range));
        let latest = kept.into_iter().chain(told).max_by_key(|place| (place.is_over(), place.next));
        let begin = || ReplayPlace { next: range.from, ..ReplayPlace::default() };
        latest.cloned().unwrap_or_else(begin)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PlaceKey, ReplayPlace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(id: &str, range: &ReplayRange) -> PlaceKey {
    (id.to_owned(), range.topic.clone(), range.partition)
}
