//! What a feed does: it reads one chunk after the other, and gives each to the stream when the
//! listener has room for the chunk.
//!
//! | state | it ends when | then |
//! |---|---|---|
//! | `NoRoom` | nearly all earlier chunks are done | the stream gets a `Ready`; state `Ready` |
//! | `Ready` | the stream asks for a chunk | `Asked` |
//! | `Asked` | the chunk is read | `Held` |
//! | `Held` | the listener has room for the chunk | the stream gets the chunk; `NoRoom` |
//! | `Held`, of a read page by page | the listener had no room for a while | `PutAway` |
//! | `Held`, of one read of a whole table | the listener does not move | `GivenUp` |
//! | `PutAway` | the listener has room | the chunk is read again; `Held` |
//! | `GivenUp` | all earlier chunks are done | the feed ends, and the full sync begins again |
//!
//! After an error the state is the same: the same step is tried again.

use std::{pin::pin, sync::Arc, time::Duration};

use full_sync::Task;
use service::{Backoff, BackoffConfig};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing::{debug, info, warn};

use super::{
    FeedId, FeedNews, News, Order,
    chunk::{Chunk, ChunkKind},
    context::{FeedContext, ReadPiece},
    pace::ListenerPace,
    read::TableReader,
};
use crate::{
    checkpoint::SourcePosition,
    error::{Error, Result},
};

/// How often the bus is asked for the listener's progress: less and less often while there is no
/// room.
const POLL: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(5), max: Duration::from_millis(25), factor: 2.0 };

/// A chunk is given to the stream when at most this many earlier chunks are not done. It is read
/// when at most one more is not done. So the listener always has work, and its live changes wait
/// after few rows only.
const MAX_UNDONE: usize = 2;

/// How long a chunk that was read early stays in memory for a listener that has no room for it.
const KEEP_AHEAD: Duration = Duration::from_secs(10);

/// How long the window of a chunk is open before the chunk is read, where the window must open
/// early.
const LEAD: Duration = Duration::from_millis(50);

/// One read of a whole table goes on if its listener moves at least this often.
const MAX_UNMOVED: Duration = Duration::from_mins(1);

/// How long to wait after an error that may pass.
const BACKOFF: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(10), factor: 2.0 };

/// A read that takes longer is reported: MySQL itself stops a statement before that.
const MAX_SILENT_READ: Duration = Duration::from_secs(25);

/// After this many more failed reads of a table, other tables go first.
const TRIES: u32 = 3;

/// Does the work of one feed.
pub(super) struct Feeder {
    common: Arc<FeedContext>,
    reading: TableReader,
    listener: String,
    id: FeedId,
    orders: mpsc::Receiver<Order>,
    news: mpsc::Sender<FeedNews>,
    pace: ListenerPace,
    state: FeedState,
    /// The next chunk may be asked for when at most this many earlier chunks are not done.
    may_undone: usize,
    poll: Backoff,
}

/// The state of a feed's next chunk.
enum FeedState {
    /// The listener has no room for another chunk.
    NoRoom,
    /// The listener will have room, and the stream knows this.
    Ready,
    /// The stream asked for a chunk.
    Asked(Ask),
    /// A chunk was read before the listener has room for it.
    Held { ask: Ask, chunk: Box<Chunk>, keep_until: Instant },
    /// A chunk was kept for long enough. It is read again when there is room.
    PutAway(Ask),
    /// The one read of a whole table was stopped.
    GivenUp,
}

/// What the stream asked for.
#[derive(Clone)]
struct Ask {
    asked: SourcePosition,
    piece: ReadPiece,
}

/// The result of a step.
#[derive(PartialEq, Eq)]
enum Moved {
    On,
    /// Only an order or the listener can change the state.
    Waits,
    /// The feed has ended.
    Over,
}

