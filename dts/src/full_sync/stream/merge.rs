//! Merges chunks into the stream after their high mark. Rows that changed since the chunk was asked
//! for are sent in their newest form.

use change_event::FullSyncRow;
use event_bus::Batch;
use full_sync::TaskState;
use service::clock::now_ms;
use tokio::time::Instant;
use tracing::{debug, info};

use super::{
    ALTERED, FullSyncs,
    row_record::publish_row,
    run::{FullSyncRun, HeldChunk},
    window::{Touch, Windows},
};
use crate::{
    error::{Error, Result},
    full_sync::{
        feed::chunk::{ChunkKind, Segment},
        tasks::place::KeyRange,
    },
    publish::Publisher,
};

/// What one call may use.
pub(crate) struct MergeRoom<'a> {
    pub(crate) publisher: &'a mut Publisher,
    pub(crate) batch: &'a mut Batch,
    /// The largest size of the batch, in bytes.
    pub(crate) up_to: usize,
}

impl FullSyncs {
    /// Merges the chunks whose high mark the stream has passed, between two transactions, while
    /// there is room. Returns how many rows were published.
    pub(crate) fn merge(
        &mut self,
        position: &binlog::FilePosition,
        room: &mut MergeRoom<'_>,
    ) -> u64 {
        let due = self.runs.iter().filter(|(_, run)| run.is_due(position));
        let due: Vec<String> = due.map(|(id, _)| id.clone()).collect();
        let mut published = 0;
        for id in &due {
            match self.merge_one(id, room) {
                Ok(rows) => published += rows,
                Err(error) => {
                    self.end_run(id, room.publisher.windows());
                    self.fail(id, &error);
                }
            }
        }
        // When a task has ended, even with an empty table, the next one starts.
        if !due.is_empty() {
            self.start_and_stop(room.publisher.windows());
        }
        published
    }

    /// Whether rows wait only for room.
    pub(crate) fn can_merge(&self, position: &binlog::FilePosition) -> bool {
        self.runs.values().any(|run| run.is_due(position))
    }

    /// Whether a part of a chunk is merged, and the rest not yet.
    pub(crate) fn is_merging_a_chunk(&self) -> bool {
        self.runs.values().any(FullSyncRun::is_merging_a_chunk)
    }

    fn merge_one(&mut self, id: &str, room: &mut MergeRoom<'_>) -> Result<u64> {
        let Some(run) = self.runs.get_mut(id) else { return Ok(0) };
        if run.is_of_another_shape() {
            self.restart(id, ALTERED, room.publisher.windows());
            return Ok(0);
        }
        let Some(mut held) = run.held.pop_front() else { return Ok(0) };
        let merged = run.merge_segments(&mut held, room);
        let is_done = held.is_done();
        if is_done {
            run.end_chunk(&held, room.publisher.windows());
        } else {
            // Also after an error: then its window is closed with the others.
            run.held.push_front(held);
        }
        let published = merged?;
        let elapsed = run.counted.elapsed();
        run.counted = Instant::now();
        let mut has_ended = false;
        if is_done {
            debug!(task = id, published, "chunk merged");
            has_ended = run.place.at_end && run.place.again.is_empty();
            self.sent.push(id.to_owned());
        } else {
            debug!(task = id, published, "chunk merged in part");
        }
        let cursor = run.place.to_json();
        self.tasks.change(id, now_ms(), |task| {
            task.rows += published;
            task.cursor = cursor;
            task.error = None;
            task.active_ms += u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            if has_ended {
                task.state = TaskState::Sent;
            }
        });
        if has_ended {
            let rows = self.tasks.get(id).map(|task| task.rows);
            info!(task = id, rows, "full sync sent; it is done when its listener has finished it");
            self.end_run(id, room.publisher.windows());
            self.note_sent(id);
        }
        Ok(published)
    }
}

impl FullSyncRun {
    /// Whether the stream has passed the high mark of the next chunk.
    fn is_due(&self, position: &binlog::FilePosition) -> bool {
        self.held.front().is_some_and(|held| held.is_reached(position))
    }

