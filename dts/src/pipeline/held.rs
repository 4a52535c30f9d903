//! XA transactions between their XA PREPARE and what becomes of them: their events are kept here.

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

/// Memory that all together may take; what is more goes into files.
const MAX_MEMORY_BYTES: usize = 4 << 20;

/// Those that are open.
#[derive(Debug)]
pub(super) struct HeldXa {
    config: XaConfig,
    /// Being read, and not prepared yet.
    reading: KeptEvents,
    prepared: HashMap<Xid, (Transaction, KeptEvents)>,
}

#[derive(Debug, Default)]
struct KeptEvents {
    spool: Spool,
    bytes: u64,
    /// Rows that were taken back.
    taken_back: u64,
    /// Rows that it has, once it is prepared.
    rows: u64,
    /// With the bytes in front of each, and the rows that count.
    savepoints: Savepoints<(u64, u64)>,
}

/// What is kept of a transaction that is committed.
pub(super) struct TakenXa {
    pub(super) events: SpoolReader,
    /// Its rows, captured or not, without those that were taken back.
    pub(super) rows: u64,
}

impl HeldXa {
    pub(super) fn new(config: &XaConfig) -> Self {
        Self { config: config.clone(), reading: KeptEvents::default(), prepared: HashMap::new() }
    }

    /// Another one is read from here on. What was read of one that broke off does not count.
    pub(super) fn begin(&mut self) {
        self.reading = KeptEvents::default();
    }

    /// Keeps an event of the one that is being read.
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

    /// The one that is being read has a savepoint here, behind so many rows.
    pub(super) fn savepoint(&mut self, name: SavepointName, rows: u64) {
        let KeptEvents { bytes, taken_back, savepoints, .. } = &mut self.reading;
        savepoints.set(name, (*bytes, rows - *taken_back));
    }

    /// What was kept of the one that is being read behind a savepoint was taken back, when there
    /// were so many rows.
    pub(super) fn back_to(&mut self, name: &SavepointName, rows: u64) -> Result<()> {
        let KeptEvents { spool, bytes, taken_back, savepoints, .. } = &mut self.reading;
        let (bytes_then, rows_then) = savepoints.back_to(name)?;
        (*bytes, *taken_back) = (bytes_then, rows - rows_then);
        let cut = spool.truncate(*bytes);
        cut.map_err(|error| self.unusable(&error))
    }

    /// The one that was read, of so many rows, is prepared.
    pub(super) fn prepare(&mut self, xid: Xid, transaction: Transaction, rows: u64) {
        let mut kept = std::mem::take(&mut self.reading);
        kept.rows = rows - kept.taken_back;
        kept.savepoints = Savepoints::default();
        self.prepared.insert(xid, (transaction, kept));
    }

    /// The events of the one that was read, of so many rows, which is committed already.
    pub(super) fn take_read(&mut self, rows: u64) -> Result<TakenXa> {
        let mut kept = std::mem::take(&mut self.reading);
        kept.rows = rows - kept.taken_back;
        self.read(kept)
    }

    /// The events of one that is committed now; `None` when it was never read.
    pub(super) fn take(&mut self, xid: &Xid) -> Result<Option<(Transaction, TakenXa)>> {
        let Some((transaction, kept)) = self.prepared.remove(xid) else { return Ok(None) };
        Ok(Some((transaction, self.read(kept)?)))
    }

    fn read(&self, kept: KeptEvents) -> Result<TakenXa> {
        let events = kept.spool.read().map_err(|error| self.unusable(&error))?;
        Ok(TakenXa { events, rows: kept.rows })
    }

    /// One that is rolled back; `None` when it was never read, and then nothing is lost.
    pub(super) fn forget(&mut self, xid: &Xid) -> Option<Transaction> {
        self.prepared.remove(xid).map(|(transaction, _)| transaction)
    }

    /// Where those that are prepared begin.
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
                 {}: {} bytes of {} that are prepared (such as {}), {} bytes of the one at hand",
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
