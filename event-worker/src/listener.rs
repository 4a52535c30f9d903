//! A listener: takes events from the bus, gives them to the handler, and commits what is done.

mod audit;
pub(crate) mod books;
pub(crate) mod calls;
pub(crate) mod counters;
mod failing_lane;
mod filter;
mod flow;
mod in_vain;
mod initial;
mod journey;
mod lane;
mod lanes;
pub(crate) mod latency;
mod ledger;
mod listening;
mod log_limit;
pub(crate) mod parking;
mod problem;
mod replay;
mod standby;
mod state;
pub(crate) mod status;
pub(crate) mod table_counts;
mod tracker;

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use event_bus::{Bus, Consumer, Subscription};
use service::{Backoff, BackoffConfig};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    initial::Initial,
    journey::Journey,
    listening::Teller,
    parking::command::ParkedCommand,
    replay::{Runner, link},
    status::{ListenerState, Problem, Status},
};
pub(crate) use self::{initial::had_key, journey::read_change};
use crate::{
    config::{Config, ListenerConfig},
    environment::Lease,
    error::Error,
    handler::{self, Handler, HandlerMaker, MakeHandler},
};

/// How the bus is asked again when it is away.
pub(crate) const BUS_RETRY: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(10), factor: 2.0 };

/// A listener of a config file, ready to run.
pub struct Listener {
    id: String,
    config: ListenerConfig,
    /// Variables of our environment that hold secrets: no handler process gets them.
    hidden: BTreeSet<String>,
    subscription: Subscription,
    bus: Arc<dyn Bus>,
    status: Arc<Status>,
}

/// Tells a running listener what to do.
pub(crate) struct ListenerControl {
    pub(crate) stop: CancellationToken,
    pub(crate) paused: watch::Receiver<bool>,
    /// Until when the handler may be called.
    pub(crate) lease: Lease,
    /// Whether the listener leaves its group for good when it stops, so that others need not wait
    /// for its return.
    pub(crate) leaves: Arc<AtomicBool>,
    /// A number that changes when the topics of the bus change; the supervisor sends it.
    pub(crate) topics: watch::Receiver<u64>,
    /// What humans want of parked events.
    pub(crate) wishes: broadcast::Receiver<ParkedCommand>,
}

impl ListenerControl {
    /// Runs until `stop`, without a pause or a lease.
    pub(crate) fn until(stop: CancellationToken) -> Self {
        let ((_, paused), (_, topics)) = (watch::channel(false), watch::channel(0));
        let (_, ends) = watch::channel(None);
        let (_, wishes) = broadcast::channel(1);
        Self { stop, paused, topics, lease: Lease::new(ends), leaves: Arc::default(), wishes }
    }
}

impl Listener {
    /// The listener `id` of a config, on a bus that is open.
    ///
    /// # Errors
    ///
    /// When the config has no such listener.
    pub fn new(config: &Config, id: &str, bus: Arc<dyn Bus>) -> Result<Self, Error> {
        let listener = config.listener(id)?;
        Ok(Self {
            id: id.to_owned(),
            subscription: listener.subscription(id, &config.bus),
            config: listener.clone(),
            hidden: config.secret_variables.clone(),
            bus,
            status: Arc::default(),
        })
    }

    /// Gives the listener a name in its group: unique, and the same after a restart. A bus that
    /// uses such names gives the listener its partitions back without waiting for a time-out.
    pub(crate) fn known_as(mut self, instance: String) -> Self {
        self.subscription.instance = Some(instance);
        self
    }

    /// Calls the handlers, one for each lane, until `stop`. Returns when all running calls have
    /// ended, after 45 s at the latest, and what is done is committed.
    ///
    /// # Errors
    ///
    /// What only a human can fix. When the bus is away, the listener waits for it.
    pub async fn run<F>(self, make_handler: F, stop: CancellationToken) -> Result<(), Error>
    where
        F: Fn(usize) -> Box<dyn Handler> + Send + Sync,
    {
        self.run_controlled(&make_handler, ListenerControl::until(stop)).await
    }

    /// Runs the handler that the config names.
    pub(crate) async fn run_configured(self, control: ListenerControl) -> Result<(), Error> {
        let made = handler::maker((&self.id, &self.config), &self.hidden, &self.bus)?;
        let Some(HandlerMaker { make, sink }) = made else {
            return Err(Error::NoHandler(self.id));
        };
        if let Some(sink) = sink {
            self.status.show_sink(sink);
        }
        self.run_controlled(&*make, control).await
    }

