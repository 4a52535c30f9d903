//! The reading end of the corridor: turns events into records in a batch, and gives batches to the
//! appender.

mod fate;
mod full_syncs;
mod open;
mod seam;
mod statements;
mod system_versioned;
mod timing;
mod xa;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use binlog::{Decoder, EventHeader, Gtid, GtidSet, RawEvent, Step, TransactionEnd};
use event_bus::Batch;
use mysql_common::binlog::consts::EventType;
use service::clock::now_ms;
use tokio::time::Instant;

use self::{
    open::OpenState,
    seam::{SeamCounts, compare},
    timing::Timing,
    xa::{CatchUp, Replay},
};
use super::{
    Stops,
    append::{AppendPace, Appender, Done, Durable, Job},
    held::HeldXa,
    types::{SeenTypes, Types},
};
use crate::{
    books::{Books, Difference},
    capture::{Capture, SaidInLog},
    checkpoint::{Saved, Seq, Skip, SourcePosition, Touching},
    config::{Config, SourceConfig},
    error::{Error, Result},
    full_sync::FullSyncs,
    publish::Publisher,
    replica::{Event, Stream},
    status::Status,
};

/// A batch of this size is appended even in the middle of a transaction. There are two batches.
const MAX_BATCH_BYTES: usize = 2 << 20;

/// How many events are taken at once before anything else is looked at.
const MAX_EVENTS_AT_ONCE: usize = 1000;

/// How long a stop waits for the current append.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct StreamReader {
    /// Where the stream comes from.
    source: SourceConfig,
    stream: Stream,
    decoder: Decoder,
    publisher: Publisher,
    capture: Arc<Capture>,
    /// XA transactions that are prepared.
    held: HeldXa,
    /// A committed one of these, while it is published: nothing else is read meanwhile.
    replay: Option<Replay>,
    /// Set while we read events before the saved position.
    catching_up: Option<CatchUp>,
    /// The end of the last whole transaction that was read.
    saved: Saved,
    /// Whether the stream is by file: then it may bring transactions whose GTIDs we have.
    may_repeat: bool,
    /// Whether the current transaction is one of these, once this is known.
    repeated: Option<bool>,
    /// The tables of the current transaction.
    touching: Touching,
    /// Which rows of the current transaction may still be rolled back.
    open: OpenState,
    batch: Batch,
    newest_commit: Option<SystemTime>,
    /// The other batch, while the appender is idle.
    idle: Option<Batch>,
    timing: Timing,
    /// The changes without rows that were logged, since the status last got them.
    without_rows: SaidInLog,
    /// The table of a change that was logged as a statement and is refused.
    refused: Option<(String, String)>,
    /// Set for a server whose binlog does not show some types.
    types: Option<Types>,
    /// The full syncs beside the stream.
    full_syncs: FullSyncs,
    /// The counts of each table, with those of the batch that was handed over last.
    books: Books,
    /// What does not agree, since the status last got it.
    differences: Vec<Difference>,
}

impl StreamReader {
    /// Goes on from the saved position, with a stream that begins there or earlier.
    pub(super) fn new(
        (config, source): (&Config, &SourceConfig),
        (stream, full_syncs): (Stream, FullSyncs),
        (saved, from, books): (Saved, &SourcePosition, Books),
    ) -> Self {
        let capture = Arc::clone(&config.capture);
        let captured = move |schema: &str, table: &str| capture.includes(schema, table);
        let mut decoder = Decoder::new(captured);
        decoder.restart(&from.file, from.pos);
        let publisher = Publisher::new(
            config.bus.topics(),
            Arc::clone(&config.capture),
            saved.server_uuid.clone(),
            (saved.skip, Seq::at_start(saved.seq, now_ms())),
        )
        .limited_by(&config.bus);
        Self {
            source: source.clone(),
            stream,
            decoder,
            publisher,
            capture: Arc::clone(&config.capture),
            held: HeldXa::new(&config.xa),
            replay: None,
            catching_up: CatchUp::of(&saved, from),
            may_repeat: from.gtids.is_none() && saved.position.has_gtid_gaps(),
            repeated: None,
            saved: Saved { skip: Skip::default(), ..saved },
            touching: Touching::default(),
            open: OpenState::default(),
            batch: Batch::default(),
            newest_commit: None,
            idle: Some(Batch::default()),
            timing: Timing::new(Instant::now()),
            without_rows: SaidInLog::default(),
            refused: None,
            types: None,
            full_syncs,
            books,
            differences: Vec::new(),
        }
    }

