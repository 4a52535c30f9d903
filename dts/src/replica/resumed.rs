//! A saved position, and how a server continues it.

use binlog::{FIRST_POS, file_number};

use crate::checkpoint::{BinlogPlace, Saved, SourcePosition};

/// A saved position, and how a server continues it.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// The saved state for this server: without the lost transactions, if the loss is accepted.
    pub saved: Saved,
    /// Where the dump begins: at the position; or at an earlier place in the file, if the server
    /// cannot be asked for the position. Whole transactions before the position are skipped.
    /// Without GTIDs here the server is asked by file, even if the saved position has GTIDs.
    pub from: SourcePosition,
    /// Whether a new loss was accepted.
    pub has_lost: bool,
}

impl Resumed {
    /// Goes on from a position that the server has.
    pub fn at(saved: Saved) -> Self {
        let from = saved.position.clone();
        Self { saved, from, has_lost: false }
    }

    /// If the server is asked by file, goes back to the first XA transaction that is prepared and
    /// open. By GTID the server sends such a transaction again by itself.
    pub(super) fn before_prepared(mut self) -> Self {
        let order = |file: &str, pos: u64| (file_number(file), pos);
        let of_files = |place: &&BinlogPlace| order(&place.file, place.pos);
        if let Some(BinlogPlace { file, pos }) = self.saved.prepared.iter().min_by_key(of_files)
            && self.from.gtids.is_none()
            && order(file, *pos) < order(&self.from.file, self.from.pos)
        {
            let can_be_asked_for = u32::try_from(*pos).is_ok();
            self.from.pos = if can_be_asked_for { *pos } else { FIRST_POS };
            self.from.file.clone_from(file);
        }
        self
    }
}
