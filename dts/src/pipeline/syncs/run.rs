//! A full sync at work: its feed, and where it stands between the feed and the stream.

use std::sync::Arc;

use change_event::{Source, SyncedText};
use full_sync::Task;
use tokio::{sync::mpsc, time::Instant};
use tracing::debug;

use crate::{
    error::{Error, Result},
    full_sync::{Chunk, ChunkKind, Common, Feed, FeedId, Order, Piece, Place, Told},
    position::Position,
    publish::{SyncedTable, Windows},
};

/// So many stretches to read again are put off until the end of the table.
const MAX_AGAIN: usize = 100;

pub(super) struct Run {
    /// Tells its feed from one before.
    pub(super) number: u64,
    pub(super) feed: Feed,
    pub(super) table: SyncedTable,
    id: String,
    listener: String,
    schema: String,
    name: String,
    pub(super) place: Place,
    pub(super) stage: Stage,
    /// The listener has room for another chunk.
    pub(super) is_ready: bool,
    /// What is asked for, or held, does not count any more.
    is_spoilt: bool,
    /// One read of the whole table is under way: its window stays open.
    pub(super) is_in_parts: bool,
    /// Up to when its time is counted.
    pub(super) counted: Instant,
}

/// Whether it can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Outcome {
    GoesOn,
    /// It has to begin again.
    Restarts,
}

/// Where it stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing is read.
    Idle,
    /// A chunk is being read.
    Reading,
    /// A chunk waits for the stream to pass its high mark, or is being merged.
    Holding(Box<Held>),
}

/// A chunk that was read.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) chunk: Chunk,
    pub(super) text: SyncedText,
    /// The first segment that is not merged yet.
    pub(super) segment: usize,
}

impl Run {
    pub(super) fn start(
        common: &Arc<Common>,
        (id, task): (FeedId, &Task),
        news: mpsc::Sender<Told>,
    ) -> Result<Self> {
        let place = Place::read(task.cursor.as_ref()).map_err(|error| {
            Error::refused(
                format!("its place cannot be read: {error}"),
                "cancel it, and ask for the full sync again",
            )
        })?;
        Ok(Self {
            number: id.1,
            table: SyncedTable::new(&common.topics, (&task.schema, &task.table), &task.listener),
            feed: Feed::start(common, (id, task), news),
            id: task.id.clone(),
            listener: task.listener.clone(),
            schema: task.schema.clone(),
            name: task.table.clone(),
            place,
            stage: Stage::Idle,
            is_ready: false,
            is_spoilt: false,
            is_in_parts: false,
            counted: Instant::now(),
        })
    }

    /// Whether the next chunk may be asked for.
    pub(super) fn may_ask(&self) -> bool {
        self.is_ready && matches!(self.stage, Stage::Idle)
    }

    /// Asks for the next chunk: from now on the window is open.
    pub(super) fn ask(&mut self, asked: &Position, windows: &mut Windows) {
        if !self.is_in_parts {
            windows.open(&self.id, &self.schema, &self.name);
        }
        let is_page = !self.place.at_end && self.place.again.len() < MAX_AGAIN;
        let piece = match self.place.again.first() {
            Some(stretch) if !is_page => Piece::Again(stretch.clone()),
            _ => Piece::After(self.place.after.clone()),
        };
        debug!(task = self.id, file = asked.file, pos = asked.pos, "chunk asked for");
        (self.is_spoilt, self.is_ready) = (false, false);
        self.stage = Stage::Reading;
        self.feed.order(Order::Read(asked.clone(), piece));
    }

    pub(super) fn hold(&mut self, chunk: Chunk) -> Outcome {
        self.is_in_parts = chunk.kind == ChunkKind::Part;
        if self.is_spoilt {
            return self.drop_chunk();
        }
        let (rows, high) = (chunk.rows.len(), &chunk.high);
        debug!(task = self.id, rows, file = high.file, pos = high.pos, "chunk read");
        let high = Source {
            server_id: chunk.server_id,
            file: chunk.high.file.as_str().into(),
            pos: chunk.high.pos,
            ..Source::default()
        };
        let text = SyncedText::new((&self.id, &self.listener), chunk.at_ms, &high);
        self.stage = Stage::Holding(Box::new(Held { chunk, text, segment: 0 }));
        Outcome::GoesOn
    }

    /// The table may not be what it was, or too much changed to be remembered: what is being read
    /// or was read is read again.
    pub(super) fn spoil(&mut self) -> Outcome {
        match &self.stage {
            Stage::Idle if self.is_in_parts => Outcome::Restarts,
            Stage::Idle => Outcome::GoesOn,
            Stage::Reading => {
                self.is_spoilt = true;
                Outcome::GoesOn
            }
            Stage::Holding(_) => self.drop_chunk(),
        }
    }

    /// One read of the whole table cannot be taken up again in its middle.
    fn drop_chunk(&mut self) -> Outcome {
        if self.is_in_parts {
            return Outcome::Restarts;
        }
        self.is_spoilt = false;
        self.feed.order(Order::Drop);
        self.stage = Stage::Idle;
        Outcome::GoesOn
    }
}
