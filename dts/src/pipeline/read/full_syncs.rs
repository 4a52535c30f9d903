//! Full syncs beside the stream: chunks are asked for and merged between two transactions.

use super::StreamReader;
use crate::{full_sync::MergeRoom, status::Status};

/// How many bytes are merged before the stream is looked at again: live changes wait no longer than
/// this merge takes.
const MERGE_BYTES: usize = 128 << 10;

/// A batch of this size takes no more rows: live changes wait until the batch before theirs is
/// appended.
pub(super) const MAX_BYTES: usize = 512 << 10;

impl StreamReader {
    /// Whether the reader is between two transactions, and all before was published.
    pub(super) fn is_between(&self) -> bool {
        self.catching_up.is_none()
            && self.replay.is_none()
            && !self.decoder.is_in_group()
            && self.publisher.open_transaction().records == 0
    }

    pub(super) fn merge_full_syncs(&mut self, status: &Status) {
        if !self.is_between() {
            return;
        }
        let Self { full_syncs, publisher, batch, decoder, saved, .. } = self;
        full_syncs.ask(&saved.position, publisher.windows());
        let up_to = MAX_BYTES.min(batch.bytes() + MERGE_BYTES);
        let mut room = MergeRoom { publisher, batch, up_to };
        status.full_sync_rows(full_syncs.merge(decoder.position(), &mut room));
    }

    /// Whether rows can be merged now.
    pub(super) fn can_merge(&self) -> bool {
        self.batch.bytes() < MAX_BYTES
            && self.is_between()
            && self.full_syncs.can_merge(self.decoder.position())
    }
}
