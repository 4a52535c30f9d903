//! This node among those of all environments: it tells what it can run, sees what the others tell,
//! and gives its listeners their permits.
//!
//! All of it goes through the bus's control table, which has one order for all. Before a listener
//! begins, this node writes that it *holds* the listener, and reads the table up to its own entry.
//! If no node of another environment holds the listener by then, the listener begins: a node that
//! writes the same later reads our entry first, and waits. So there are never two, without a lock
//! and without clocks that agree.
//!
//! A node renews its lease by writing its entry again. Its own lease is counted from *before* it
//! wrote, the lease of another node from *after* its entry was read; and another node counts as
//! gone only when we have read all that was written until its lease had ended. So a node stops
//! before anybody begins in its place, also one that slept, or that the bus cannot reach.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use event_bus::{Bus, Control, ControlChange};
use service::Backoff;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    entry::NodeEntry,
    lease::Moment,
    seat::{Permit, Seats, WhyNot},
    standing::{Standing, Verdict},
};
use crate::{
    config::Config,
    error::Error,
    listener::parking::command::wishes_of,
    listener::{
        BUS_RETRY,
        status::{ListenerState, Problem},
    },
};

/// A node that stops says so, if the bus takes it in this time.
const LEAVE_DEADLINE: Duration = Duration::from_secs(3);

/// The node of this process.
pub(crate) struct Node {
    bus: Arc<dyn Bus>,
    seats: Arc<Seats>,
    standing: SharedStanding,
    lease: Duration,
    /// Where the bus is, for messages.
    address: String,
    writing: Option<Writing>,
    /// What only a human can fix.
    refused: watch::Sender<Option<event_bus::Error>>,
    backoff: Backoff,
    /// The bus failed: not before this is our entry written again.
    retry_at: Instant,
}

type Writing = Pin<Box<dyn Future<Output = event_bus::Result<()>> + Send>>;

/// What is known of all nodes, for the API.
#[derive(Clone, Debug)]
pub(crate) struct SharedStanding(Arc<Mutex<Standing>>);

impl SharedStanding {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// A node that has not told anything yet. `id` is unique in its environment, and stays the same
    /// over restarts where it can.
    pub(crate) fn new(id: &str, config: &Config, bus: &Arc<dyn Bus>) -> Self {
        let environment = &config.environment;
        let own = NodeEntry {
            environment: environment.name.clone(),
            rank: environment.rank,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            life: rand::random(),
            lease_ms: u64::try_from(environment.lease.as_millis()).unwrap_or(u64::MAX),
            ..NodeEntry::default()
        };
        // Copies of a machine, one in each environment, are two nodes.
        let id = format!("{id}.{}", environment.name);
        let standing = Standing::new(&id, own, environment.is_named);
        Self {
            bus: Arc::clone(bus),
            seats: Arc::default(),
            standing: SharedStanding(Arc::new(Mutex::new(standing))),
            lease: environment.lease,
            address: config.bus.address().to_owned(),
            writing: None,
            refused: watch::Sender::new(None),
            backoff: Backoff::new(BUS_RETRY),
            retry_at: Instant::now(),
        }
    }

    pub(crate) fn seats(&self) -> Arc<Seats> {
        Arc::clone(&self.seats)
    }

    pub(crate) fn standing(&self) -> SharedStanding {
        self.standing.clone()
    }

    /// What the bus refuses, if only a human can fix it.
    pub(crate) fn refused(&self) -> watch::Receiver<Option<event_bus::Error>> {
        self.refused.subscribe()
    }

