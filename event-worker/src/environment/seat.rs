//! The seat of a listener at this node: whether the listener may run here, and whether it does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, broadcast, watch};

use super::{
    entry::Offer,
    lease::{Lease, Moment},
};
use crate::listener::{
    parking::command::ParkedCommand,
    status::{ListenerState, Problem},
};

/// Wishes that wait for the listener's process; later ones take the place of the first.
const MAX_WISHES: usize = 1024;

/// Whether a listener may run here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Permit {
    /// Not now.
    Wait(WhyNot),
    /// Until this moment, if nothing new is said by then; `None` is without end.
    Run(Option<Moment>),
}

impl Permit {
    /// Whether the listener may begin now.
    fn allows(&self) -> bool {
        matches!(self, Self::Run(end) if end.is_none_or(|end| !end.left().is_zero()))
    }
}

/// Why a listener does not run here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WhyNot {
    pub(crate) state: ListenerState,
    pub(crate) problem: Option<Problem>,
}

/// The seat of one listener.
#[derive(Debug)]
pub(crate) struct Seat {
    state: watch::Sender<SeatState>,
    /// The end of the lease, for the process that runs.
    lease: watch::Sender<Option<Moment>>,
    /// What humans want of its parked events.
    wishes: broadcast::Sender<ParkedCommand>,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct SeatState {
    permit: Permit,
    is_taken: bool,
    /// Nodes of other environments have the listener, too.
    is_contested: bool,
}

impl Seat {
    fn new(changed: Arc<Notify>) -> Self {
        let permit = Permit::Wait(WhyNot { state: ListenerState::Starting, problem: None });
        let state = SeatState { permit, is_taken: false, is_contested: false };
        let (wishes, _) = broadcast::channel(MAX_WISHES);
        Self { state: watch::Sender::new(state), lease: watch::Sender::new(None), wishes, changed }
    }

    /// Waits until the listener may run, and takes the seat. Nobody else runs the listener until
    /// what this gives is dropped. Cancel-safe.
    pub(crate) async fn take(self: &Arc<Self>) -> TakenSeat {
        let mut states = self.state.subscribe();
        loop {
            let took = self.state.send_if_modified(|state| {
                let may = state.permit.allows();
                state.is_taken |= may;
                may
            });
            if took {
                return TakenSeat(Arc::clone(self));
            }
            // The sender is ours, so there is no error.
            let _ = states.wait_for(|state| state.permit.allows()).await;
        }
    }

    /// Takes the seat for a process that runs already, whatever the permit is.
    pub(crate) fn occupy(self: &Arc<Self>) -> TakenSeat {
        self.state.send_modify(|state| state.is_taken = true);
        TakenSeat(Arc::clone(self))
    }

    /// Waits until the listener may not run any more.
    pub(crate) async fn withdrawn(&self) {
        let mut states = self.state.subscribe();
        let _ = states.wait_for(|state| matches!(state.permit, Permit::Wait(_))).await;
    }

    pub(crate) fn lease(&self) -> Lease {
        Lease::new(self.lease.subscribe())
    }

    /// The end of the lease, and each change of it.
    pub(crate) fn lease_ends(&self) -> watch::Receiver<Option<Moment>> {
        self.lease.subscribe()
    }

    /// What humans want of its parked events, from now on.
    pub(crate) fn wishes(&self) -> broadcast::Receiver<ParkedCommand> {
        self.wishes.subscribe()
    }

    /// Why the listener does not run here; `None` if it may.
    pub(crate) fn why_not(&self) -> Option<WhyNot> {
        match &self.state.borrow().permit {
            Permit::Wait(why) => Some(why.clone()),
            Permit::Run(_) => None,
        }
    }

    /// Whether nodes of other environments have the listener, too, and would like to take over.
    pub(crate) fn is_contested(&self) -> bool {
        self.state.borrow().is_contested
    }

    pub(super) fn permit(&self) -> Permit {
        self.state.borrow().permit.clone()
    }

    pub(super) fn set(&self, permit: Permit, is_contested: bool) {
        if let Permit::Run(end) = permit {
            self.lease.send_if_modified(|known| std::mem::replace(known, end) != end);
        }
        self.state.send_if_modified(|state| {
            let is_new = state.permit != permit || state.is_contested != is_contested;
            (state.permit, state.is_contested) = (permit, is_contested);
            is_new
        });
    }

