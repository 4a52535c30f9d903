//! What `dts` says about itself: the state that the API shows, and the metrics.

mod books;
mod full_syncs;
mod histogram;
mod metrics;
mod removals;
mod room;
mod source;
mod why;

use std::{
    ops::AddAssign,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use full_sync::Task;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use service::clock::now_ms;

use self::{
    metrics::{Metrics, register},
    source::{SourceHealth, with_time},
};
pub use self::{room::watch_room, why::watch_why};
use crate::{
    capture::SaidInLog,
    checkpoint::{Loss, Saved},
    config::SourceConfig,
    error::Error,
    publish::Tally,
    replica::{Pulse, Server},
    watch::{DurablePlace, Purge, Sight},
};

/// What `dts` is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Has not reached the bus yet, or gets no answer from it any more.
    Reaching,
    /// Waits to become the one writer of its name.
    Standby,
    /// Connects to MySQL.
    Connecting,
    /// Reads and publishes.
    Streaming,
    /// Something is away; `dts` tries again.
    Waiting,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Self::Reaching => "reaching",
            Self::Standby => "standby",
            Self::Connecting => "connecting",
            Self::Streaming => "streaming",
            Self::Waiting => "waiting",
        }
    }

    /// Whether it leads, is a stand-by for another, or (as far as it knows) neither.
    fn role(self) -> &'static str {
        match self {
            Self::Reaching => "none",
            Self::Standby => "standby",
            Self::Connecting | Self::Streaming | Self::Waiting => "leader",
        }
    }
}

/// Shared by the pipeline, which writes it, and the HTTP server, which reads it.
#[derive(Debug)]
pub struct Status {
    name: String,
    state: Mutex<StatusFacts>,
    registry: Registry,
    metrics: Metrics,
}

#[derive(Debug)]
struct StatusFacts {
    phase: Phase,
    since: SystemTime,
    server: Option<Connected>,
    sight: Option<Sight>,
    saved: Option<Saved>,
    newest_commit: Option<SystemTime>,
    source: SourceHealth,
    last_error: Option<(SystemTime, String)>,
    last_append: Option<Appended>,
    reconnects: u64,
    /// The full syncs that have not ended.
    full_syncs: Vec<Task>,
    room: room::SeenRoom,
    removals: removals::Removals,
    books: books::ShownBooks,
    trouble: Option<why::Trouble>,
    /// Since when the bus has had records that it has not made durable.
    append_since: Option<SystemTime>,
}

/// The server that is read from.
#[derive(Debug)]
struct Connected {
    address: String,
    uuid: String,
    version: String,
}

impl Connected {
    fn to_json(&self) -> Value {
        let Self { address, uuid, version } = self;
        json!({"address": address, "serverUuid": uuid, "version": version})
    }
}

/// Records that became durable together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Appended {
    /// The number of records.
    pub records: usize,
    /// Their bytes.
    pub bytes: usize,
    /// When the newest transaction in it was committed.
    pub newest_commit: Option<SystemTime>,
    /// How long the bus worked on them.
    pub took: Duration,
    /// How long the last step of that took, which made them durable.
    pub settled_in: Duration,
}

impl Appended {
    fn to_json(self) -> Value {
        json!({
            "records": self.records,
            "bytes": self.bytes,
            "seconds": self.took.as_secs_f64(),
            "commitSeconds": self.settled_in.as_secs_f64(),
        })
    }
}

impl AddAssign for Appended {
    fn add_assign(&mut self, later: Self) {
        self.records += later.records;
        self.bytes += later.bytes;
        self.newest_commit = later.newest_commit.or(self.newest_commit);
        self.took += later.took;
        self.settled_in = later.settled_in;
    }
}

impl Status {
    /// The status of the `dts` with this name, which has just started.
    pub fn new(name: &str) -> Self {
        let metrics = Metrics::default();
        Self {
            name: name.to_owned(),
            state: Mutex::default(),
            registry: register(&metrics),
            metrics,
        }
    }