    /// Whether the next chunk has another definition of the table than the chunks before: the table
    /// was altered, or another one took its name.
    fn is_of_another_shape(&self) -> bool {
        let next = self.held.front().map(|held| &held.chunk.shape);
        self.place.shape.as_ref().is_some_and(|shape| next.is_some_and(|next| next != shape))
    }

    /// Whether a part of its chunk is merged, and the rest not yet.
    pub(super) fn is_merging_a_chunk(&self) -> bool {
        self.held.front().is_some_and(|held| held.segment > 0)
    }

    /// Merges as many segments as there is room for, and returns how many rows were published.
    fn merge_segments(&mut self, held: &mut HeldChunk, room: &mut MergeRoom<'_>) -> Result<u64> {
        let mut published = 0;
        self.place.shape = Some(held.chunk.shape.clone());
        while let Some(segment) = held.chunk.rows.segments().get(held.segment)
            && room.batch.bytes() < room.up_to
        {
            published += self.merge_segment((held, segment), room)?;
            held.segment += 1;
        }
        Ok(published)
    }

    fn merge_segment(
        &mut self,
        (held, segment): (&HeldChunk, &Segment),
        room: &mut MergeRoom<'_>,
    ) -> Result<u64> {
        let rows = || segment.rows.clone().filter_map(|at| held.chunk.rows.row(at));
        let (windows, window) = (room.publisher.windows(), held.window);
        let is_partial =
            |row: FullSyncRow<'_>| windows.touch(window, row.id) == Some(Touch::Partial);
        if rows().any(is_partial) {
            self.read_again(held.chunk.kind, segment)?;
            return Ok(0);
        }
        let mut published = 0;
        for row in rows() {
            let touch = room.publisher.windows().touch(window, row.id);
            let row = match &touch {
                None => row,
                Some(Touch::Row(data)) => FullSyncRow { data, ..row },
                Some(Touch::Oversized(bytes)) => {
                    FullSyncRow { data: row.key, oversized: Some(*bytes), ..row }
                }
                Some(Touch::Gone | Touch::Partial) => continue,
            };
            publish_row(room.publisher, (&self.table, &held.text), row, room.batch)?;
            published += 1;
        }
        self.advance(held.chunk.kind, segment);
        Ok(published)
    }

    /// The stream's versions of these rows may lack columns: the rows are read once more.
    fn read_again(&mut self, kind: ChunkKind, segment: &Segment) -> Result<()> {
        let Some(up_to) = segment.up_to.clone() else {
            return Err(Error::refused(
                "it has no key, and its changes lack columns: the server does not log them, or the \
                 rows are larger than bus.maxRowBytes",
                "run SET PERSIST binlog_row_image = FULL on the server, raise maxRowBytes, or give \
                 the table a primary key",
            ));
        };
        let after = match kind {
            ChunkKind::Again => self.place.again.first().and_then(|first| first.after.clone()),
            ChunkKind::Page | ChunkKind::Part => self.place.after.clone(),
        };
        self.place.again.push(KeyRange { after, up_to });
        self.advance(kind, segment);
        Ok(())
    }

    fn advance(&mut self, kind: ChunkKind, segment: &Segment) {
        match (kind, self.place.again.first_mut()) {
            (ChunkKind::Page, _) => self.place.after = segment.up_to.clone(),
            (ChunkKind::Again, Some(first)) => first.after = segment.up_to.clone(),
            (ChunkKind::Again | ChunkKind::Part, _) => {}
        }
    }

    fn end_chunk(&mut self, held: &HeldChunk, windows: &mut Windows) {
        match held.chunk.kind {
            ChunkKind::Page => self.place.at_end = held.chunk.is_last,
            ChunkKind::Again if held.chunk.is_last && !self.place.again.is_empty() => {
                self.place.again.remove(0);
            }
            ChunkKind::Again => {}
            ChunkKind::Part => {
                self.place.at_end = held.chunk.is_last;
                if held.chunk.is_last {
                    // For a key that the table had before: all rows were read since.
                    self.place.again.clear();
                }
                self.whole = Some(held.window).filter(|_| !held.chunk.is_last);
            }
        }
        if self.whole.is_none() {
            windows.close(held.window);
        }
    }
}