    pub(super) fn is_taken(&self) -> bool {
        self.state.borrow().is_taken
    }
}

/// A listener runs in its seat; dropping this says that it has ended.
#[derive(Debug)]
pub(crate) struct TakenSeat(Arc<Seat>);

impl Drop for TakenSeat {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.is_taken = false);
        self.0.changed.notify_one();
    }
}

/// The seats of all listeners of this node.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    seats: Mutex<BTreeMap<String, OfferedSeat>>,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct OfferedSeat {
    version: u64,
    /// The listener is no more in the config, or the node stops.
    leaves: bool,
    seat: Arc<Seat>,
}

impl Seats {
    /// Offers to run a version of a listener. The seat is the same as before, so that an earlier
    /// process may still be in it.
    pub(crate) fn offer(&self, listener: &str, version: u64) -> Arc<Seat> {
        let mut seats = self.lock();
        let offered = seats.entry(listener.to_owned()).or_insert_with(|| {
            let seat = Arc::new(Seat::new(Arc::clone(&self.changed)));
            OfferedSeat { version, leaves: false, seat }
        });
        (offered.version, offered.leaves) = (version, false);
        self.changed.notify_one();
        Arc::clone(&offered.seat)
    }

    /// Takes an offer back. What runs ends by itself.
    pub(crate) fn withdraw(&self, listener: &str) {
        if let Some(offered) = self.lock().get_mut(listener) {
            offered.leaves = true;
        }
        self.changed.notify_one();
    }

    /// Takes all offers back.
    pub(crate) fn withdraw_all(&self) {
        self.lock().values_mut().for_each(|offered| offered.leaves = true);
        self.changed.notify_one();
    }

    /// Tells the process of a listener, if one runs here, what a human wants of its parked events.
    pub(super) fn wish(&self, listener: &str, wish: ParkedCommand) {
        if let Some(offered) = self.lock().get(listener) {
            // Without a process nobody hears of it.
            let _ = offered.seat.wishes.send(wish);
        }
    }

    /// Waits for an offer, its end, or the end of a process in a seat. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The seats, with what to tell of each. Those that were withdrawn and are empty are gone after
    /// this call.
    pub(super) fn offers(&self) -> BTreeMap<String, (Arc<Seat>, Offer)> {
        let mut seats = self.lock();
        seats.retain(|_, offered| !offered.leaves || offered.seat.is_taken());
        let offer = |offered: &OfferedSeat| Offer {
            version: offered.version,
            holds: offered.seat.is_taken(),
            leaves: offered.leaves,
        };
        let one = |(id, offered): (&String, &OfferedSeat)| {
            (id.clone(), (Arc::clone(&offered.seat), offer(offered)))
        };
        seats.iter().map(one).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, OfferedSeat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_permit_that_has_ended_lets_nobody_begin() {
        let seat = Seats::default().offer("l", 1);
        seat.set(Permit::Run(Some(Moment::now())), false);
        assert!(timeout(Duration::ZERO, seat.take()).await.is_err());
    }

    fn later() -> Permit {
        Permit::Run(Some(Moment::now().after(Duration::from_hours(1))))
    }

    fn wait() -> Permit {
        Permit::Wait(WhyNot { state: ListenerState::Starting, problem: None })
    }

    #[tokio::test]
    async fn a_seat_is_held_from_the_permit_until_the_process_has_ended() {
        let seats = Seats::default();
        let seat = seats.offer("l", 1);
        assert!(timeout(Duration::ZERO, seat.take()).await.is_err(), "there is no permit yet");
        seat.set(later(), false);
        let taken = seat.take().await;
        seat.set(wait(), false);
        seat.withdrawn().await;
        assert!(seats.offers()["l"].1.holds, "the process has not ended");
        drop(taken);
        assert!(!seats.offers()["l"].1.holds);
    }

    #[tokio::test]
    async fn a_listener_that_is_gone_leaves_when_its_process_has_ended() {
        let seats = Seats::default();
        let seat = seats.offer("l", 1);
        seat.set(later(), false);
        let taken = seat.take().await;
        seats.withdraw("l");
        assert_eq!(seats.offers()["l"].1, Offer { version: 1, holds: true, leaves: true });
        drop(taken);
        assert!(seats.offers().is_empty());
    }
}
