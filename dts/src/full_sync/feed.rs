//! One task at work: reads a chunk when it is told to, over a connection of its own, and says when
//! the listener has room for another.
//!
//! What it and the stream say to each other of each chunk:
//!
//! | feed | stream | |
//! |---|---|---|
//! | `Ready` | | the listener will have room by the time that a chunk is read |
//! | | `Read` | the chunk's window is open, and all before `asked` has passed |
//! | `Chunk` | | it is read, and there is room |
//! | | `Durable` or `Drop` | all of it is in the bus; or its rows are read again |
//!
//! The next `Ready` may come as soon as the chunk is handed over. `Trouble` changes nothing of it;
//! after `Restart` and `Failed` the feed is no more.

use std::{sync::Arc, time::Duration};

use event_bus::{Bus, TopicName};
use full_sync::Task;
use service::{Backoff, BackoffConfig};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::Instant,
};
use tracing::{debug, info, warn};

use super::{
    chunk::{Chunk, ChunkKind},
    config::FullSyncConfig,
    cursor::Cursor,
    live::Live,
    pace::{Pace, Throttle},
    place::Stretch,
    read::Reading,
    source::Source,
};
use crate::{
    capture::Capture,
    error::{Error, Result},
    position::Position,
};

/// How often the bus is asked how far the listener is: less and less often while it has no room.
const POLL: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(5), max: Duration::from_millis(25), factor: 2.0 };

/// A chunk is handed over to the stream when all before it are done but so many; and read already
/// when one more is not done. So the listener does not run dry, and its live changes wait behind
/// few rows.
const MAX_UNDONE: usize = 2;

/// A chunk that was read ahead is kept in memory so long for a listener that has no room for it.
const KEEP_AHEAD: Duration = Duration::from_secs(10);

/// The window of a chunk is open for so long before it is read, where it has to lead.
const LEAD: Duration = Duration::from_millis(50);

/// One read of a whole table goes on while its listener moves at least so often.
const STANDSTILL: Duration = Duration::from_mins(1);

/// Each chunk that is on its way is one order to read it, and one that it is durable or not used.
const MAX_ORDERS: usize = 16;

/// Waits after an error that may pass.
const BACKOFF: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(10), factor: 2.0 };

/// A table that cannot be read so many times more makes way for others.
const TRIES: u32 = 3;

/// What all tasks have in common.
pub(crate) struct Common {
    pub(crate) source: Source,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) topics: TopicName,
    pub(crate) capture: Arc<Capture>,
    pub(crate) config: FullSyncConfig,
    pub(crate) throttle: Throttle,
    /// So many chunks are read at once.
    pub(crate) turns: Semaphore,
    pub(crate) live: Live,
}

/// What a feed is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Read what comes next, such that it shows all that lies before a position. Its window is
    /// open since a moment.
    Read { asked: Position, piece: Piece, since: Instant },
    /// The chunk that was handed over last is not used.
    Drop,
    /// The oldest chunk that was not is durable in the bus now.
    Durable,
}

/// What to read.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// The rows behind a key; or the next part of a table without one.
    After(Option<Cursor>),
    /// These rows, again.
    Again(Stretch),
}

/// What a feed tells.
#[derive(Debug)]
pub(crate) enum News {
    /// The listener will have room: the next chunk may be asked for.
    Ready,
    /// It has room for this one.
    Chunk(Box<Chunk>),
    /// It stands still, but by itself; the next chunk says that this is over. It `is_stuck` where
    /// that is its table's, and lasts.
    Trouble { text: String, is_stuck: bool },
    /// A table without a key has to be read from its beginning.
    Restart,
    /// It cannot go on.
    Failed(Error),
}

/// From which feed, and what.
pub(crate) type Told = (FeedId, News);

/// The task, and a number that no other feed of it has.
pub(crate) type FeedId = (String, u64);

