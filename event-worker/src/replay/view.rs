//! Replays as the API shows them.

use serde::{Deserialize, Serialize};

use super::entry::{KnownReplay, ReplayState};
use crate::listener::status::ListenerState;

/// All of them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReplayList {
    pub(crate) replays: Vec<ReplayView>,
}

/// A replay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplayView {
    pub(crate) id: String,
    pub(crate) listener: String,
    pub(crate) state: ReplayState,
    pub(crate) from: String,
    pub(crate) to: Option<String>,
    pub(crate) table: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) force: bool,
    /// Events that the handler has done once more.
    pub(crate) replayed: u64,
    /// Events that were left out, because a newer event of their key was done.
    pub(crate) left_out: u64,
    /// Of the offsets.
    pub(crate) percent: f64,
    pub(crate) error: Option<String>,
    /// Why it does not move, if that is known.
    #[serde(default)]
    pub(crate) waits: Option<String>,
    pub(crate) partitions: Vec<RangeView>,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
}

/// A partition of a replay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RangeView {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) from: u64,
    /// The next offset that is not finished.
    pub(crate) next: u64,
    pub(crate) to: u64,
}

impl From<KnownReplay> for ReplayView {
    fn from(known: KnownReplay) -> Self {
        let (state, updated_ms) = (known.state(), known.updated_ms());
        let KnownReplay { replay, places, .. } = known;
        let sum = |figure: fn(&super::entry::ReplayPlace) -> u64| {
            places.iter().flatten().map(figure).sum::<u64>()
        };
        let (replayed, left_out) = (sum(|place| place.replayed), sum(|place| place.left_out));
        let error = places.iter().flatten().find_map(|place| place.error.clone());
        let next = places.iter().map(|place| place.as_ref().map(|place| place.next));
        let ranges = replay.ranges.into_iter().zip(next);
        let partitions: Vec<RangeView> = ranges
            .map(|(range, next)| RangeView {
                next: next.unwrap_or(range.from).max(range.from),
                topic: range.topic,
                partition: range.partition,
                from: range.from,
                to: range.to,
            })
            .collect();
        Self {
            id: replay.id,
            listener: replay.listener,
            state,
            from: replay.from,
            to: replay.to,
            table: replay.table,
            key: replay.key,
            force: replay.force,
            replayed,
            left_out,
            percent: percent(state, &partitions),
            error,
            waits: None,
            partitions,
            created_ms: replay.at_ms,
            updated_ms,
        }
    }
}

impl ReplayView {
    /// The same with why it does not move, where its listener is the reason: `listener` says how
    /// that is, or nothing where another event-worker runs it.
    pub(crate) fn beside(self, listener: Option<ListenerState>) -> Self {
        let is_to_move = matches!(self.state, ReplayState::Waiting | ReplayState::Running);
        let why = match listener {
            Some(ListenerState::Running) => None,
            Some(state) => Some(format!("the listener is {state}")),
            None => Some("this event-worker does not run the listener".to_owned()),
        };
        Self { waits: why.filter(|_| is_to_move), ..self }
    }
}

fn percent(state: ReplayState, partitions: &[RangeView]) -> f64 {
    if state == ReplayState::Done {
        return 100.0;
    }
    let done: u64 = partitions.iter().map(|at| at.next - at.from).sum();
    let all: u64 = partitions.iter().map(|at| at.to - at.from).sum();
    (done as f64 / all.max(1) as f64 * 1000.0).floor().min(999.0) / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{ReplayPlace, entry::tests::replay};

    #[test]
    fn figures_are_the_sums_of_all_partitions() {
        let place = |next, replayed, is_done| {
            Some(ReplayPlace { next, replayed, left_out: 1, is_done, ..ReplayPlace::default() })
        };
        let known = |places| KnownReplay { replay: replay("r", 5), wish: None, places };
        let view = ReplayView::from(known(vec![place(9, 4, true), None]));
        assert_eq!((view.state, view.percent), (ReplayState::Running, 50.0));
        assert_eq!((view.replayed, view.left_out, view.partitions[1].next), (4, 1, 0));
        let waits = |listener| view.clone().beside(listener).waits;
        assert_eq!(waits(Some(ListenerState::Running)), None);
        assert_eq!(waits(Some(ListenerState::Paused)).as_deref(), Some("the listener is paused"));
        assert!(waits(None).unwrap().contains("does not run"));
        let view = ReplayView::from(known(vec![place(9, 4, true), place(9, 2, true)]));
        assert_eq!((view.state, view.percent), (ReplayState::Done, 100.0));
        assert_eq!((view.replayed, view.left_out), (6, 2));
        assert_eq!(view.beside(None).waits, None);
    }
}
