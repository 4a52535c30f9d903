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

pub(super) mod chunk;
pub(super) mod context;
mod feeder;
pub(super) mod live;
pub(super) mod pace;
pub(super) mod read;
mod size;
mod take;

use std::sync::Arc;

use full_sync::Task;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use self::{
    chunk::Chunk,
    context::{FeedContext, ReadPiece},
    feeder::Feeder,
};
use crate::{checkpoint::SourcePosition, error::Error};

/// Each chunk that is on its way is one order to read it, and one that it is durable or not used.
const MAX_ORDERS: usize = 16;

/// What a feed is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Read what comes next, such that it shows all that lies before a position. Its window is
    /// open since a moment.
    Read { asked: SourcePosition, piece: ReadPiece, since: Instant },
    /// The chunk that was handed over last is not used.
    Drop,
    /// The oldest chunk that was not is durable in the bus now.
    Durable,
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
pub(crate) type FeedNews = (FeedId, News);

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
        common: &Arc<FeedContext>,
        (id, task): (FeedId, &Task),
        (news, has_sent): (mpsc::Sender<FeedNews>, bool),
    ) -> Self {
        let (orders, next_order) = mpsc::channel(MAX_ORDERS);
        let feeder = Feeder::new(common, (id, task), (next_order, news), has_sent);
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
