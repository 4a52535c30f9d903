//! What the one writer of a name can do.

use async_trait::async_trait;

use crate::{Batch, Book, CheckpointChange, Result};

/// The one writer of a name. Opening it ([`Bus::producer`](crate::Bus::producer)) waits until no
/// other leads, fences whoever did, and gives the checkpoint.
///
/// There is one way to recover from an error: drop the producer, open it again, and go on from
/// the checkpoint that this gives.
#[async_trait]
pub trait Producer: Send {
    /// Appends a batch and changes the checkpoint: both or neither. Durable, and visible to
    /// consumers, when it returns. The batch may be empty.
    ///
    /// # Errors
    ///
    /// Transient: the bus is away or full. [`Error::Fenced`](crate::Error::Fenced): another process
    /// took over. After any error it is not known whether the batch was appended.
    async fn append(&mut self, batch: &Batch, checkpoint: &[CheckpointChange]) -> Result<()>;

    /// The same, for a caller that has more at once: the bus may leave the batch open, so that one
    /// commit covers many batches. All that is open becomes durable together, with a later append
    /// that says so. The bus does not wait long, because readers wait.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append). After an error, all that was open is lost.
    async fn append_more(
        &mut self,
        batch: &Batch,
        checkpoint: &[CheckpointChange],
    ) -> Result<Durability> {
        self.append(batch, checkpoint).await?;
        Ok(Durability::Durable)
    }

    /// From now on counts the records in this book, gives marks to them, and saves the book with
    /// the checkpoint. A bus that may repeat records begins a new book instead.
    fn keep_book(&mut self, book: Book);

    /// How many records each topic was given since the last call; nothing without a book.
    fn take_booked(&mut self) -> Vec<(String, u64)>;

    /// Which topics are not as they were when they were first written. None on a bus whose topics
    /// cannot change.
    ///
    /// # Errors
    ///
    /// Those of [`append`](Self::append).
    async fn changed_topics(&mut self) -> Result<Vec<ChangedTopic>> {
        Ok(Vec::new())
    }

    /// Accepts these topics as they are now. Durable when it returns.
    ///
    /// # Errors
    ///
    /// Those of [`append`](Self::append).
    async fn adopt_topics(&mut self, topics: &[ChangedTopic]) -> Result<()> {
        let _ = topics;
        Ok(())
    }

    /// Gives up being the writer, so that another can take over at once, without a time-out. All
    /// that is open is lost.
    async fn close(self: Box<Self>) {}
}

/// A topic that is not as it was when it was first written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedTopic {
    /// Its name.
    pub topic: String,
    /// What happened to it.
    pub change: TopicChange,
}

/// What happened to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicChange {
    /// It has more partitions; the new ones stay empty until it is adopted. From then on a key may
    /// go to another partition than before.
    Grown {
        /// How many are used.
        used: u32,
        /// How many there are.
        partitions: u32,
    },
    /// It was deleted, and one of the same name was made.
    Replaced {
        /// How many partitions that has.
        partitions: u32,
    },
    /// It was deleted. Once that is accepted, the next record makes it again.
    Deleted,
}

/// Whether what was appended is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is, with all that was open before.
    Durable,
    /// Not yet; the checkpoint is still the earlier one.
    Open,
}