/// The reader's end of a feed. It ends when this is dropped.
pub(crate) struct Feed {
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl Feed {
    /// Where the task `has_sent` chunks before, since the stream began, these are done before it
    /// goes on: however often it begins again, a listener that stands still gets no more.
    pub(crate) fn start(
        common: &Arc<Common>,
        (id, task): (FeedId, &Task),
        (news, has_sent): (mpsc::Sender<Told>, bool),
    ) -> Self {
        let (orders, next_order) = mpsc::channel(MAX_ORDERS);
        let feeder = Feeder {
            pace: Pace::of((&common.bus, &common.topics), task, has_sent),
            common: Arc::clone(common),
            reading: Reading::new(common, task.clone()),
            listener: task.listener.clone(),
            id,
            orders: next_order,
            news,
            ask: None,
            read: None,
            keep_until: None,
            is_put_off: false,
            may_undone: if has_sent { 0 } else { MAX_UNDONE + 1 },
            is_ready: false,
            poll: Backoff::new(POLL),
        };
        Self { orders, task: tokio::spawn(feeder.run()) }
    }

    pub(crate) fn order(&self, order: Order) {
        // One that has failed says so by its news; and one is never told more than it has room for.
        let _ = self.orders.try_send(order);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Feeder {
    common: Arc<Common>,
    reading: Reading,
    listener: String,
    id: FeedId,
    orders: mpsc::Receiver<Order>,
    news: mpsc::Sender<Told>,
    pace: Pace,
    /// What was asked for and is not handed over yet.
    ask: Option<(Position, Piece)>,
    /// What was read of it.
    read: Option<Box<Chunk>>,
    /// Until when it is kept while the listener has no room; then it is read again.
    keep_until: Option<Instant>,
    /// The one read of the whole table was broken off, since the listener stands still.
    is_put_off: bool,
    /// The next chunk is asked for when all before it are done but so many.
    may_undone: usize,
    is_ready: bool,
    poll: Backoff,
}

impl Feeder {
    async fn run(mut self) {
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            match self.step().await {
                Ok(Some(())) => backoff.reset(),
                Ok(None) => return,
                Err(error) if error.is_transient() => {
                    if backoff.failures() == 0 {
                        warn!(task = self.id.0, %error, "a full sync is interrupted");
                    }
                    // Trouble with the bus says nothing of what is being read.
                    let is_of_bus = matches!(error, Error::Bus(_));
                    let is_of_table = !is_of_bus && self.reading.is_connected();
                    let is_stuck = is_of_table && backoff.failures() >= TRIES;
                    self.tell(News::Trouble { text: error.to_string(), is_stuck }).await;
                    if !is_of_bus && self.reading.break_off() {
                        self.tell(News::Restart).await;
                        return;
                    }
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Err(error) => {
                    self.tell(News::Failed(error)).await;
                    return;
                }
            }
        }
    }

    /// One thing after the other; `None` when nobody listens any more.
    async fn step(&mut self) -> Result<Option<()>> {
        self.read_ahead().await?;
        if self.is_put_off && self.pace.are_done_but(0).await? {
            self.tell(News::Restart).await;
            return Ok(None);
        }
        if self.read.is_some()
            && self.pace.are_done_but(MAX_UNDONE).await?
            && let Some(chunk) = self.read.take()
        {
            (self.ask, self.keep_until) = (None, None);
            self.pace.handed_over();
            self.poll.reset();
            self.tell(News::Chunk(chunk)).await;
        }
        if !self.is_ready && self.ask.is_none() && self.may_read().await? {
            self.is_ready = true;
            self.poll.reset();
            self.tell(News::Ready).await;
        }
        let order = match self.is_ready {
            true => self.orders.recv().await,
            false => match tokio::time::timeout(self.poll.next_wait(), self.orders.recv()).await {
                Ok(order) => order,
                Err(_) => return Ok(Some(())),
            },
        };
        match order {
            None => return Ok(None),
            Some(Order::Read { asked, piece, since }) => {
                (self.ask, self.is_ready) = (Some((asked, piece)), false);
                if !self.common.source.shows_what_it_says() && !self.reading.is_whole() {
                    tokio::time::sleep_until(since + LEAD).await;
                }
            }
            Some(Order::Drop) => self.pace.dropped(),
            Some(Order::Durable) => {
                self.pace.durable();
                self.pace.look().await?;
            }
        }
        Ok(Some(()))
    }

    /// Reads what was asked for, also before the listener has room for it; but does not keep it for
    /// long then.
    async fn read_ahead(&mut self) -> Result<()> {
        let is_late = self.keep_until.is_some_and(|until| Instant::now() > until);
        if is_late && self.read.is_some() {
            self.pace.look().await?;
            self.put_away();
        }
        let Some((asked, piece)) = self.ask.clone() else { return Ok(()) };
        if self.is_put_off
            || self.read.is_some()
            || (is_late && !self.pace.are_done_but(MAX_UNDONE).await?)
        {
            return Ok(());
        }
        let chunk = self.read(&asked, &piece).await?;
        self.common.throttle.read(chunk.rows.len());
        self.read = Some(Box::new(chunk));
        self.keep_until = Some(Instant::now() + KEEP_AHEAD);
        self.poll.reset();
        Ok(())
    }

    /// The listener has no room: what waits for it is not kept. A read of a whole table keeps
    /// others from altering it, and is broken off when the listener stands still.
    fn put_away(&mut self) {
        let Some(chunk) = &self.read else { return };
        if chunk.kind != ChunkKind::Part {
            debug!(task = self.id.0, "what was read ahead is put away: the listener has no room");
            self.read = None;
        } else if !chunk.is_last && self.pace.stood_still() > STANDSTILL {
            info!(task = self.id.0, "the one read of the table ends: its listener stands still");
            (self.read, self.is_put_off) = (None, true);
            self.reading.break_off();
        }
    }

    async fn read(&mut self, asked: &Position, piece: &Piece) -> Result<Chunk> {
        let turn = self.common.turns.acquire().await;
        let _turn = turn.map_err(|closed| Error::Internal(closed.to_string()))?;
        self.reading.read(asked, piece).await
    }

    async fn may_read(&mut self) -> Result<bool> {
        if !self.pace.has_begun().await? {
            let listener = &self.listener;
            let text = format!("listener {listener} has never run: it gets the rows when it does");
            self.tell(News::Trouble { text, is_stuck: false }).await;
            tokio::time::sleep(BACKOFF.max / 10).await;
            return Ok(false);
        }
        if !self.pace.are_done_but(self.may_undone).await? {
            return Ok(false);
        }
        self.may_undone = MAX_UNDONE + 1;
        self.common.throttle.wait().await;
        Ok(true)
    }

    /// Waits for room only: so it does not hold on to what is being read.
    fn tell(&self, news: News) -> impl Future<Output = ()> + Send + use<> {
        let (sender, told) = (self.news.clone(), (self.id.clone(), news));
        async move {
            let _ = sender.send(told).await;
        }
    }
}
