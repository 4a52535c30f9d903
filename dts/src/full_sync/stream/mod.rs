//! The full syncs beside the stream: which are running, and what happens to the rows that they
//! read.

mod follow;
pub(super) mod merge;
pub(super) mod row_record;
mod run;
mod table_changes;
pub(super) mod window;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use event_bus::{Bus, CheckpointChange, ControlChange};
use full_sync::{
    Code, LISTENING_PREFIX, Listening, REQUEST_PREFIX, Refusal, Request, Task, TaskState,
    WISH_PREFIX, Wish,
};
use service::{Backoff, BackoffConfig, clock::now_ms};
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{debug, info, warn};

use self::{
    follow::Follow,
    run::{FullSyncRun, RunOutcome},
    window::Windows,
};
use crate::{
    checkpoint::SourcePosition,
    error::Error,
    full_sync::{
        feed::{FeedId, FeedNews, News, Order, context::FeedContext},
        tasks::{
            Tasks, begin_again,
            catalog::{CatalogEntries, TableCatalog},
            resolve::{Found, resolve},
        },
    },
};

/// The most news that wait between the feeds and the stream.
const MAX_NEWS: usize = 16;

/// How long after an error of the bus its control table is read again.
const CONTROL_RETRY: Duration = Duration::from_secs(1);

/// Why a full sync begins again.
const BROKEN_OFF: &str = "its read of the whole table was stopped";
const ALTERED: &str = "its table was altered, and the rows that were sent are from before that";
const REPLACED: &str =
    "a table was renamed to its name, and the rows that were sent are from the earlier table";

/// How often tables are looked up again for a new listener.
const RESOLVE_RETRY: BackoffConfig =
    BackoffConfig { min: Duration::from_secs(1), max: Duration::from_secs(30), factor: 2.0 };

/// All full syncs of this `dts`. The running ones end when this is dropped.
pub(crate) struct FullSyncs {
    name: String,
    common: Arc<FeedContext>,
    tasks: Tasks,
    /// The captured tables, for other programs.
    catalog: TableCatalog,
    runs: BTreeMap<String, FullSyncRun>,
    runs_made: u64,
    /// Whether a task changed since the tasks were last shown.
    is_unseen: bool,
    /// The tasks whose chunks are wholly in the current batch.
    sent: Vec<String>,
    /// The tasks whose rows are all in the bus, or will be with the batch that is being appended.
    follows: BTreeMap<String, Option<Follow>>,
    /// The tasks that have chunks in the bus or in the current batch, since we began.
    have_sent: HashSet<String>,
    news: mpsc::Receiver<FeedNews>,
    feed_sender: mpsc::Sender<FeedNews>,
    control_news: mpsc::Receiver<ControlNews>,
    control_sender: mpsc::Sender<ControlNews>,
    /// The tasks that read the control table and look tables up.
    helpers: JoinSet<()>,
}

/// News from other parties.
enum ControlNews {
    /// The whole control table.
    All(Vec<ControlChange>),
    Control(Vec<ControlChange>),
    Resolved(Box<Request>, Result<Vec<Found>, Refusal>),
    /// The listener of this task has finished its rows.
    Handled(String),
}

/// Something that happened to a full sync.
pub(crate) struct FullSyncEvent(EventKind);

enum EventKind {
    Feed(Box<FeedNews>),
    Control(ControlNews),
    Looked(CatalogEntries),
}

