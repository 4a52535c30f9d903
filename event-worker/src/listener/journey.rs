//! The loop of a listener: deliveries of the bus go to the lanes, and what the lanes have done is
//! committed.

mod accounts;
mod aside;
mod handover;
mod saving;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use change_event::ChangeEvent;
use event_bus::{Assignment, Consumer, Delivery, Kept, Polled};
use service::Backoff;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use aside::Loading;
use handover::Leaving;
use saving::Saving;

use super::{
    BUS_RETRY, ListenerControl,
    filter::Filter,
    flow::Flow,
    lanes::{Broken, Finished, Lanes},
    parking::{
        Parking,
        command::{ParkedCommand, ParkedWish},
    },
    replay::{JourneyLink, Order, Replays},
    status::{ListenerState, Problem, Status},
    table_counts::{TableCounts, TableNames},
    tracker::Tracker,
};
use crate::{
    config::{BigInt, ListenerConfig},
    error::Error,
    event::TakenEvent,
    handler::MakeHandler,
    reset::SkippedRecord,
};

/// How long running calls may take when the listener stops.
const STOP_DEADLINE: Duration = Duration::from_secs(45);

/// How long the bus may take to commit, or to close the connection.
const BUS_DEADLINE: Duration = Duration::from_secs(5);

pub(super) struct Journey {
    id: String,
    consumer: Box<dyn Consumer>,
    filter: Filter,
    tracker: Tracker,
    tables: TableNames,
    lanes: Lanes,
    /// Events that failed alone, and what waits behind them.
    parking: Parking,
    /// Set while it is looked up what was parked of new partitions.
    loading: Option<Loading>,
    /// When it was looked last what of the parked events is due.
    aside_looked_at: Instant,
    /// What humans want of parked events that are in a call just now.
    wishes: Vec<ParkedCommand>,
    big_int: BigInt,
    flow: Flow,
    status: Arc<Status>,
    bus_failures: Backoff,
    /// When the next commit is due, and when the last one began.
    commit_at: Instant,
    began_commit_at: Instant,
    saving: Option<Saving>,
    /// The bus failed: when to ask again at the earliest.
    ask_bus_at: Instant,
    /// A record that is not an event. When everything before it is done, the listener ends with
    /// this error. Until then the listener takes no more records, but stays a member of its group.
    bad_record: Option<Error>,
    /// Set while partitions go to another member.
    leaving: Option<Leaving>,
    /// Whether no place in the group is to be kept.
    leaves: Arc<AtomicBool>,
    replays: Replays,
}

/// What happens next.
enum Next {
    Stop,
    Pause(bool),
    Topics(u64),
    Finished(Result<Finished, Broken>),
    Loaded(event_bus::Result<Vec<Kept>>),
    AsideDue,
    RetryAside,
    Wish(ParkedCommand),
    CommitDue,
    Saved(event_bus::Result<()>),
    AbortDue,
    Polled(event_bus::Result<Polled>),
    Replay(Order),
}

impl Journey {
    pub(super) fn new(
        (id, config): (&str, &ListenerConfig),
        (consumer, replays): (Box<dyn Consumer>, JourneyLink),
        make_handler: &MakeHandler<'_>,
        (status, control): (&Arc<Status>, &ListenerControl),
    ) -> Self {
        Self {
            id: id.to_owned(),
            consumer,
            filter: Filter::new(id, config),
            tracker: Tracker::default(),
            tables: TableNames::default(),
            lanes: Lanes::start((id, config), make_handler, (status, &control.lease)),
            parking: Parking::new(config),
            loading: None,
            aside_looked_at: Instant::now(),
            wishes: Vec::new(),
            big_int: config.big_int,
            flow: Flow::new(config.max_buffer_bytes),
            status: Arc::clone(status),
            bus_failures: Backoff::new(BUS_RETRY),
            commit_at: Instant::now(),
            began_commit_at: Instant::now(),
            saving: None,
            ask_bus_at: Instant::now(),
            bad_record: None,
            leaving: None,
            leaves: Arc::clone(&control.leaves),
            replays: Replays::new(replays, config, status),
        }
    }

    pub(super) async fn run(mut self, mut control: ListenerControl) -> Result<(), Error> {
        self.pause(*control.paused.borrow_and_update());
        let ended = loop {
            let acted = match self.next(&mut control).await {
                Next::Stop => break Ok(()),
                next => self.act(next).await,
            };
            if let Err(error) = acted {
                break Err(error);
            }
            self.go_on();
            if self.lanes.events() == 0
                && let Some(error) = self.bad_record.take()
            {
                break Err(error);
            }
        };
        if let Err(Error::Bus(event_bus::Error::Fenced(_))) = &ended {
            self.fenced();
        }
        self.finish().await;
        ended
    }

