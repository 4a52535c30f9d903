//! A task that is running: reads a chunk when it gets an order, over a connection of its own, and
//! says when the listener has room for another chunk.
//!
//! The messages between the feed and the stream about each chunk:
//!
//! | feed | stream | |
//! |---|---|---|
//! | `Ready` | | the listener will have room once the chunk is read |
//! | | `Read` | the chunk's window is open, and the stream has read all before `asked` |
//! | `Chunk` | | the chunk is read, and there is room for it |
//! | | `Durable` or `Drop` | the whole chunk is in the bus; or its rows are read again |
//!
//! The next `Ready` may come as soon as the chunk was given to the stream. `Trouble` does not
//! change this order; after `Restart` and `Failed` the feed has ended.

pub(super) mod chunk;
pub(super) mod context;
mod feeder;
pub(super) mod pace;
pub(super) mod read;
mod size;
mod take;
pub(super) mod yield_to_live;

use std::sync::Arc;

use full_sync::Task;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use self::{
    chunk::Chunk,
    context::{FeedContext, ReadPiece},
    feeder::Feeder,
};
use crate::{checkpoint::SourcePosition, error::Error};

/// Each chunk between feed and stream needs two orders: to read it, and to say that it is durable
/// or not used.
const MAX_ORDERS: usize = 16;

/// The orders that a feed gets.
#[derive(Debug)]
pub(crate) enum Order {
    /// Read the next rows, so that they show all changes before a position. The chunk's window is
    /// open since `since`.
    Read { asked: SourcePosition, piece: ReadPiece, since: Instant },
    /// The last chunk that the feed gave is not used.
    Drop,
    /// The oldest chunk that was not durable is durable in the bus now.
    Durable,
}

/// The news that a feed sends.
#[derive(Debug)]
pub(crate) enum News {
    /// The listener will have room: the next chunk may be asked for.
    Ready,
    /// The listener has room for this chunk.
    Chunk(Box<Chunk>),
    /// The feed cannot go on now, and tries again by itself; the next chunk ends the trouble.
    /// `is_stuck`: the trouble comes from the table, and lasts.
    Trouble { text: String, is_stuck: bool },
    /// A table without a key must be read again from its beginning.
    Restart,
    /// The feed cannot go on.
    Failed(Error),
}

/// The feed that sends the news, and the news.
pub(crate) type FeedNews = (FeedId, News);

/// The task, and a number that no other feed of it has.
pub(crate) type FeedId = (String, u64);

/// The other end of a feed, for the stream. The feed ends when this is dropped.
pub(crate) struct Feed {
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl Feed {
    /// If the task `has_sent` chunks before, since the stream began, these must be done before the
    /// feed goes on. So a listener that does not move gets no more, however often the task begins
    /// again.
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
        // A feed that has failed says so in its news, and no feed gets more orders than it has room
        // for.
        let _ = self.orders.try_send(order);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}