impl FullSyncs {
    /// Goes on with these tasks and tables.
    pub(crate) fn start(name: &str, common: FeedContext, kept: (Tasks, CatalogEntries)) -> Self {
        let (mut tasks, catalog) = kept;
        tasks.end_uncaptured(now_ms());
        let (feed_sender, news) = mpsc::channel(MAX_NEWS);
        let (control_sender, control_news) = mpsc::channel(MAX_NEWS);
        let mut helpers = JoinSet::new();
        helpers.spawn(read_control(Arc::clone(&common.bus), control_sender.clone()));
        let (source, capture) = (common.source.clone(), Arc::clone(&common.capture));
        Self {
            name: name.to_owned(),
            common: Arc::new(common),
            tasks,
            catalog: TableCatalog::start(catalog, source, capture),
            runs: BTreeMap::new(),
            runs_made: 0,
            is_unseen: true,
            sent: Vec::new(),
            follows: BTreeMap::new(),
            have_sent: HashSet::new(),
            news,
            feed_sender,
            control_news,
            control_sender,
            helpers,
        }
    }

    /// Waits until something happens to one of the full syncs. Cancel-safe.
    pub(crate) async fn next(&mut self) -> FullSyncEvent {
        // Both channels stay open: we hold a sender of each.
        let kind = tokio::select! {
            Some(news) = self.news.recv() => EventKind::Feed(Box::new(news)),
            Some(news) = self.control_news.recv() => EventKind::Control(news),
            found = self.catalog.next() => EventKind::Looked(found),
            else => std::future::pending().await,
        };
        FullSyncEvent(kind)
    }

    pub(crate) fn take(&mut self, event: FullSyncEvent, windows: &mut Windows) {
        match event.0 {
            EventKind::Feed(news) => self.feed_news(news.0, news.1, windows),
            EventKind::Control(ControlNews::All(all)) => {
                let requests = all.iter().filter_map(|(key, _)| key.strip_prefix(REQUEST_PREFIX));
                self.tasks.keep_requests(&requests.collect());
                self.control(&all);
            }
            EventKind::Control(ControlNews::Control(changes)) => self.control(&changes),
            EventKind::Control(ControlNews::Resolved(request, found)) => {
                if self.tasks.is_asked(&request) {
                    self.tasks.decide(&request, found, now_ms());
                }
            }
            EventKind::Control(ControlNews::Handled(id)) => self.handled(&id),
            EventKind::Looked(found) => self.catalog.take(found),
        }
        while self.helpers.try_join_next().is_some() {}
        self.start_and_stop(windows);
    }

    /// Starts the tasks whose turn it is, and stops those whose turn it is not any more.
    fn start_and_stop(&mut self, windows: &mut Windows) {
        self.follow_sent();
        for id in self.tasks.hold_unsubscribed(now_ms()) {
            info!(
                task = id,
                "full sync waits, or begins again: its listener did not get the table"
            );
            self.end_run(&id, windows);
        }
        let due = self.tasks.due(self.common.config.parallel);
        let over: Vec<String> = self.runs.keys().filter(|id| !due.contains(id)).cloned().collect();
        for id in over {
            let is_whole = self.runs.get(&id).is_some_and(|run| run.whole.is_some());
            self.end_run(&id, windows);
            self.tasks.end_turn(&id, is_whole, now_ms());
        }
        for id in due {
            if !self.runs.contains_key(&id) {
                self.start_run(&id, windows);
            }
        }
    }

    fn start_run(&mut self, id: &str, windows: &mut Windows) {
        let now = now_ms();
        self.runs_made += 1;
        let number = (id.to_owned(), self.runs_made);
        let Some(task) = self.tasks.get(id) else { return };
        let has_sent = self.have_sent.contains(id);
        match FullSyncRun::start(&self.common, (number, task), (self.feed_sender.clone(), has_sent))
        {
            Ok(mut run) => {
                run.open_early(windows);
                info!(task = id, schema = task.schema, table = task.table, "full sync runs");
                self.runs.insert(id.to_owned(), run);
                if task.state != TaskState::Running {
                    self.tasks.change(id, now, |task| task.state = TaskState::Running);
                }
            }
            Err(error) => self.fail(id, &error),
        }
    }

