//! A saved position, as it is continued on a server.

use binlog::{FIRST_POS, file_number};

use crate::checkpoint::{BinlogPlace, Saved, SourcePosition};

/// A saved position, as it is continued on a server.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// What is saved now. Without what was lost, if that is accepted.
    pub saved: Saved,
    /// Where the dump begins: the position; or, where the server cannot be asked for that, a
    /// place before it in the file. What is whole before the position is passed over. Without
    /// GTIDs it is asked for by file, though there may be GTIDs in the position.
    pub from: SourcePosition,
    /// Whether something was lost that was not before, and is accepted.
    pub has_lost: bool,
}

impl Resumed {
    /// Goes on from a position that the server has.
    pub fn at(saved: Saved) -> Self {
        let from = saved.position.clone();
        Self { saved, from, has_lost: false }
    }

    /// Goes back to the first XA transaction that is prepared and open, where the server is asked
    /// by file; by GTID it sends such a one again by itself.
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