    /// The same, for a server whose binlog does not show some types.
    pub(super) fn asking_for_types(self, seen: SeenTypes) -> Self {
        let capture = Arc::clone(&self.capture);
        Self { types: Some(Types::new(self.source.clone(), capture, seen)), ..self }
    }

    /// Reads until it is stopped or fails. Then what was read is appended first, so that we make
    /// progress even if the connection breaks again and again. Rows of the current transaction are
    /// appended only after a stop or a lost connection: any other error may be about these rows.
    pub(super) async fn run(
        mut self,
        mut appender: Appender,
        status: &Status,
        stops: Stops<'_>,
    ) -> Result<()> {
        let mut ended = self.read(&mut appender, status, stops).await;
        if let Some(table) = self.refused.take() {
            ended = match ended {
                Err(error) => Err(system_versioned::explain(&self.source, table, error).await),
                ended => ended,
            };
        }
        match &ended {
            // The appender itself failed.
            Err(Error::Bus(_) | Error::Internal(_)) => return ended,
            Err(error) if !error.is_lost_connection() => self.leave_out_open(),
            _ => {}
        }
        match self.leave(appender, status).await {
            // Another leader is there now, and this may have caused every other error.
            Err(error @ Error::Bus(event_bus::Error::Fenced(_))) => Err(error),
            left => ended.and(left),
        }
    }

    async fn read(
        &mut self,
        appender: &mut Appender,
        status: &Status,
        stops: Stops<'_>,
    ) -> Result<()> {
        loop {
            if self.types_are_stale()
                && let Some(types) = &mut self.types
            {
                // This is rare, and large.
                let asked = Box::pin(types.refresh(&mut self.decoder));
                let Some(asked) = stops.now.run_until_cancelled(asked).await else { return Ok(()) };
                asked?;
            }
            if self.needs_fate() {
                let read = Box::pin(self.read_ahead(appender, status));
                let Some(read) = stops.now.run_until_cancelled(read).await else { return Ok(()) };
                read?;
            }
            self.exchange(appender, status);
            self.replay_some()?;
            self.merge_full_syncs(status);
            let is_between = self.is_between();
            if is_between && stops.between.is_cancelled() {
                return Ok(());
            }
            let has_room = self.batch.bytes() < MAX_BATCH_BYTES && self.replay.is_none();
            let can_merge = self.can_merge();
            let is_idle = self.idle.is_some();
            let idle_until = self.timing.idle_until().filter(|_| is_idle);
            tokio::select! {
                biased;
                () = stops.now.cancelled() => return Ok(()),
                () = stops.between.cancelled(), if is_between => return Ok(()),
                event = self.full_syncs.next() => {
                    self.full_syncs.take(event, self.publisher.windows());
                }
                event = self.stream.next(), if has_room => {
                    status.event_came();
                    if matches!(&event, Ok(Some(event)) if event.raw().is_heartbeat()) {
                        status.caught_up();
                    }
                    self.take(event)?;
                    self.take_ready()?;
                }
                done = appender.done(), if !is_idle => self.finished(done?, status),
                () = tokio::time::sleep_until(idle_until.unwrap_or_else(Instant::now)),
                    if idle_until.is_some() => self.hand_over(appender, AppendPace::Settle),
                () = std::future::ready(()), if can_merge => {}
            }
        }
    }

    /// Takes a finished batch back, and appends the current one if it is time.
    fn exchange(&mut self, appender: &mut Appender, status: &Status) {
        status.oversized(self.publisher.take_oversized());
        status.without_rows(std::mem::take(&mut self.without_rows));
        status.differ(&mut self.differences);
        status.appends(self.idle.is_none());
        if let Some(open) = self.full_syncs.unseen() {
            status.full_syncs(open);
        }
        if let Some(done) = appender.try_done() {
            self.finished(done, status);
        }
        let is_overdue = self.timing.is_overdue(Instant::now());
        let pace = if is_overdue { Some(AppendPace::Settle) } else { self.due() };
        if let (true, Some(pace)) = (self.idle.is_some(), pace) {
            self.hand_over(appender, pace);
        }
    }

