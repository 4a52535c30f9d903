//! How the journey and the runner of replays talk, inside one process.

use event_bus::Partition;
use tokio::sync::{mpsc, oneshot, watch};

use super::part::{Part, Stand};
use crate::event::TakenEvent;

/// Orders that wait. They hold events that come also after a pause.
const MAX_WAITING_ORDERS: usize = 1;

/// A partition that is ours, and which assignment that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) partition: Partition,
    pub(super) generation: u64,
}

/// What the runner wants of the journey.
pub(in crate::listener) enum Order {
    /// A part of a replay begins. The answer: all offsets below this were taken in as live ones;
    /// `None` when the partition is not ours any more.
    Begin { part: Part, answer: oneshot::Sender<Option<u64>> },
    /// These rows have newer live events that were taken in before the part began.
    Newer { run: u64, rows: Vec<u64> },
    /// Past events, in order.
    Past(Past),
    /// Nothing of this run comes any more, and what waits is dropped.
    End { run: u64 },
}

/// Past events.
pub(in crate::listener) struct Past {
    pub(super) run: u64,
    /// Each with its row.
    pub(super) events: Vec<(u64, TakenEvent)>,
    /// All offsets below this were read.
    pub(super) scanned: u64,
}

/// The journey's end.
pub(in crate::listener) struct JourneyLink {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) owned: watch::Sender<Vec<Owned>>,
    pub(super) stand: watch::Sender<Stand>,
}

/// The runner's end.
pub(in crate::listener) struct RunnerLink {
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) owned: watch::Receiver<Vec<Owned>>,
    pub(super) stand: watch::Receiver<Stand>,
}

/// Both ends.
pub(in crate::listener) fn link() -> (JourneyLink, RunnerLink) {
    let (send_orders, orders) = mpsc::channel(MAX_WAITING_ORDERS);
    let (send_owned, owned) = watch::channel(Vec::new());
    let (send_stand, stand) = watch::channel(Stand::default());
    let journey = JourneyLink { orders, owned: send_owned, stand: send_stand };
    (journey, RunnerLink { orders: send_orders, owned, stand })
}
