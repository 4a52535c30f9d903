//! Where in the source's history we are.

use binlog::GtidSet;
use serde::{Deserialize, Serialize};

/// The boundary between two transactions of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// All transactions before it, where the server has GTIDs.
    pub gtids: Option<GtidSet>,
    /// The binlog file.
    pub file: String,
    /// The offset in the file, counted in 64 bits.
    pub pos: u64,
}

impl SourcePosition {
    /// Whether it knows of each transaction by itself whether that lies before it. A MariaDB's
    /// knows the last of each domain alone.
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
