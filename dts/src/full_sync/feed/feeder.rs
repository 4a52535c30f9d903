//! What a feed does: one thing after the other, until nobody listens any more.

use std::{sync::Arc, time::Duration};

use full_sync::Task;
use service::{Backoff, BackoffConfig};
use tokio::{sync::mpsc, time::Instant};
use tracing::{debug, info, warn};

use super::{
    FeedId, News, Order, Told,
    chunk::{Chunk, ChunkKind},
    common::{Common, Piece},
    pace::Pace,
    read::Reading,
};
use crate::{
    checkpoint::SourcePosition,
    error::{Error, Result},
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

/// Waits after an error that may pass.
const BACKOFF: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(10), factor: 2.0 };

/// A table that cannot be read so many times more makes way for others.
const TRIES: u32 = 3;

/// Does the work of one feed.
pub(super) struct Feeder {
    common: Arc<Common>,
    reading: Reading,
    listener: String,
    id: FeedId,
    orders: mpsc::Receiver<Order>,
    news: mpsc::Sender<Told>,
    pace: Pace,
    /// What was asked for and is not handed over yet.
    ask: Option<(SourcePosition, Piece)>,
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
    pub(super) fn new(
        common: &Arc<Common>,
        (id, task): (FeedId, &Task),
        (orders, news): (mpsc::Receiver<Order>, mpsc::Sender<Told>),
        has_sent: bool,
    ) -> Self {
        Self {
            pace: Pace::of((&common.bus, &common.topics), task, has_sent),
            common: Arc::clone(common),
            reading: Reading::new(common, task.clone()),
            listener: task.listener.clone(),
            id,
            orders,
            news,
            ask: None,
            read: None,
            keep_until: None,
            is_put_off: false,
            may_undone: if has_sent { 0 } else { MAX_UNDONE + 1 },
            is_ready: false,
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

    async fn read(&mut self, asked: &SourcePosition, piece: &Piece) -> Result<Chunk> {
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
