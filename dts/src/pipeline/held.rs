//! XA transactions between their XA PREPARE and their commit or rollback: their events are kept
//! here.

use std::collections::HashMap;

use binlog::{RawEvent, SavepointName, Transaction, Xid};

use super::{
    savepoints::Savepoints,
    spool::{At, Spool, SpoolReader},
};
use crate::{
    checkpoint::BinlogPlace,
    config::XaConfig,
    error::{Error, Result},
};

/// Memory that all transactions together may use; further events go into files.
const MAX_MEMORY_BYTES: usize = 4 << 20;

/// The XA transactions that are open.
#[derive(Debug)]
pub(super) struct HeldXa {
    config: XaConfig,
    /// The transaction that is being read, and not prepared yet.
    reading: KeptEvents,
    prepared: HashMap<Xid, (Transaction, KeptEvents)>,
}

#[derive(Debug, Default)]
struct KeptEvents {
    spool: Spool,
    bytes: u64,
    /// Rows that were rolled back.
    taken_back: u64,
    /// Its number of rows, once it is prepared.
    rows: u64,
    /// Each with the number of bytes before it, and the number of rows that count.
    savepoints: Savepoints<(u64, u64)>,
}

/// The kept events of a transaction that is committed.
pub(super) struct TakenXa {
    pub(super) events: SpoolReader,
    /// Its rows, captured or not, without rows that were rolled back.
    pub(super) rows: u64,
}

impl HeldXa {
    pub(super) fn new(config: &XaConfig) -> Self {
        Self { config: config.clone(), reading: KeptEvents::default(), prepared: HashMap::new() }
    }

    /// From here on another transaction is read. If the one before has no end, its events do not
    /// count.
    pub(super) fn begin(&mut self) {
        self.reading = KeptEvents::default();
    }

    /// Keeps an event of the transaction that is being read.
    pub(super) fn keep(&mut self, event: &RawEvent<'_>, at: At) -> Result<()> {
        let elsewhere: usize = self.prepared.values().map(|(_, kept)| kept.spool.memory()).sum();
        let room = MAX_MEMORY_BYTES.saturating_sub(elsewhere);
        let directory = &self.config.directory;
        let pushed = self.reading.spool.push((event, at), room, directory);
        self.reading.bytes += pushed.map_err(|error| self.unusable(&error))?;
        let prepared: u64 = self.prepared.values().map(|(_, kept)| kept.bytes).sum();
        if prepared + self.reading.bytes > self.config.max_bytes {
            return Err(self.too_large(prepared));
        }
        Ok(())
    }

    /// The transaction that is being read has a savepoint here, after this many rows.
    pub(super) fn savepoint(&mut self, name: SavepointName, rows: u64) {
        let KeptEvents { bytes, taken_back, savepoints, .. } = &mut self.reading;
        savepoints.set(name, (*bytes, rows - *taken_back));
    }

    /// The rows after a savepoint were rolled back, in the transaction that is being read and has
    /// this many rows now.
    pub(super) fn back_to(&mut self, name: &SavepointName, rows: u64) -> Result<()> {
        let KeptEvents { spool, bytes, taken_back, savepoints, .. } = &mut self.reading;
        let (bytes_then, rows_then) = savepoints.back_to(name)?;
        (*bytes, *taken_back) = (bytes_then, rows - rows_then);
        let cut = spool.truncate(*bytes);
        cut.map_err(|error| self.unusable(&error))
    }

    /// The transaction that was read is prepared; it has this many rows.
    pub(super) fn prepare(&mut self, xid: Xid, transaction: Transaction, rows: u64) {
        let mut kept = std::mem::take(&mut self.reading);
        kept.rows = rows - kept.taken_back;
        kept.savepoints = Savepoints::default();
        self.prepared.insert(xid, (transaction, kept));
    }

    /// The events of the transaction that was read, which is committed already and has this many
    /// rows.
    pub(super) fn take_read(&mut self, rows: u64) -> Result<TakenXa> {
        let mut kept = std::mem::take(&mut self.reading);
        kept.rows = rows - kept.taken_back;
        self.read(kept)
    }

    /// The events of a transaction that is committed now; `None` when it was never read.
    pub(super) fn take(&mut self, xid: &Xid) -> Result<Option<(Transaction, TakenXa)>> {
        let Some((transaction, kept)) = self.prepared.remove(xid) else { return Ok(None) };
        Ok(Some((transaction, self.read(kept)?)))
    }

    fn read(&self, kept: KeptEvents) -> Result<TakenXa> {
        let events = kept.spool.read().map_err(|error| self.unusable(&error))?;
        Ok(TakenXa { events, rows: kept.rows })
    }

    /// Forgets a transaction that is rolled back; `None` when it was never read, and then nothing
    /// is lost.
    pub(super) fn forget(&mut self, xid: &Xid) -> Option<Transaction> {
        self.prepared.remove(xid).map(|(transaction, _)| transaction)
    }

    /// Where the prepared transactions begin.
    pub(super) fn places(&self) -> Vec<BinlogPlace> {
        let place = |transaction: &Transaction| {
            let start = &transaction.start;
            BinlogPlace { file: start.file.to_string(), pos: start.pos }
        };
        self.prepared.values().map(|(transaction, _)| place(transaction)).collect()
    }

    fn unusable(&self, error: &std::io::Error) -> Error {
        let directory = self.config.directory.display();
        Error::refused(
            format!("the rows of a prepared XA transaction cannot be kept in {directory}: {error}"),
            "make room there and let dts write, or set xa.directory to another place",
        )
    }

    fn too_large(&self, prepared: u64) -> Error {
        let names: Vec<String> = self.prepared.keys().take(5).map(Xid::to_string).collect();
        Error::refused(
            format!(
                "the rows of XA transactions that are not committed take more than xa.maxBytes = \
                 {}: {} bytes of {} that are prepared (such as {}), {} bytes of the current one",
                self.config.max_bytes,
                prepared,
                self.prepared.len(),
                names.join("; "),
                self.reading.bytes
            ),
            "raise xa.maxBytes; XA RECOVER on the server lists those that are prepared",
        )
    }
}
