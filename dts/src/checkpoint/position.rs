//! Our place in the source's history.

use binlog::GtidSet;
use serde::{Deserialize, Serialize};

/// The boundary between two transactions of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// All transactions before it, if the server has GTIDs.
    pub gtids: Option<GtidSet>,
    /// The binlog file.
    pub file: String,
    /// The offset in the file, in 64 bits.
    pub pos: u64,
}

impl SourcePosition {
    /// Whether it says for each single transaction if that comes before it. A MariaDB's position
    /// has only the last transaction of each domain.
    pub(crate) fn has_gtid_gaps(&self) -> bool {
        self.gtids.as_ref().is_some_and(|gtids| !gtids.has_domains())
    }
}

/// Where a transaction begins in a binlog file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinlogPlace {
    /// The binlog file.
    pub file: String,
    /// The offset in the file.
    pub pos: u64,
}