impl Feeder {
    pub(super) fn new(
        common: &Arc<FeedContext>,
        (id, task): (FeedId, &Task),
        (orders, news): (mpsc::Receiver<Order>, mpsc::Sender<FeedNews>),
        has_sent: bool,
    ) -> Self {
        Self {
            pace: ListenerPace::of((&common.bus, &common.topics), task, has_sent),
            common: Arc::clone(common),
            reading: TableReader::new(common, task.clone()),
            listener: task.listener.clone(),
            id,
            orders,
            news,
            state: FeedState::NoRoom,
            may_undone: if has_sent { 0 } else { MAX_UNDONE + 1 },
            poll: Backoff::new(POLL),
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            match self.step().await {
                Ok(Some(())) => backoff.reset(),
                Ok(None) => return,
                Err(error) if error.is_transient() => {
                    if backoff.failures() == 0 {
                        warn!(task = self.id.0, %error, "a full sync is interrupted");
                    }
                    // Trouble with the bus says nothing about the table that is read.
                    let is_of_bus = matches!(error, Error::Bus(_));
                    let is_of_table = !is_of_bus && self.reading.is_connected();
                    let is_stuck = is_of_table && backoff.failures() >= TRIES;
                    self.send(News::Trouble { text: error.to_string(), is_stuck }).await;
                    if !is_of_bus && self.reading.break_off() {
                        self.send(News::Restart).await;
                        return;
                    }
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Err(error) => {
                    self.send(News::Failed(error)).await;
                    return;
                }
            }
        }
    }

    /// Does as many steps as possible, and takes one order; `None` when the feed has ended.
    async fn step(&mut self) -> Result<Option<()>> {
        loop {
            match self.advance().await? {
                Moved::On => {}
                Moved::Waits => break,
                Moved::Over => return Ok(None),
            }
        }
        let order = match self.state {
            FeedState::Ready => self.orders.recv().await,
            _ => match timeout(self.poll.next_wait(), self.orders.recv()).await {
                Ok(order) => order,
                Err(_) => return Ok(Some(())),
            },
        };
        let Some(order) = order else { return Ok(None) };
        self.obey(order).await?;
        Ok(Some(()))
    }

    /// Does the steps that need no order.
    async fn advance(&mut self) -> Result<Moved> {
        match &self.state {
            FeedState::NoRoom => {
                if !self.may_read().await? {
                    return Ok(Moved::Waits);
                }
                self.state = FeedState::Ready;
                self.poll.reset();
                self.send(News::Ready).await;
            }
            FeedState::Ready => return Ok(Moved::Waits),
            FeedState::Asked(ask) => {
                let ask = ask.clone();
                self.read_ahead(ask).await?;
            }
            FeedState::Held { keep_until, .. } => {
                let is_late = Instant::now() > *keep_until;
                return self.hand_over(is_late).await;
            }
            FeedState::PutAway(ask) => {
                let ask = ask.clone();
                if !self.pace.are_done_but(MAX_UNDONE).await? {
                    return Ok(Moved::Waits);
                }
                self.read_ahead(ask).await?;
            }
            FeedState::GivenUp => {
                if !self.pace.are_done_but(0).await? {
                    return Ok(Moved::Waits);
                }
                self.send(News::Restart).await;
                return Ok(Moved::Over);
            }
        }
        Ok(Moved::On)
    }

    async fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Read { asked, piece, since } => {
                self.state = FeedState::Asked(Ask { asked, piece });
                if !self.common.source.shows_what_it_says() && !self.reading.is_whole() {
                    tokio::time::sleep_until(since + LEAD).await;
                }
            }
            Order::Drop => self.pace.dropped(),
            Order::Durable => {
                self.pace.durable();
                self.pace.look().await?;
            }
        }
        Ok(())
    }

    /// Reads the chunk that was asked for, even before the listener has room for it.
    async fn read_ahead(&mut self, ask: Ask) -> Result<()> {
        let chunk = Box::new(self.read(&ask.asked, &ask.piece).await?);
        self.common.throttle.read(chunk.rows.len());
        self.state = FeedState::Held { ask, chunk, keep_until: Instant::now() + KEEP_AHEAD };
        self.poll.reset();
        Ok(())
    }

    /// Gives the chunk to the stream if the listener has room; if that takes too long, puts the
    /// chunk away.
    async fn hand_over(&mut self, is_late: bool) -> Result<Moved> {
        if is_late {
            self.pace.look().await?;
            self.put_away();
        }
        if !matches!(self.state, FeedState::Held { .. }) {
            return Ok(Moved::On);
        }
        if !self.pace.are_done_but(MAX_UNDONE).await? {
            return Ok(Moved::Waits);
        }
        let held = std::mem::replace(&mut self.state, FeedState::NoRoom);
        if let FeedState::Held { chunk, .. } = held {
            self.pace.handed_over();
            self.poll.reset();
            self.send(News::Chunk(chunk)).await;
        }
        Ok(Moved::On)
    }

    /// The listener has no room, so a chunk that waits is not kept. A read of a whole table keeps
    /// others from altering the table, so it is stopped when the listener does not move.
    fn put_away(&mut self) {
        self.state = match std::mem::replace(&mut self.state, FeedState::NoRoom) {
            FeedState::Held { ask, chunk, .. } if chunk.kind != ChunkKind::Part => {
                debug!(
                    task = self.id.0,
                    "a chunk that was read ahead is dropped: the listener has no room"
                );
                FeedState::PutAway(ask)
            }
            FeedState::Held { chunk, .. }
                if !chunk.is_last && self.pace.unmoved_for() > MAX_UNMOVED =>
            {
                info!(
                    task = self.id.0,
                    "the read of the whole table is stopped: its listener does not move"
                );
                self.reading.break_off();
                FeedState::GivenUp
            }
            kept => kept,
        };
    }

    async fn read(&mut self, asked: &SourcePosition, piece: &ReadPiece) -> Result<Chunk> {
        let turn = self.common.turns.acquire().await;
        let _turn = turn.map_err(|closed| Error::Internal(closed.to_string()))?;
        let text = format!("MySQL has not answered a read of the table for {MAX_SILENT_READ:?}");
        let report = self.send(News::Trouble { text, is_stuck: false });
        let mut read = pin!(self.reading.read(asked, piece));
        match timeout(MAX_SILENT_READ, &mut read).await {
            Ok(chunk) => chunk,
            Err(_) => tokio::join!(report, read).1,
        }
    }

    async fn may_read(&mut self) -> Result<bool> {
        if !self.pace.has_begun().await? {
            let listener = &self.listener;
            let text = format!("listener {listener} has never run: the rows are sent when it runs");
            self.send(News::Trouble { text, is_stuck: false }).await;
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

    /// Waits only until there is room for the news, and keeps no reference to the feed meanwhile.
    fn send(&self, news: News) -> impl Future<Output = ()> + Send + use<> {
        let (sender, news) = (self.news.clone(), (self.id.clone(), news));
        async move {
            let _ = sender.send(news).await;
        }
    }
}
