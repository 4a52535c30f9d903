//! A running full sync: its feed, and the state of its chunks between the feed and the stream.
//!
//! A chunk goes through these states. There is at most one in the first, and at most two in the
//! others:
//!
//! | state | its window | it ends when |
//! |---|---|---|
//! | asked | open | the feed has read the chunk; a spoilt chunk is then dropped |
//! | held | open | the stream passes the chunk's high mark, between two transactions |
//! | being merged, a segment at a time | open | its last segment is in a batch |
//! | sent, and ours no more | closed | the batch is durable, and the feed knows this |
//!
//! The task's place moves on with each segment, and is in the checkpoint that goes with the batch.
//! So a crash in any state loses nothing. It repeats rows that the bus had without their
//! checkpoint; if the bus appends both or neither, there are no such rows. A chunk is spoilt by an
//! altered table or by an overrun window: then the asked and the held chunks are dropped, and
//! merged rows stay.

use std::{collections::VecDeque, sync::Arc};

use change_event::{FullSyncText, Source};
use full_sync::Task;
use tokio::{sync::mpsc, time::Instant};
use tracing::debug;

use super::{
    row_record::FullSyncTable,
    window::{WindowId, Windows},
};
use crate::{
    checkpoint::SourcePosition,
    error::{Error, Result},
    full_sync::{
        feed::{
            Feed, FeedId, FeedNews, Order,
            chunk::{Chunk, ChunkKind},
            context::{FeedContext, ReadPiece},
        },
        tasks::place::TablePlace,
        watermark::order,
    },
};

/// At most this many stretches wait until the end of the table before they are read again.
const MAX_AGAIN: usize = 100;

pub(super) struct FullSyncRun {
    /// Distinguishes its feed from an earlier one.
    pub(super) number: u64,
    pub(super) feed: Feed,
    pub(super) table: FullSyncTable,
    id: String,
    listener: String,
    schema: String,
    name: String,
    pub(super) place: TablePlace,
    /// Where a read may not show yet what the stream passed moments ago, the window of the next
    /// chunk opens when the chunk before is asked for. So the stream gives those rows.
    opens_early: bool,
    early: Option<(WindowId, Instant)>,
    /// The listener has room for another chunk.
    pub(super) is_ready: bool,
    /// A chunk is being read.
    asked: Option<AskedChunk>,
    /// Chunks that were read, in the table's order: they wait until the stream passes their high
    /// marks, or are being merged.
    pub(super) held: VecDeque<HeldChunk>,
    /// The one read of the whole table goes on: its window stays open.
    pub(super) whole: Option<WindowId>,
    /// Its running time is counted up to here.
    pub(super) counted: Instant,
}

/// Whether the full sync can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum RunOutcome {
    GoesOn,
    /// The full sync must begin again.
    Restarts,
}

/// A chunk that was asked for.
#[derive(Debug)]
struct AskedChunk {
    window: WindowId,
    /// The result does not count any more.
    is_spoilt: bool,
}

/// A chunk that was read.
#[derive(Debug)]
pub(super) struct HeldChunk {
    pub(super) chunk: Chunk,
    pub(super) text: FullSyncText,
    /// Open since the chunk was asked for.
    pub(super) window: WindowId,
    /// The first segment that is not merged yet.
    pub(super) segment: usize,
}

impl HeldChunk {
    /// Whether the stream has passed all changes that the rows show.
    pub(super) fn is_reached(&self, position: &binlog::FilePosition) -> bool {
        let high = &self.chunk.high;
        order(&position.file, position.pos) >= order(&high.file, high.pos)
    }

    /// Whether all segments are merged.
    pub(super) fn is_done(&self) -> bool {
        self.segment >= self.chunk.rows.segments().len()
    }

    /// Where the table goes on after the chunk, as far as that is known before the chunk is merged.
    fn next(&self) -> Option<ReadPiece> {
        let goes_on = self.chunk.kind == ChunkKind::Page && !self.chunk.is_last;
        let last = self.chunk.rows.segments().last().filter(|_| goes_on)?;
        Some(ReadPiece::After(Some(last.up_to.clone()?)))
    }
}

