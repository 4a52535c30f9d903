//! Carries out the replays of a listener: reads past events and gives them to the journey, part by
//! part, and keeps in the control table how far each partition is.
//!
//! Each member of the group plays the ranges of the partitions that it has. So a past event goes
//! the same way as the live ones of its key: through the same lane of the same member.
//!
//! For each part, the runner
//!
//! 1. reads the part, to know which rows it has;
//! 2. tells the journey, which from then on notes which of these rows get live events, and answers
//!    how far the live stream is;
//! 3. reads from the end of the replay up to there, and tells the journey which rows have newer
//!    events;
//! 4. reads the part again, and gives its events to the journey;
//! 5. waits until all are done.

mod work;

use std::{convert::Infallible, sync::Arc, time::Duration};

use event_bus::{Bus, ControlChange, TopicFilter};
use full_sync::Wished;
use service::{Backoff, clock::now_ms};
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use self::work::{OwnPlaces, Work};
use super::{
    link::{Order, Past, RunnerLink},
    part::{Began, Part, PartOf, Rows, Stand, row_of},
    read::{Choice, RangeReader},
    survey::{MAX_ROWS, Surveyed, next_newer, survey},
};
use crate::{
    config::BigInt,
    event::TakenEvent,
    listener::{BUS_RETRY, Listener, filter::Filter},
    replay::{ReplayPlace, ReplayTable},
};

/// The most events of one order.
const MAX_ORDERED: usize = 100;

/// How often the place of a running replay is kept.
const SAVE_EVERY: Duration = Duration::from_millis(500);

/// How often we look for new replays, and how long such a look may take; now and then longer, for
/// a bus that is slow.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(300);
const LONG_LOOK: Duration = Duration::from_secs(5);

/// Runs beside the journey of a listener.
pub(in crate::listener) struct Runner {
    bus: Arc<dyn Bus>,
    listener: String,
    topics: TopicFilter,
    filter: Filter,
    big_int: BigInt,
    max_rows: usize,
    /// The most events of one order.
    max_ordered: usize,
    link: RunnerLink,
    table: watch::Sender<ReplayTable>,
    own: OwnPlaces,
}

/// How the work on a range ended.
enum Played {
    Done(Began),
    /// It cannot go on, for this reason.
    Failed(String),
    /// The partition is not ours any more.
    Lost,
}

impl Runner {
    pub(in crate::listener) fn new(listener: &Listener, link: RunnerLink) -> Self {
        let Listener { id, config, subscription, bus, .. } = listener;
        Self {
            bus: Arc::clone(bus),
            listener: id.clone(),
            topics: subscription.topics.clone(),
            filter: Filter::new(id, config),
            big_int: config.big_int,
            max_rows: MAX_ROWS,
            max_ordered: config.batch_size.clamp(1, MAX_ORDERED),
            link,
            table: watch::Sender::default(),
            own: OwnPlaces::default(),
        }
    }

    /// Runs as long as the listener.
    pub(in crate::listener) async fn run(self) -> Infallible {
        tokio::select! {
            never = self.follow() => never,
            never = self.carry_out() => never,
        }
    }