    fn end_run(&mut self, id: &str, windows: &mut Windows) {
        if let Some(run) = self.runs.remove(id) {
            run.windows().for_each(|window| windows.close(window));
            if run.is_merging_a_chunk() || self.sent.iter().any(|sent| sent == id) {
                self.have_sent.insert(id.to_owned());
            }
        }
        self.sent.retain(|sent| sent != id);
        self.tasks.note_moving(id);
    }

    /// Begins again with the first row.
    fn restart(&mut self, id: &str, reason: &str, windows: &mut Windows) {
        info!(task = id, reason, "full sync begins again");
        self.end_run(id, windows);
        self.tasks.change(id, now_ms(), begin_again);
    }

    fn fail(&mut self, id: &str, error: &Error) {
        warn!(task = id, %error, "full sync failed");
        let text = error.to_string();
        self.tasks.change(id, now_ms(), |task| {
            task.state = TaskState::Failed;
            task.error = Some(text);
        });
    }

    fn feed_news(&mut self, (id, number): FeedId, news: News, windows: &mut Windows) {
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.number == number) else { return };
        match news {
            News::Ready => {
                run.is_ready = true;
                self.tasks.note_moving(&id);
                self.note_trouble(&id, None);
            }
            News::Chunk(chunk) => {
                if run.hold(*chunk) == RunOutcome::Restarts {
                    self.restart(&id, BROKEN_OFF, windows);
                }
            }
            News::Trouble { text, is_stuck } => {
                if is_stuck {
                    self.tasks.note_stuck(&id);
                }
                self.note_trouble(&id, Some(text));
            }
            News::Restart => self.restart(&id, BROKEN_OFF, windows),
            News::Failed(error) => {
                self.end_run(&id, windows);
                self.fail(&id, &error);
            }
        }
    }

    fn note_trouble(&mut self, id: &str, trouble: Option<String>) {
        if self.tasks.get(id).is_some_and(|task| task.error != trouble) {
            self.tasks.change(id, now_ms(), |task| task.error = trouble);
        }
    }

    fn control(&mut self, changes: &[ControlChange]) {
        for (key, value) in changes {
            self.control_entry(key, value.as_deref());
        }
    }

    fn control_entry(&mut self, key: &str, value: Option<&[u8]>) {
        let now = now_ms();
        if let Some(id) = key.strip_prefix(REQUEST_PREFIX) {
            match value.map(Request::from_bytes) {
                None => self.tasks.withdraw(id),
                Some(Ok(request)) => self.request(request),
                Some(Err(error)) => warn!(id, %error, "the request for a full sync cannot be read"),
            }
        } else if let Some(id) = key.strip_prefix(WISH_PREFIX) {
            match value.map(Wish::from_bytes).transpose() {
                Ok(wish) => {
                    self.tasks.wish(id, wish, now);
                }
                Err(error) => warn!(id, %error, "a wish for a full sync cannot be read"),
            }
        } else if let Some(listener) = key.strip_prefix(LISTENING_PREFIX) {
            match value.map(Listening::from_bytes).transpose() {
                Ok(listening) => self.tasks.listens(listener, listening),
                Err(error) => {
                    warn!(listener, %error, "the tables that a listener gets cannot be read");
                }
            }
        }
    }

    fn request(&mut self, request: Request) {
        let is_for_us = request.dts.as_ref().is_none_or(|name| *name == self.name);
        if !is_for_us || !self.tasks.ask(&request) {
            return;
        }
        let common = Arc::clone(&self.common);
        let control_sender = self.control_sender.clone();
        self.helpers.spawn(async move {
            let found = match request.initial {
                true => resolve_in_the_end(&request, &common).await,
                false => resolve(&request, &common).await,
            };
            let _ = control_sender.send(ControlNews::Resolved(Box::new(request), found)).await;
        });
    }

    /// Asks for the chunks whose time has come. To be called between two transactions: the stream
    /// has passed exactly the changes before `asked`.
    pub(crate) fn ask(&mut self, asked: &SourcePosition, windows: &mut Windows) {
        let is_overrun = |run: &FullSyncRun| run.windows().any(|window| windows.is_overrun(window));
        let overrun: Vec<String> =
            self.runs.iter().filter(|(_, run)| is_overrun(run)).map(|(id, _)| id.clone()).collect();
        for id in &overrun {
            self.spoil(id, windows);
        }
        if !overrun.is_empty() {
            self.start_and_stop(windows);
        }
        for run in self.runs.values_mut() {
            run.ask(asked, windows);
        }
    }

    fn spoil(&mut self, id: &str, windows: &mut Windows) {
        let outcome = self.runs.get_mut(id).map(|run| run.spoil(windows));
        if outcome == Some(RunOutcome::Restarts) {
            self.restart(id, BROKEN_OFF, windows);
        }
    }

    fn has_begun(&self, id: &str) -> bool {
        self.runs.contains_key(id) || self.tasks.get(id).is_some_and(|task| task.rows > 0)
    }

    /// Whether the checkpoint lacks a decision.
    pub(crate) fn has_changes(&self) -> bool {
        self.tasks.has_changes() || self.catalog.has_changes()
    }

    /// A live change was published.
    pub(crate) fn passed_live(&self) {
        self.common.live.passed();
    }

    /// Whether a whole chunk is in the current batch.
    pub(crate) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// What goes with the current batch: changes of the checkpoint, and the tasks whose chunks are
    /// in the batch.
    pub(crate) fn hand_over(&mut self) -> (Vec<CheckpointChange>, Vec<String>) {
        let mut changes = self.tasks.take_changes();
        self.is_unseen |= !changes.is_empty();
        changes.extend(self.catalog.take_changes());
        (changes, std::mem::take(&mut self.sent))
    }

    /// The tasks that have not ended, if any changed since the last call.
    pub(crate) fn unseen(&mut self) -> Option<Vec<Task>> {
        let open = || self.tasks.iter().filter(|task| !task.state.is_final()).cloned();
        std::mem::take(&mut self.is_unseen).then(|| open().collect())
    }

    /// These chunks are durable in the bus.
    pub(crate) fn durable(&mut self, sent: Vec<String>) {
        for (id, run) in sent.iter().filter_map(|id| self.runs.get_key_value(id)) {
            debug!(task = id, "chunk durable");
            run.feed.order(Order::Durable);
        }
        for id in &sent {
            self.follow(id);
        }
        self.have_sent.extend(sent);
        let is_open = |id: &String| self.tasks.get(id).is_some_and(|task| !task.state.is_final());
        self.have_sent.retain(is_open);
    }
}