impl FullSyncRun {
    pub(super) fn start(
        common: &Arc<FeedContext>,
        (id, task): (FeedId, &Task),
        (news, has_sent): (mpsc::Sender<FeedNews>, bool),
    ) -> Result<Self> {
        let place = TablePlace::read(task.cursor.as_ref()).map_err(|error| {
            Error::refused(
                format!("its place cannot be read: {error}"),
                "cancel the full sync, and ask for it again",
            )
        })?;
        Ok(Self {
            number: id.1,
            table: FullSyncTable::new(&common.topics, (&task.schema, &task.table), &task.listener),
            feed: Feed::start(common, (id, task), (news, has_sent)),
            id: task.id.clone(),
            listener: task.listener.clone(),
            schema: task.schema.clone(),
            name: task.table.clone(),
            place,
            opens_early: !common.source.shows_what_it_says(),
            early: None,
            is_ready: false,
            asked: None,
            held: VecDeque::new(),
            whole: None,
            counted: Instant::now(),
        })
    }

    /// Opens a window for the next chunk now, if it must open early.
    pub(super) fn open_early(&mut self, windows: &mut Windows) {
        self.early = self.opens_early.then(|| self.open_window(windows));
    }

    /// Asks for the next chunk, if its time has come. Its window is open from now on, or longer. It
    /// may be read while the chunk before waits or is merged.
    pub(super) fn ask(&mut self, asked: &SourcePosition, windows: &mut Windows) {
        if !self.is_ready || self.asked.is_some() || self.held.len() > 1 {
            return;
        }
        let Some(piece) = self.next_piece() else { return };
        debug!(task = self.id, file = asked.file, pos = asked.pos, "chunk asked for");
        let (window, since) = self.window_of_next(windows);
        self.asked = Some(AskedChunk { window, is_spoilt: false });
        self.is_ready = false;
        self.feed.order(Order::Read { asked: asked.clone(), piece, since });
    }

    /// The window of the next chunk, and the time when it was opened.
    fn window_of_next(&mut self, windows: &mut Windows) -> (WindowId, Instant) {
        let early = self.early.take();
        if let Some(whole) = self.whole {
            // All parts of the one read have the same window.
            early.into_iter().for_each(|(needless, _)| windows.close(needless));
            return (whole, Instant::now());
        }
        let window = early.unwrap_or_else(|| self.open_window(windows));
        self.open_early(windows);
        window
    }

    fn open_window(&self, windows: &mut Windows) -> (WindowId, Instant) {
        (windows.open(&self.schema, &self.name), Instant::now())
    }

    fn next_piece(&self) -> Option<ReadPiece> {
        let is_page = !self.place.at_end && self.place.again.len() < MAX_AGAIN;
        match (self.held.back(), self.place.again.first()) {
            (Some(last), _) => last.next().filter(|_| is_page),
            (None, Some(stretch)) if !is_page => Some(ReadPiece::Again(stretch.clone())),
            (None, _) => Some(ReadPiece::After(self.place.after.clone())),
        }
    }

    pub(super) fn hold(&mut self, chunk: Chunk) -> RunOutcome {
        let Some(AskedChunk { window, is_spoilt }) = self.asked.take() else {
            return RunOutcome::GoesOn;
        };
        if chunk.kind == ChunkKind::Part {
            self.whole = Some(window);
        }
        if is_spoilt {
            self.feed.order(Order::Drop);
            return if self.whole.is_some() { RunOutcome::Restarts } else { RunOutcome::GoesOn };
        }
        let (rows, high) = (chunk.rows.len(), &chunk.high);
        debug!(task = self.id, rows, file = high.file, pos = high.pos, "chunk read");
        let high = Source {
            server_id: chunk.server_id,
            file: chunk.high.file.as_str().into(),
            pos: chunk.high.pos,
            ..Source::default()
        };
        let text = FullSyncText::new((&self.id, &self.listener), chunk.at_ms, &high);
        self.held.push_back(HeldChunk { chunk, text, window, segment: 0 });
        RunOutcome::GoesOn
    }

    /// The table may have changed, or too much changed to be remembered: chunks that are being read
    /// or were read are read again. But one read of the whole table cannot go on in its middle.
    pub(super) fn spoil(&mut self, windows: &mut Windows) -> RunOutcome {
        self.windows().for_each(|window| windows.close(window));
        if self.whole.is_some() {
            return RunOutcome::Restarts;
        }
        self.early = None;
        if let Some(asked) = &mut self.asked {
            asked.is_spoilt = true;
        }
        self.held.drain(..).for_each(|_| self.feed.order(Order::Drop));
        RunOutcome::GoesOn
    }

    /// The windows that are open for this full sync.
    pub(super) fn windows(&self) -> impl Iterator<Item = WindowId> {
        let held = self.held.iter().map(|held| held.window);
        let early = self.early.map(|(window, _)| window);
        held.chain(self.asked.iter().map(|asked| asked.window)).chain(self.whole).chain(early)
    }
}