    /// The phase changes.
    pub fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        if state.phase != phase {
            state.phase = phase;
            state.since = SystemTime::now();
        }
        // A stand-by cannot say how far the leader is behind.
        state.sight = state.sight.take().filter(|_| phase.role() == "leader");
        drop(state);
        self.metrics.streaming.set(i64::from(phase == Phase::Streaming));
        self.metrics.leader.set(i64::from(phase.role() == "leader"));
    }

    /// We are connected to this server.
    pub fn connected(&self, config: &SourceConfig, server: &Server) {
        let mut state = self.lock();
        state.server = Some(Connected {
            address: format!("{}:{}", config.host, config.port),
            uuid: server.uuid.clone(),
            version: server.version.clone(),
        });
        state.source.last_event = Some(Instant::now());
    }

    /// The binlog is read, over a connection with this pulse.
    pub(crate) fn streams(&self, pulse: Pulse) {
        self.lock().source.pulse = Some(pulse);
        self.enter(Phase::Streaming);
    }

    /// The server has nothing else to send now.
    pub(crate) fn caught_up(&self) {
        let mut state = self.lock();
        state.source.finish();
        state.trouble = None;
    }

    /// Whether the bus has records that it has not taken yet.
    pub(crate) fn appends(&self, is_open: bool) {
        let mut state = self.lock();
        state.append_since = is_open.then(|| state.append_since.unwrap_or_else(SystemTime::now));
    }

    /// How often something was finished: this shows whether anything moves.
    pub(crate) fn finished(&self) -> u64 {
        self.lock().source.finished()
    }

    /// The server does not answer questions, or answers again (`None`).
    pub(crate) fn unanswered(&self, reason: Option<&str>) {
        self.lock().source.unanswered = reason.map(|text| (SystemTime::now(), text.to_owned()));
    }

    /// An event or a heartbeat came.
    pub fn event_came(&self) {
        self.lock().source.last_event = Some(Instant::now());
    }

    /// Something failed and is tried again.
    pub fn failed(&self, error: &Error) {
        self.enter(Phase::Waiting);
        let mut state = self.lock();
        state.last_error = Some((SystemTime::now(), error.to_string()));
        state.trouble = Some(why::Trouble::after(state.trouble.take(), error));
        state.append_since = None;
        state.reconnects += 1;
        state.source.fail();
        self.metrics.restarts.inc();
    }

    /// The bus does not answer, while we stand by.
    pub(crate) fn away(&self, why: &str) {
        self.enter(Phase::Reaching);
        self.lock().last_error = Some((SystemTime::now(), why.to_owned()));
    }

    /// The position of the checkpoint.
    pub fn at(&self, saved: &Saved) {
        self.lock().saved = Some(saved.clone());
    }

    /// The place of the checkpoint in the binlog.
    pub(crate) fn place(&self) -> Option<DurablePlace> {
        self.lock().place()
    }

    /// The watch asked the server how far we are.
    pub(crate) fn saw(&self, sight: Sight) {
        self.lock().sight = Some(sight);
    }

    /// A batch and its checkpoint are durable.
    pub fn appended(&self, saved: &Saved, appended: &Appended, tally: &Tally) {
        let mut state = self.lock();
        state.books.count(tally);
        let before = state.saved.as_ref().map(|saved| saved.accounting).unwrap_or_default();
        let now = saved.accounting;
        self.metrics.read.inc_by(now.read.saturating_sub(before.read));
        self.metrics.filtered.inc_by(now.filtered.saturating_sub(before.filtered));
        self.metrics.split.inc_by(now.split.saturating_sub(before.split));
        self.metrics.published.inc_by(now.published.saturating_sub(before.published));
        self.metrics.bytes.inc_by(appended.bytes as u64);
        self.metrics.appends.inc();
        self.metrics.append.0.observe(appended.took.as_secs_f64());
        self.metrics.settle.0.observe(appended.settled_in.as_secs_f64());
        // The size of a batch is far below 2^52.
        self.metrics.append_bytes.0.observe(appended.bytes as f64);
        state.last_append = Some(*appended);
        if let Some(commit) = appended.newest_commit {
            state.newest_commit = Some(commit);
            let lag = SystemTime::now().duration_since(commit).unwrap_or_default();
            if appended.records > 0 {
                self.metrics.commit_to_bus.0.observe(lag.as_secs_f64());
            }
        }
        let is_same =
            |before: &Saved| before.position == saved.position && before.skip == saved.skip;
        if !state.saved.as_ref().is_some_and(is_same) {
            state.source.finish();
            state.trouble = None;
        }
        state.saved = Some(saved.clone());
    }

    /// This many records were too large, and are published with only their key.
    pub fn oversized(&self, records: u64) {
        self.metrics.oversized.inc_by(records);
    }

    /// This many changes without rows were logged.
    pub fn without_rows(&self, SaidInLog { statements, removals }: SaidInLog) {
        self.metrics.statements.inc_by(statements);
        self.metrics.removals.inc_by(removals.len() as u64);
        self.lock().removals.add(removals, now_ms());
    }

    /// This many rows of full syncs were published.
    pub fn full_sync_rows(&self, records: u64) {
        self.metrics.full_sync_rows.inc_by(records);
    }

    /// These full syncs have not ended.
    pub fn full_syncs(&self, open: Vec<Task>) {
        self.metrics.full_syncs.set(&open);
        let mut state = self.lock();
        state.removals.followed_by(&open);
        state.full_syncs = open;
    }

    /// Whether we are moving. Either we are streaming, bytes came from the source lately, and
    /// events are finished; or we are a ready stand-by.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        match state.phase {
            Phase::Standby => true,
            Phase::Streaming => state.source.is_moving(),
            Phase::Reaching | Phase::Connecting | Phase::Waiting => false,
        }
    }

    /// The body of `/api/v1/status`.
    pub fn to_json(&self) -> Value {
        let state = self.lock();
        let position = state.saved.as_ref().map(|saved| {
            json!({
                "gtidSet": saved.position.gtids.as_ref().map(ToString::to_string),
                "file": saved.position.file,
                "pos": saved.position.pos,
                "skip": saved.skip.records,
                "seq": saved.seq,
            })
        });
        let lost = state.saved.as_ref().and_then(|saved| saved.loss.as_ref());
        let (event, byte) = state.source.seconds_since();
        json!({
            "name": self.name,
            "role": state.phase.role(),
            "state": state.phase.word(),
            "sinceMs": millis(state.since),
            "why": why::why(&state).to_string(),
            "source": state.server.as_ref().map(Connected::to_json),
            "position": position,
            "books": state.books.to_json(),
            "accounting": state.saved.as_ref().map(|saved| saved.accounting),
            "lostTransactions": lost.map(Loss::to_json),
            "fullSyncs": full_syncs::to_json(&state.full_syncs),
            "log": state.room.to_json(),
            "removals": state.removals.to_json(),
            "lastAppend": state.last_append.map(Appended::to_json),
            "binlog": state.sight().as_ref().map(Sight::to_json),
            "newestCommitMs": state.newest_commit.map(millis),
            "questionsUnanswered": state.source.unanswered.as_ref().map(with_time),
            "secondsSinceLastByte": byte,
            "secondsSinceLastEvent": event,
            "restarts": state.reconnects,
            "lastError": state.last_error.as_ref().map(with_time),
        })
    }

    /// The body of `/metrics`, in the OpenMetrics text format.
    pub fn to_metrics(&self) -> String {
        self.show_sight();
        self.metrics.books.set(&self.lock().books);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    fn show_sight(&self) {
        let sight = self.lock().sight();
        let sight = sight.as_ref();
        let countdown = match sight.map(Sight::purge_in) {
            Some(Purge::Never) => f64::INFINITY,
            Some(Purge::In(left)) => left.as_secs_f64(),
            Some(Purge::Unknown) | None => f64::NAN,
        };
        self.metrics.purge_countdown.set(countdown);
        // The bytes of all binlogs are far below 2^52.
        let bytes = sight.and_then(Sight::bytes_behind).map_or(f64::NAN, |bytes| bytes as f64);
        self.metrics.bytes_behind.set(bytes);
        let seconds = sight.and_then(Sight::seconds_behind).unwrap_or(f64::NAN);
        self.metrics.seconds_behind.set(seconds);
    }

    fn lock(&self) -> MutexGuard<'_, StatusFacts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StatusFacts {
    fn place(&self) -> Option<DurablePlace> {
        let saved = self.saved.as_ref()?;
        Some(DurablePlace { newest_commit: self.newest_commit, ..DurablePlace::of(saved) })
    }

    /// What the server said last, seen from where we are now.
    fn sight(&self) -> Option<Sight> {
        Some(self.sight.clone()?.seen_from(self.place().as_ref()))
    }
}

impl Default for StatusFacts {
    fn default() -> Self {
        Self {
            phase: Phase::Reaching,
            since: SystemTime::now(),
            server: None,
            sight: None,
            saved: None,
            newest_commit: None,
            source: SourceHealth::default(),
            last_error: None,
            last_append: None,
            reconnects: 0,
            full_syncs: Vec::new(),
            room: room::SeenRoom::default(),
            removals: removals::Removals::default(),
            books: books::ShownBooks::default(),
            trouble: None,
            append_since: None,
        }
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