/// Tries until MySQL answers: for an initial request nobody waits who could ask again.
async fn resolve_in_the_end(
    request: &Request,
    common: &FeedContext,
) -> Result<Vec<Found>, Refusal> {
    let mut backoff = Backoff::new(RESOLVE_RETRY);
    loop {
        match resolve(request, common).await {
            Err(refusal) if refusal.code == Code::SourceAway => {
                let (listener, error) = (&request.listener, refusal.message);
                warn!(
                    listener,
                    error, "cannot look up the tables of a new listener now; trying again"
                );
            }
            found => return found,
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// Reads the control table, for ever.
async fn read_control(bus: Arc<dyn Bus>, control_sender: mpsc::Sender<ControlNews>) {
    loop {
        if let Err(error) = read_control_until_error(&*bus, &control_sender).await {
            warn!(%error, "the bus's control table cannot be read; trying again");
        }
        tokio::time::sleep(CONTROL_RETRY).await;
    }
}

async fn read_control_until_error(
    bus: &dyn Bus,
    control_sender: &mpsc::Sender<ControlNews>,
) -> Result<(), event_bus::Error> {
    let mut control = bus.control().await?;
    let mut news = ControlNews::All(control.changes().await?);
    while control_sender.send(news).await.is_ok() {
        news = ControlNews::Control(control.changes().await?);
    }
    Ok(())
}
