//! One task at work: reads a chunk when it is told to, over a connection of its own, and says when
//! the listener has room for another.

use std::{sync::Arc, time::Duration};

use event_bus::{Bus, TopicName};
use full_sync::Task;
use service::{Backoff, BackoffConfig};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tracing::warn;

use super::{
    chunk::Chunk,
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

/// Each chunk that is on its way is one order to read it, and one that it is durable or not used.
const MAX_ORDERS: usize = 16;

/// Waits after an error that may pass.
const BACKOFF: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(10), factor: 2.0 };

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
    /// Read what comes next, such that it shows all that lies before a position.
    Read(Position, Piece),
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
    /// It stands still, but by itself; the next chunk says that this is over.
    Trouble(String),
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
    pub(crate) fn start(
        common: &Arc<Common>,
        (id, task): (FeedId, &Task),
        news: mpsc::Sender<Told>,
    ) -> Self {
        let (orders, next_order) = mpsc::channel(MAX_ORDERS);
        let of = |schema: &str, table: &str| {
            common.topics.filter(&[(schema.to_owned(), table.to_owned())])
        };
        let topics = (of(&task.schema, &task.table), of("*", "*"));
        let feeder = Feeder {
            pace: Pace::new(Arc::clone(&common.bus), &task.group, topics),
            common: Arc::clone(common),
            reading: Reading::new(common, task.clone()),
            listener: task.listener.clone(),
            id,
            orders: next_order,
            news,
            ask: None,
            read: None,
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
    /// What was asked for and is not read yet.
    ask: Option<(Position, Piece)>,
    /// What was read and is not handed over yet.
    read: Option<Box<Chunk>>,
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
                    self.tell(News::Trouble(error.to_string())).await;
                    // Trouble with the bus says nothing of what is being read.
                    let is_of_bus = matches!(error, Error::Bus(_));
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
        if let Some((asked, piece)) = self.ask.clone() {
            let chunk = self.read(&asked, &piece).await?;
            self.ask = None;
            self.common.throttle.read(chunk.rows.len());
            self.read = Some(Box::new(chunk));
            self.poll.reset();
        }
        if self.read.is_some()
            && self.pace.are_done_but(MAX_UNDONE).await?
            && let Some(chunk) = self.read.take()
        {
            self.pace.handed_over();
            self.poll.reset();
            self.tell(News::Chunk(chunk)).await;
        }
        if !self.is_ready && self.read.is_none() && self.may_read().await? {
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
            Some(Order::Read(asked, piece)) => {
                (self.ask, self.is_ready) = (Some((asked, piece)), false);
            }
            Some(Order::Drop) => self.pace.dropped(),
            Some(Order::Durable) => {
                self.pace.durable();
                self.pace.look().await?;
            }
        }
        Ok(Some(()))
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
            self.tell(News::Trouble(text)).await;
            tokio::time::sleep(BACKOFF.max / 10).await;
            return Ok(false);
        }
        if !self.pace.are_done_but(MAX_UNDONE + 1).await? {
            return Ok(false);
        }
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