    async fn next(&mut self, control: &mut ListenerControl) -> Next {
        let (leaving, run) = (self.leaving.as_ref(), self.replays.run());
        let is_ours = |event: &TakenEvent| {
            let goes = leaving.is_some_and(|leaving| leaving.holds(event.place().0));
            self.tracker.holds(event) && !goes && is_wanted(event, run)
        };
        let abort_at = leaving.and_then(Leaving::abort_at);
        let abort_due = tokio::time::sleep_until(abort_at.unwrap_or_else(Instant::now));
        let poll = async {
            tokio::time::sleep_until(self.ask_bus_at).await;
            self.consumer.poll().await
        };
        let (is_saving, is_loading) = (self.saving.is_some(), self.loading.is_some());
        let aside_at = self.parking.next_due(self.aside_looked_at);
        let aside_at = aside_at.filter(|_| self.flow.goes_out());
        let aside_due = tokio::time::sleep_until(aside_at.unwrap_or_else(Instant::now));
        let loaded = async {
            match &mut self.loading {
                Some(loading) => loading.end().await,
                None => std::future::pending().await,
            }
        };
        let takes_past = !self.flow.is_ending;
        // Both may be ready all the time: neither goes first.
        let intake = async {
            tokio::select! {
                polled = poll => Next::Polled(polled),
                order = self.replays.next(), if takes_past => Next::Replay(order),
            }
        };
        let saved = async {
            match &mut self.saving {
                Some(saving) => saving.end().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = control.stop.cancelled() => Next::Stop,
            Ok(()) = control.topics.changed() => Next::Topics(*control.topics.borrow_and_update()),
            Ok(wish) = control.wishes.recv() => Next::Wish(wish),
            Ok(()) = control.paused.changed() => Next::Pause(*control.paused.borrow_and_update()),
            // Before the lanes, which may finish work all the time: a full sync waits for our
            // commits.
            () = tokio::time::sleep_until(self.commit_at), if !is_saving => Next::CommitDue,
            saved = saved => Next::Saved(saved),
            finished = self.lanes.next_finished(is_ours) => Next::Finished(finished),
            () = abort_due, if abort_at.is_some() => Next::AbortDue,
            loaded = loaded => Next::Loaded(loaded),
            () = aside_due, if aside_at.is_some() => Next::AsideDue,
            () = self.status.retry_aside_asked() => Next::RetryAside,
            next = intake, if leaving.is_none() && !is_loading => next,
        }
    }

    async fn act(&mut self, next: Next) -> Result<(), Error> {
        match next {
            Next::Stop => {}
            Next::Pause(pause) => self.pause(pause),
            Next::Topics(topics) => self.consumer.topics_are(topics),
            Next::Finished(finished) => self.finished(finished?),
            Next::Loaded(loaded) => self.loaded(loaded)?,
            Next::AsideDue => {}
            Next::RetryAside => self.parking.hurry(),
            Next::Wish(wish) => self.wishes.push(wish),
            Next::CommitDue => self.begin_commit(),
            Next::Saved(saved) => {
                self.end_commit(saved)?;
            }
            Next::AbortDue => self.abort_leaving(),
            Next::Polled(Err(error)) => self.bus_failed(error)?,
            Next::Polled(Ok(polled)) => self.polled(polled),
            Next::Replay(order) => {
                let parking = &self.parking;
                self.replays.act(order, (&mut self.lanes, &self.tracker, parking));
            }
        }
        self.hand_over().await
    }

    /// After each event: pauses or resumes the partitions, and gives work to free lanes.
    fn go_on(&mut self) {
        if self.flow.is_paused {
            // Who asked sees that nothing happens: only what calls no handler is done.
            self.wishes.retain(|wish| matches!(wish.wish, ParkedWish::Drop(_)));
        }
        self.wishes.retain(|wish| !self.parking.obey(wish));
        self.flow.is_parking_full = self.parking.is_full();
        self.lanes.may_set_aside(self.parking.is_open());
        self.flow.steer(self.lanes.bytes(), self.consumer.as_mut(), self.tracker.partitions());
        if self.flow.goes_out() {
            self.call_aside();
            self.lanes.dispatch();
        }
        self.replays.follow(&self.tracker);
        self.settle_books();
        let (events, bytes) = (self.lanes.events() as u64, self.lanes.bytes() as u64);
        let oldest_unfinished_ms = self.tracker.oldest_unfinished_ms();
        let parking = self.parking.news();
        self.status.update(|report| {
            if let Some(parking) = parking {
                report.parking = parking;
            }
            report.buffered_events = events;
            report.buffered_bytes = bytes;
            report.is_full = self.flow.is_full();
            report.oldest_unfinished_ms = oldest_unfinished_ms;
            report.note_fronts(|event| self.tracker.is_front(event));
        });
    }

    fn pause(&mut self, pause: bool) {
        if pause && !self.flow.is_paused {
            info!("paused: running calls may end, no new calls begin");
            for leash in self.lanes.leashes(|_, _| true) {
                leash.no_retry.cancel();
            }
            self.lanes.rest();
        } else if !pause && self.flow.is_paused {
            info!("resumed");
        }
        self.flow.is_paused = pause;
        self.show_state();
    }

    fn show_state(&self) {
        let has_partitions = self.tracker.partitions().next().is_some();
        self.status.set_state(match (self.flow.is_stopping, self.flow.is_paused) {
            (true, _) => ListenerState::Stopping,
            (false, true) => ListenerState::Paused,
            (false, false) if !has_partitions => ListenerState::Standby,
            (false, false) => ListenerState::Running,
        });
    }

    /// The bus answers, perhaps after a failure.
    fn bus_answers(&mut self) {
        if self.bus_failures.failures() > 0 {
            info!("the bus is back");
            self.bus_failures.reset();
            self.show_state();
        }
    }

    fn polled(&mut self, polled: Polled) {
        self.bus_answers();
        match polled {
            Polled::Assigned(assignments) => self.assigned(&assignments),
            Polled::Revoking(partitions) => self.give_up(partitions),
            Polled::Lost(partitions) => self.lost(&partitions),
            Polled::Records { .. } if self.bad_record.is_some() => {}
            Polled::Records { deliveries, scanned } => match self.take_in(&deliveries) {
                Ok(()) => scanned.iter().for_each(|(at, next)| self.tracker.scan(at, *next)),
                Err(error) => {
                    if let Error::BadRecord { partition, offset, .. } = &error {
                        // So that what is committed in the end is its place.
                        self.tracker.scan(partition, *offset);
                    }
                    self.bad_record = Some(error);
                    self.flow.is_ending = true;
                }
            },
        }
        self.show_state();
    }

    fn assigned(&mut self, assignments: &[Assignment]) {
        for assignment in assignments {
            self.tracker.assign(assignment);
            self.status.ledger().forget(&assignment.partition);
        }
        info!(count = assignments.len(), places = places(assignments), "partitions are assigned");
        let partitions: Vec<_> =
            assignments.iter().map(|assignment| assignment.partition.clone()).collect();
        self.flow.assigned(self.consumer.as_mut(), &partitions);
        self.load(partitions);
        self.status.note_assigned();
    }

    /// Gives the wanted events to the lanes, until a record is not an event.
    fn take_in(&mut self, deliveries: &[Delivery]) -> Result<(), Error> {
        let (mut received, mut filtered, mut tables) = (0, 0, TableCounts::default());
        let keeps_keys = self.parking.is_in_use();
        let status = Arc::clone(&self.status);
        let mut ledger = status.ledger();
        let mut take = |delivery: &Delivery| {
            let Some(generation) = self.tracker.generation(&delivery.partition) else {
                return Ok(());
            };
            received += 1;
            if let Some(missing) = self.filter.count_in(&mut ledger, delivery) {
                self.status.differ(accounts::missing_before(delivery, missing));
            }
            if self.filter.is_foreign(&delivery.headers) {
                filtered += 1;
                self.tracker.scan(&delivery.partition, delivery.offset + 1);
                return Ok(());
            }
            let (text, change) = read_change((&self.id, delivery))?;
            let is_wanted = self.filter.wants(&change);
            let is_wanted = is_wanted.map_err(|error| bad_record((&self.id, delivery), error))?;
            let table = (&*change.schema, &*change.table_name);
            tables.came(table, is_wanted);
            if is_wanted {
                let table = self.tables.of(table.0, table.1);
                let mut event = TakenEvent::new((delivery, text), change, generation)
                    .with_standing(self.tracker.standing(&delivery.partition))
                    .counted_as(table);
                if self.big_int == BigInt::Text {
                    event = event.with_texts_for_big_numbers();
                }
                if keeps_keys {
                    event = event.with_record_key(delivery);
                }
                self.replays.saw(delivery);
                self.tracker.begin(&event);
                if self.parking.holds(&event) {
                    self.wait_aside(event);
                    return Ok(());
                }
                let (waiting, table) = (self.lanes.events(), Arc::clone(event.table()));
                self.lanes.push(event);
                if self.lanes.events() != waiting + 1 {
                    self.status.differ(accounts::lost_before_the_lanes(delivery, &table));
                }
            } else {
                filtered += 1;
                self.tracker.scan(&delivery.partition, delivery.offset + 1);
            }
            Ok(())
        };
        let taken = deliveries.iter().try_for_each(&mut take);
        self.status.update(|report| {
            report.counters.received += received;
            report.counters.filtered += filtered;
            // A record that is no event stays on the bus.
            report.counters.returned += u64::from(taken.is_err());
            report.counters.tables.merge(&tables);
        });
        taken
    }

    /// When the bus is away, the listener waits. Any other error ends the listener.
    fn bus_failed(&mut self, error: event_bus::Error) -> Result<(), Error> {
        let error = Error::from(error);
        if !error.is_transient() {
            return Err(error);
        }
        if self.bus_failures.failures() == 0 {
            warn!(%error, "the bus is away; the listener waits for it");
        }
        self.ask_bus_at = Instant::now() + self.bus_failures.next_wait();
        let problem = Problem::new(error.to_string(), error.remedy());
        self.status.set_problem(ListenerState::BusAway, problem);
        Ok(())
    }

    /// Lets running calls end, commits, and leaves the group.
    async fn finish(mut self) {
        self.flow.is_stopping = true;
        self.show_state();
        if self.settle(STOP_DEADLINE).await.is_err() {
            warn!("a handler panicked while the listener stopped");
        }
        if let Err(error) = self.commit().await {
            warn!(%error, "the last commit failed; the events are delivered again");
        }
        let left = self.lanes.events();
        if left > 0 {
            info!(events = left, "waiting events are not handled; they are delivered again");
        }
        let left = async {
            match self.leaves.load(Relaxed) {
                true => self.consumer.leave().await,
                false => self.consumer.close().await,
            }
        };
        if timeout(BUS_DEADLINE, left).await.is_err() {
            warn!("the bus did not close the connection within {BUS_DEADLINE:?}");
        }
    }
}

/// Whether an event that a lane gives back is to come again: a live one, or a past one of the run.
fn is_wanted(event: &TakenEvent, run: Option<u64>) -> bool {
    event.replay().is_none_or(|of| Some(of) == run)
}

impl From<Broken> for Error {
    fn from(_: Broken) -> Self {
        Self::HandlerPanicked
    }
}

/// Where the first of these begin, for the log.
fn places(assignments: &[Assignment]) -> String {
    const MAX_SHOWN: usize = 8;
    let shown = assignments.iter().take(MAX_SHOWN).map(|Assignment { partition, position }| {
        format!("{}/{}:{position}", partition.topic, partition.number)
    });
    let mut places = shown.collect::<Vec<_>>().join(" ");
    if assignments.len() > MAX_SHOWN {
        places.push_str(" …");
    }
    places
}

/// The text of a record, and the change that was read from it.
pub(crate) fn read_change<'a>(
    (listener, delivery): (&str, &'a Delivery),
) -> Result<(&'a str, ChangeEvent<'a>), Error> {
    let bad_record = |reason: &dyn std::fmt::Display| bad_record((listener, delivery), reason);
    if delivery.value.is_empty() {
        return Err(bad_record(&"it has no value, like a tombstone"));
    }
    let text = std::str::from_utf8(&delivery.value);
    let text = text.map_err(|error| bad_record(&error))?;
    let change = ChangeEvent::read_text(text).map_err(|error| bad_record(&error))?;
    Ok((text, change))
}

fn bad_record((listener, delivery): (&str, &Delivery), reason: impl std::fmt::Display) -> Error {
    let Delivery { partition, offset, topic, .. } = delivery;
    Error::BadRecord {
        topic: topic.to_string(),
        offset: *offset,
        reason: reason.to_string(),
        remedy: format!(
            "see who else writes to this topic, and whether event-worker is older than dts; \
             the record is not skipped automatically: to skip it, run `{}`",
            SkippedRecord::command(listener, (partition, *offset))
        ),
        partition: partition.clone(),
    }
}