    /// How it is, from now on.
    pub(crate) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    pub(crate) async fn run_controlled(
        self,
        make_handler: &MakeHandler<'_>,
        control: ListenerControl,
    ) -> Result<(), Error> {
        let status = self.status();
        let stop = end_of_life(&control.stop, self.config.life_time);
        let ended = match self.join(&stop).await {
            Ok(None) => Ok(()),
            Ok(Some((consumer, initial))) => {
                let config = (self.id.as_str(), &self.config);
                let with = (&status, &control);
                let (replays, runner) = link();
                let journey = Journey::new(config, (consumer, replays), make_handler, with);
                let run = Box::pin(journey.run(ListenerControl { stop: stop.clone(), ..control }));
                let besides = Besides {
                    initial,
                    teller: Teller::new(&self),
                    standby: standby::StandbyWatch::new(&self),
                    replays: Runner::new(&self, runner),
                    audit: audit::Audit::new(&self),
                };
                run_and_tell(run, besides, &stop).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &ended {
            let problem = Problem::new(error.to_string(), error.remedy());
            status.set_problem(ListenerState::Stopped, problem);
        }
        ended
    }

    /// Joins the group, however long the bus is away; `None` when stopped before that. Also gives
    /// the full sync that is still to be requested.
    async fn join(&self, stop: &CancellationToken) -> Result<Option<Entered>, Error> {
        let mut backoff = Backoff::new(BUS_RETRY);
        loop {
            let joined = tokio::select! {
                () = stop.cancelled() => return Ok(None),
                joined = self.enter() => joined,
            };
            let error = match joined.map_err(Error::from) {
                Ok(entered) => return Ok(Some(entered)),
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) => error,
            };
            if backoff.failures() == 0 {
                warn!(%error, "the bus is away; the listener waits for it");
            }
            let problem = Problem::new(error.to_string(), error.remedy());
            self.status.set_problem(ListenerState::BusAway, problem);
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }

    async fn enter(&self) -> event_bus::Result<Entered> {
        let initial = match self.config.full_sync_first {
            true => Initial::prepare(self).await?,
            false => None,
        };
        Ok((self.bus.consumer(self.subscription.clone()).await?, initial))
    }
}

/// Runs a handler with what a consumer gives that is in no group, until `stop`.
pub(crate) async fn run_outside(
    config: (&str, &ListenerConfig),
    consumer: Box<dyn Consumer>,
    (make_handler, status): (&MakeHandler<'_>, &Arc<Status>),
    stop: CancellationToken,
) -> Result<(), Error> {
    let control = ListenerControl::until(stop);
    let (replays, _no_runner) = link();
    let with = (status, &control);
    Journey::new(config, (consumer, replays), make_handler, with).run(control).await
}

/// A member of the group, and the full sync that is still to be requested.
type Entered = (Box<dyn Consumer>, Option<Initial>);

/// What runs next to the journey.
struct Besides {
    initial: Option<Initial>,
    teller: Teller,
    standby: standby::StandbyWatch,
    replays: Runner,
    audit: audit::Audit,
}

/// Runs a listener. Meanwhile requests the first full sync, tells `dts` what the listener gets,
/// logs which member has all partitions, carries out replays, and compares what came with the book
/// of `dts`.
async fn run_and_tell(
    run: impl Future<Output = Result<(), Error>>,
    Besides { initial, teller, standby, replays, audit }: Besides,
    stop: &CancellationToken,
) -> Result<(), Error> {
    tokio::pin!(run);
    let ask = async {
        match initial {
            Some(initial) => initial.ask().await,
            None => Ok(()),
        }
    };
    let tell = async { Ok(Box::pin(teller.run()).await) };
    let watch = async { Ok(Box::pin(standby.run()).await) };
    let replay = async { Ok(Box::pin(replays.run()).await) };
    let audit = async { Ok(Box::pin(audit.run()).await) };
    tokio::select! {
        ended = &mut run => ended,
        Err(error) = async { tokio::try_join!(ask, tell, watch, replay, audit) } => {
            stop.cancel();
            run.await.and(Err(error))
        }
    }
}

/// A token that is cancelled with `stop`, or when the listener has lived long enough.
fn end_of_life(stop: &CancellationToken, life_time: Option<Duration>) -> CancellationToken {
    let ends = stop.child_token();
    if let Some(life_time) = life_time {
        let ends = ends.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ends.cancelled() => {}
                () = tokio::time::sleep(life_time) => {
                    info!(?life_time, "the listener has reached its lifeTime and ends");
                    ends.cancel();
                }
            }
        });
    }
    ends
}

#[cfg(test)]
mod tests;
