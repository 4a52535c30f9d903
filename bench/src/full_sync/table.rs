//! The table that a full sync sends.

use e2e::servers::Mysql;

use crate::load::Loaded;

/// A table whose rows are keyed by `id`, from 0 on.
pub(crate) struct Table<'a> {
    pub(crate) mysql: &'a Mysql,
    /// In the schema of the benchmark.
    pub(crate) name: &'a str,
    pub(crate) rows: u64,
    /// The bytes of the largest row in MySQL.
    pub(crate) row_bytes: u64,
}

impl<'a> Table<'a> {
    /// The table that a load has filled.
    pub(crate) fn of_load(server: &'a Loaded) -> Self {
        const ROW_BYTES: u64 = 200;
        Self { mysql: &server.mysql, name: "t", rows: server.load.rows(), row_bytes: ROW_BYTES }
    }
}