    /// Whole transactions are appended as soon as the appender is idle. A part of a transaction
    /// waits until it must be appended, and so do records that can be made durable together with an
    /// open append. An append with a part of a chunk is left open until the chunk's end, and then
    /// finished at once: the listener should have the chunk early.
    fn due(&self) -> Option<AppendPace> {
        let bytes = self.batch.bytes();
        if bytes >= MAX_BATCH_BYTES {
            return Some(AppendPace::MoreComes);
        }
        let at_boundary = self.publisher.open_transaction().records == 0;
        let is_full = bytes > 0 || self.full_syncs.has_changes();
        if !at_boundary || !is_full {
            return None;
        }
        if self.full_syncs.is_merging_a_chunk() {
            return (bytes >= full_syncs::MAX_BYTES || !self.timing.has_open())
                .then_some(AppendPace::MoreComes);
        }
        (!self.timing.has_open() || self.full_syncs.has_sent()).then_some(AppendPace::Settle)
    }

    fn hand_over(&mut self, appender: &Appender, pace: AppendPace) {
        let Some(mut next) = self.idle.take() else { return };
        let (mut changes, full_syncs) = self.full_syncs.hand_over();
        changes.extend(self.types.as_mut().and_then(Types::take_change));
        let saved = self.to_save();
        let tally = self.publisher.hand_over(self.open.handed_up_to());
        changes.extend(self.books.add(&tally));
        self.keep_back(&mut next);
        appender.append(Job {
            batch: std::mem::replace(&mut self.batch, next),
            saved,
            newest_commit: self.newest_commit,
            pace,
            changes,
            full_syncs,
            tally,
        });
        self.timing.handed_over(Instant::now());
    }

    /// What is saved with the current batch.
    fn to_save(&self) -> Saved {
        let skip = self.open.so_far().unwrap_or_else(|| self.publisher.open_transaction());
        let seq = Some(self.publisher.seq());
        let mut saved = Saved { skip, seq, ..self.saved.clone() };
        if skip.records == 0 {
            saved.open = None;
        } else {
            self.touching.note_in(&mut saved.touched);
            saved.open = self.touching.gtid().cloned().or(saved.open);
        }
        saved
    }

    fn finished(&mut self, Done { batch, durable, mut differences }: Done, status: &Status) {
        self.idle = Some(batch);
        status.differ(&mut differences);
        self.timing.finished(Instant::now(), durable.is_none());
        if let Some(Durable { saved, appended, full_syncs, tally }) = durable {
            status.appended(&saved, &appended, &tally);
            self.full_syncs.durable(full_syncs);
        }
    }

    fn types_are_stale(&self) -> bool {
        self.types.as_ref().is_some_and(Types::are_stale)
    }

    /// Takes events that have already arrived, while there is room and nothing to append.
    fn take_ready(&mut self) -> Result<()> {
        for _ in 0..MAX_EVENTS_AT_ONCE {
            if self.types_are_stale()
                || self.needs_fate()
                || self.batch.bytes() >= MAX_BATCH_BYTES
                || self.replay.is_some()
                || (self.idle.is_some() && self.due().is_some())
            {
                break;
            }
            let Some(event) = self.stream.ready() else { break };
            self.take(event)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Result<Option<Event>>) -> Result<()> {
        let event = event.map_err(|error| self.with_place(error))?;
        let event = event.ok_or_else(|| Error::Internal("the binlog ended".to_owned()))?;
        if self.catching_up.is_some() {
            return self.catch_up(&event.raw());
        }
        let raw = event.raw();
        let step = self.decode(&raw)?;
        self.act_on(step)?;
        let EventHeader { kind, timestamp, .. } = raw.header;
        if kind == EventType::FORMAT_DESCRIPTION_EVENT as u8 && timestamp > 0 {
            self.saved.file_created = Some(timestamp);
        }
        Ok(())
    }

    /// Publishes the rows of an event, or holds the event if it belongs to an XA transaction.
    fn decode(&mut self, raw: &RawEvent<'_>) -> Result<Step> {
        let is_undone = raw.has_row_data() && self.open.count();
        let Self { decoder, publisher, touching, batch, saved, may_repeat, repeated, .. } = self;
        let read = saved.position.gtids.as_ref().filter(|_| *may_repeat);
        let (is_held, rows) = (decoder.is_in_xa(), decoder.rows());
        let definitions = decoder.definitions();
        let (before, mut declined) = (SeamCounts::of(decoder, publisher), 0);
        let step = decoder.decode(raw, &mut |change| {
            let gtid = change.transaction.gtid.as_ref();
            let mut is_read =
                || read.is_some() && *repeated.get_or_insert_with(|| is_in(read, gtid));
            if is_held || is_undone || is_read() {
                declined += 1;
                return Ok(());
            }
            touching.row(gtid, change.table);
            publisher.publish(change, batch)
        })?;
        let found = compare(decoder, publisher, raw, (before, declined));
        self.note(found);
        if is_undone {
            self.open.took_back(self.decoder.rows() - rows);
        }
        if is_held {
            self.hold(raw, &step, rows)?;
        } else if self.decoder.is_in_xa() {
            self.held.begin();
        }
        if self.decoder.definitions() != definitions {
            self.defined()?;
        }
        Ok(step)
    }

    fn act_on(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Nothing => {}
            Step::Begun => self.begin(),
            Step::Rotated | Step::Heartbeat => self.move_on(),
            Step::Ended(end) => self.end_transaction(&end)?,
            Step::RolledBack(end) => self.roll_back(&end)?,
            Step::TornOff => self.tear_off()?,
            // The events of an XA transaction are held.
            Step::Savepoint(_) | Step::BackTo(_) if self.decoder.is_in_xa() => {}
            Step::Savepoint(name) => self.savepoint(name),
            Step::BackTo(name) => self.back_to(&name)?,
            Step::Xa(outcome, end) => self.settle_xa(outcome, end)?,
            Step::Statement(statement, end) => {
                self.judge(*statement)?;
                end.iter().try_for_each(|end| self.end_transaction(end))?;
            }
        }
        Ok(())
    }