    /// Tells and decides until `stop`, and then says that this node is gone. By then all processes
    /// of its listeners have ended.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let error = tokio::select! {
                () = stop.cancelled() => break,
                error = self.follow() => error,
            };
            self.bus_failed(error);
            self.decide();
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep_until(self.retry_at) => {}
            }
        }
        self.leave().await;
    }

    /// Follows the control table, until it cannot be read.
    async fn follow(&mut self) -> event_bus::Error {
        let mut control = match self.bus.control().await {
            Ok(control) => control,
            Err(error) => return error,
        };
        // What others hold is known before we tell what we hold.
        match control.changes().await {
            Ok(changes) => self.standing.lock().saw(changes, Instant::now()),
            Err(error) => return error,
        }
        // Earlier wishes may be carried out by now: only those that come are passed on.
        loop {
            self.decide();
            self.write_if_due();
            if let Err(error) = self.next(control.as_mut()).await {
                return error;
            }
        }
    }

    /// Waits for the next thing that matters, and takes it in.
    async fn next(&mut self, control: &mut dyn Control) -> event_bus::Result<()> {
        let is_writing = self.writing.is_some();
        let (write_at, lease_left) = {
            let standing = self.standing.lock();
            (standing.write_at(Instant::now()).max(self.retry_at), standing.lease_left())
        };
        let written = async {
            match &mut self.writing {
                Some(writing) => writing.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            written = written => {
                self.writing = None;
                match written {
                    Ok(()) => self.bus_answers(),
                    Err(error) => self.bus_failed(error),
                }
            }
            changes = control.changes() => match changes {
                Ok(changes) => {
                    self.pass_on(&changes);
                    self.standing.lock().saw(changes, Instant::now());
                }
                Err(error) if error.is_transient() => self.bus_failed(error),
                Err(error) => return Err(error),
            },
            () = self.seats.changed() => {}
            () = sleep_until(write_at), if !is_writing => {}
            // The lease ends: all is decided again.
            () = sleep(lease_left.unwrap_or_default()), if lease_left.is_some() => {}
        }
        Ok(())
    }

    /// Tells the listeners that run here what humans want of parked events.
    fn pass_on(&self, changes: &[ControlChange]) {
        for (listener, wishes) in changes.iter().filter_map(wishes_of) {
            wishes.into_iter().for_each(|wish| self.seats.wish(listener, wish));
        }
    }

    /// Tells each listener whether it may run.
    fn decide(&self) {
        let offers = self.seats.offers();
        let mut standing = self.standing.lock();
        standing.offer(offers.iter().map(|(id, (_, offer))| (id.clone(), *offer)));
        for (listener, (seat, _)) in &offers {
            let before = seat.permit();
            let Verdict { permit, is_contested } =
                standing.verdict(listener, (&before, Moment::now()));
            tell(listener, &before, &permit);
            seat.set(permit, is_contested);
            standing.hold(listener, seat.is_taken());
        }
    }

    /// Begins to write our entry, if it says something new or the lease is to be renewed.
    fn write_if_due(&mut self) {
        let now = Instant::now();
        let mut standing = self.standing.lock();
        if self.writing.is_some() || now < standing.write_at(now).max(self.retry_at) {
            return;
        }
        let entries = standing.write(now, Moment::now());
        let (bus, patience) = (Arc::clone(&self.bus), self.lease);
        let address = self.address.clone();
        self.writing = Some(Box::pin(async move {
            let written = timeout(patience, bus.put_control(&entries)).await;
            written.unwrap_or_else(|_| {
                let reason = format!("it has not taken an entry within {patience:?}");
                Err(event_bus::Error::Unavailable { address, reason })
            })
        }));
    }

    fn bus_answers(&mut self) {
        self.backoff.reset();
        if self.standing.lock().trouble.take().is_some() {
            info!("the bus takes what this node tells again");
        }
    }

    /// The listeners go on as they are, until the lease ends.
    fn bus_failed(&mut self, error: event_bus::Error) {
        let state = match error.is_transient() {
            true => ListenerState::BusAway,
            false => ListenerState::Stopped,
        };
        if state == ListenerState::Stopped {
            self.refused.send_replace(Some(error.clone()));
        }
        let error = Error::from(error);
        if self.backoff.failures() == 0 {
            let lease = self.lease;
            warn!(
                %error, ?lease, remedy = error.remedy(),
                "this node cannot tell the others of itself: its listeners go on until its lease \
                 ends, and none begins"
            );
        }
        self.retry_at = Instant::now() + self.backoff.next_wait();
        let problem = Problem::new(error.to_string(), error.remedy());
        self.standing.lock().trouble.get_or_insert(WhyNot { state, problem: Some(problem) });
    }

    /// Says that this node is gone, so that nobody waits for its lease.
    async fn leave(self) {
        let (key, was_told) = {
            let standing = self.standing.lock();
            (NodeEntry::key(&standing.id), standing.own.beat > 0)
        };
        if !was_told {
            return;
        }
        let gone = timeout(LEAVE_DEADLINE, async {
            if let Some(writing) = self.writing {
                // A later one must not come before it.
                let _ = writing.await;
            }
            self.bus.put_control(&[(key, None)]).await
        });
        if !matches!(gone.await, Ok(Ok(()))) {
            debug!("the other nodes are not told that this one is gone: they wait for its lease");
        }
    }
}

/// Logs what changes for a listener.
fn tell(listener: &str, before: &Permit, now: &Permit) {
    match (before, now) {
        (Permit::Wait(_), Permit::Run(_)) => debug!(listener, "the listener may run here"),
        (_, Permit::Wait(why)) if before != now => {
            let Some(problem) = &why.problem else { return };
            if why.state != ListenerState::BusAway {
                info!(listener, "{}", problem.message);
            }
        }
        _ => {}
    }
}