    /// Follows what the control table says of replays.
    async fn follow(&self) -> Infallible {
        let mut backoff = Backoff::new(BUS_RETRY);
        loop {
            let Ok(mut control) = self.bus.control().await else {
                sleep(backoff.next_wait()).await;
                continue;
            };
            for look in 0_u64.. {
                let patience = if look % 10 == 0 { LONG_LOOK } else { LOOK };
                match timeout(patience, control.changes()).await {
                    Ok(Ok(changes)) => {
                        backoff.reset();
                        self.table.send_if_modified(|table| table.take(changes));
                    }
                    Ok(Err(error)) if error.is_transient() => {}
                    Ok(Err(error)) => {
                        warn!(%error, "cannot see which replays are asked for");
                        break;
                    }
                    Err(_) => {}
                }
                sleep(LOOK_EVERY).await;
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// Works on one range after another.
    async fn carry_out(&self) -> Infallible {
        let (mut table, mut owned) = (self.table.subscribe(), self.link.owned.clone());
        for run in 1.. {
            let work = loop {
                let known = table.borrow_and_update().all();
                let found = self.own.next(&known, &self.listener, &owned.borrow_and_update());
                if let Some(work) = found {
                    break work;
                }
                // The senders live as long as we, or the listener ends.
                let _ = tokio::select! {
                    changed = table.changed() => changed,
                    changed = owned.changed() => changed,
                };
            };
            let work = Work { run, ..work };
            info!(
                replay = work.replay.id,
                topic = work.range.topic,
                partition = work.range.partition,
                from = work.place.next,
                to = work.range.to,
                "past events are given once more"
            );
            tokio::select! {
                () = self.play(&work) => {}
                () = self.called_off(&work) => {
                    info!(replay = work.replay.id, "the replay ends here: cancelled, or the \
                          partition went to another member");
                }
            }
            // The journey may be gone.
            let _ = self.link.orders.send(Order::End { run }).await;
        }
        std::future::pending().await
    }

    /// Waits until the partition is not ours any more, or the replay is cancelled or removed.
    async fn called_off(&self, work: &Work) {
        let (mut table, mut owned) = (self.table.subscribe(), self.link.owned.clone());
        loop {
            let goes_on = work.is_wanted(&table.borrow_and_update().all());
            if !goes_on || !owned.borrow_and_update().contains(&work.owned) {
                return;
            }
            let _ = tokio::select! {
                changed = table.changed() => changed,
                changed = owned.changed() => changed,
            };
        }
    }

    /// Gives a range to the journey, and keeps its place meanwhile.
    async fn play(&self, work: &Work) {
        let parts = self.parts(work);
        tokio::pin!(parts);
        let played = loop {
            tokio::select! {
                played = &mut parts => break played,
                () = sleep(SAVE_EVERY) => self.save(work).await,
            }
        };
        let stand = self.link.stand.borrow().clone();
        let before = match stand.run == Some(work.run) {
            true => Began { next: stand.next, replayed: stand.replayed, left_out: stand.left_out },
            false => work.began(),
        };
        let (at, is_done, error) = match played {
            Ok(Played::Lost) => return,
            Ok(Played::Done(at)) => (at, true, None),
            Ok(Played::Failed(why)) => (before, false, Some(why)),
            Err(error) => (before, false, Some(work.why(&error))),
        };
        let Began { next, replayed, left_out } = at;
        match &error {
            Some(why) => warn!(replay = work.replay.id, why, "the replay has failed"),
            None => info!(
                replay = work.replay.id,
                topic = work.range.topic,
                partition = work.range.partition,
                replayed,
                left_out,
                "all past events of this partition are done"
            ),
        }
        self.end(work, ReplayPlace { next, replayed, left_out, is_done, error, at_ms: now_ms() })
            .await;
    }

    /// Keeps the last place of a range, however long the bus is away.
    async fn end(&self, work: &Work, place: ReplayPlace) {
        let mut backoff = Backoff::new(BUS_RETRY);
        while let Err(error) = self.put(work, &place).await {
            if backoff.failures() == 0 {
                warn!(%error, "cannot keep that a replay has ended; tried again");
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// Keeps how far the range is, if it moved.
    async fn save(&self, work: &Work) {
        let stand = self.link.stand.borrow().clone();
        let (next, replayed, left_out) = (stand.next, stand.replayed, stand.left_out);
        if stand.run != Some(work.run) || self.own.is_at(work, next) {
            return;
        }
        let place = ReplayPlace { next, replayed, left_out, at_ms: now_ms(), ..Default::default() };
        // The next save brings what this one did not.
        if let Err(error) = self.put(work, &place).await {
            tracing::debug!(%error, "the place of a replay is not kept now");
        }
    }

    async fn put(&self, work: &Work, place: &ReplayPlace) -> event_bus::Result<()> {
        let entry: ControlChange = work.entry(place);
        self.bus.put_control(&[entry]).await?;
        self.own.keep(work, place.clone());
        Ok(())
    }

    async fn parts(&self, work: &Work) -> event_bus::Result<Played> {
        let choice = Choice::new((&self.listener, &self.filter), &work.replay);
        let mut began = work.began();
        loop {
            let part = self.survey(work, &choice, began.next).await?;
            self.while_paused(work).await;
            let rows = if work.replay.force { Rows::new() } else { part.rows };
            let rows = Arc::new(rows);
            let part = Surveyed { rows: Rows::new(), ..part };
            began.next = part.from;
            let Some(position) = self.begin(work, &rows, &began).await else {
                return Ok(Played::Lost);
            };
            if position < work.range.to {
                return Ok(Played::Failed(format!(
                    "the listener was set to an earlier place, offset {position}: the events from \
                     there on come as live ones"
                )));
            }
            let newer_from = match work.replay.to_seq {
                Some(_) => part.end,
                None => work.range.to,
            };
            if !rows.is_empty() {
                self.tell_newer(work, &choice, (&rows, newer_from..position)).await?;
            }
            self.give(work, &choice, &part).await?;
            let mut stand = self.link.stand.clone();
            let is_over = |stand: &Stand| stand.run != Some(work.run) || stand.next >= part.end;
            let Ok(stand) = stand.wait_for(is_over).await.map(|it| it.clone()) else {
                return Ok(Played::Lost);
            };
            if stand.run != Some(work.run) {
                return Ok(Played::Lost);
            }
            let Stand { next, replayed, left_out, .. } = stand;
            began = Began { next, replayed, left_out };
            if part.is_last {
                return Ok(Played::Done(began));
            }
        }
    }

    async fn survey(
        &self,
        work: &Work,
        choice: &Choice<'_>,
        next: u64,
    ) -> event_bus::Result<Surveyed> {
        let mut reader = self.read(work, (next, work.range.to)).await?;
        survey(&mut reader, choice, self.max_rows).await
    }

    /// Begins a part; gives how far the live stream is, `None` when the partition is not ours.
    async fn begin(&self, work: &Work, rows: &Arc<Rows>, began: &Began) -> Option<u64> {
        let of = PartOf {
            run: work.run,
            replay: work.replay.id.as_str().into(),
            partition: work.owned.partition.clone(),
            generation: work.owned.generation,
            to: work.range.to,
        };
        let part = Part::new(of, Arc::clone(rows), began);
        let (answer, answered) = oneshot::channel();
        self.link.orders.send(Order::Begin { part, answer }).await.ok()?;
        answered.await.ok()?
    }

    /// Tells the journey which rows have newer events that were taken in before the part began.
    async fn tell_newer(
        &self,
        work: &Work,
        choice: &Choice<'_>,
        (rows, range): (&Rows, std::ops::Range<u64>),
    ) -> event_bus::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let mut reader = self.read(work, (range.start, range.end)).await?;
        while let Some(newer) = next_newer(&mut reader, choice, (rows, work.range.to)).await? {
            if !newer.is_empty() {
                let _ = self.link.orders.send(Order::Newer { run: work.run, rows: newer }).await;
            }
        }
        Ok(())
    }

    /// Gives the events of a part to the journey, as fast as it takes them.
    async fn give(
        &self,
        work: &Work,
        choice: &Choice<'_>,
        part: &Surveyed,
    ) -> event_bus::Result<()> {
        let (run, generation) = (work.run, work.owned.generation);
        let mut reader = self.read(work, (part.from, part.end)).await?;
        while let Some(deliveries) = reader.read().await? {
            for some in deliveries.chunks(self.max_ordered) {
                self.while_paused(work).await;
                let events = some.iter().filter_map(|delivery| {
                    let (text, change) = choice.live(delivery)?;
                    let is_part = choice.has(&change) && !choice.ends_before(&change);
                    let event =
                        is_part.then(|| TakenEvent::new((delivery, text), change, generation))?;
                    let event = match self.big_int {
                        BigInt::Text => event.with_texts_for_big_numbers(),
                        BigInt::Number => event,
                    };
                    Some((row_of(delivery), event.replayed_by(run)))
                });
                let events = events.collect();
                let scanned = some.last().map_or(0, |delivery| delivery.offset + 1);
                // The journey may be gone.
                let _ = self.link.orders.send(Order::Past(Past { run, events, scanned })).await;
            }
        }
        let rest = Past { run, events: Vec::new(), scanned: part.end };
        let _ = self.link.orders.send(Order::Past(rest)).await;
        Ok(())
    }

    async fn read(&self, work: &Work, range: (u64, u64)) -> event_bus::Result<RangeReader> {
        RangeReader::open(&*self.bus, (&work.owned.partition, &self.topics), range).await
    }

    /// Waits while a human has paused the replay.
    async fn while_paused(&self, work: &Work) {
        let is_paused = |table: &ReplayTable| {
            let wish = work.known_in(&table.all()).and_then(|known| known.wish);
            wish.is_some_and(|wish| wish.state == Wished::Pause)
        };
        let mut table = self.table.subscribe();
        if !is_paused(&table.borrow_and_update()) {
            return;
        }
        info!(replay = work.replay.id, "the replay is paused");
        // The sender is ours.
        let _ = table.wait_for(|table| !is_paused(table)).await;
        info!(replay = work.replay.id, "the replay goes on");
    }
}