    /// Whether the stream, which is by file, brings a transaction again.
    fn was_read(&self, gtid: Option<&Gtid>) -> bool {
        is_in(self.saved.position.gtids.as_ref().filter(|_| self.may_repeat), gtid)
    }

    /// The same for the transaction that ended.
    fn is_repeated(&mut self, end: &TransactionEnd) -> bool {
        self.repeated.take().unwrap_or_else(|| self.was_read(end.gtid.as_ref()))
    }

    fn end_transaction(&mut self, end: &TransactionEnd) -> Result<()> {
        let taken_back = self.open.end();
        if !self.is_repeated(end) {
            let accounting = self.publisher.end_transaction(end.rows - taken_back)?;
            if accounting.published > 0 {
                self.full_syncs.passed_live();
            }
            self.saved.accounting += accounting;
            if let (Some(gtid), Some(gtids)) = (&end.gtid, &mut self.saved.position.gtids) {
                gtids.add(gtid);
            }
            self.note_touched();
            self.newest_commit = Some(UNIX_EPOCH + Duration::from_micros(end.commit_micros));
        }
        self.move_on();
        Ok(())
    }

    /// The current transaction is over.
    fn note_touched(&mut self) {
        if self.saved.position.gtids.is_some() {
            self.touching.note_in(&mut self.saved.touched);
        }
        self.touching.end();
        self.saved.open = None;
    }

    /// Adds the decoder's place to an error of the stream, which does not know its place.
    fn with_place(&self, error: Error) -> Error {
        let binlog::FilePosition { file, pos } = self.decoder.position().clone();
        let file = file.to_string();
        match error {
            Error::Damaged { reason, .. } => Error::Damaged { file, pos, reason },
            Error::Torn { .. } => Error::Torn { file, pos },
            other => other,
        }
    }

    /// The decoder is between two transactions: a restart may begin there.
    fn move_on(&mut self) {
        let position = self.decoder.position();
        self.saved.position.pos = position.pos;
        if *self.saved.position.file != *position.file {
            position.file.as_ref().clone_into(&mut self.saved.position.file);
            self.saved.file_created = None;
        }
        self.timing.moved();
    }

    /// Lets the current append finish, appends what was read since then, and leaves. It always
    /// appends: so we learn whether we still lead.
    async fn leave(mut self, mut appender: Appender, status: &Status) -> Result<()> {
        let finish = async {
            if self.idle.is_none() {
                let done = appender.done().await?;
                self.finished(done, status);
            }
            self.hand_over(&appender, AppendPace::Settle);
            let done = appender.done().await?;
            self.finished(done, status);
            appender.close().await;
            Ok(())
        };
        match tokio::time::timeout(STOP_TIMEOUT, finish).await {
            Ok(result) => result,
            Err(_) => {
                tracing::warn!(
                    "the bus did not take the last batch in time; it is read again at the next start"
                );
                Ok(())
            }
        }
    }
}

fn is_in(read: Option<&GtidSet>, gtid: Option<&Gtid>) -> bool {
    read.zip(gtid).is_some_and(|(read, gtid)| read.contains(gtid))
}
