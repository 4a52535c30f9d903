//! The current transaction while its rows may still be rolled back.
//!
//! A MariaDB logs a rolled-back transaction with all its rows, if that changed a table that is
//! temporary or has no transactions. ROLLBACK TO a savepoint is logged in the same way. After a
//! crash a transaction may have no end. Nothing before the end shows any of this. So no row of a
//! MariaDB's transaction is appended before the transaction's end was read: either while the rows
//! are in the batch; or, if the batch is too small, by reading ahead ([`Fate`]). A MySQL removes
//! such rows before it logs anything.

use binlog::{FilePosition, Gtid, GtidSet, SavepointName, TransactionEnd};
use event_bus::Batch;
use tracing::warn;

use super::{
    super::{
        append::{AppendPace, Appender},
        savepoints::Savepoints,
    },
    MAX_BATCH_BYTES, StreamReader,
    fate::Fate,
};
use crate::{
    checkpoint::Skip,
    error::{Error, Result},
    publish::RowMark,
    status::Status,
};

/// What is known about the current transaction.
#[derive(Default)]
pub(super) struct OpenState {
    /// The place before the first row that is not appended; `None` between transactions.
    floor: Option<Place>,
    /// Whether rows before that place were appended.
    has_left: bool,
    /// Whether some or all of its rows may be rolled back.
    is_unsure: bool,
    savepoints: Savepoints<Place>,
    /// Its fate, if that was read ahead.
    fate: Option<Fate>,
    /// The number of its events so far, counted as [`Fate`] does.
    number: u64,
    /// Rows that were rolled back.
    taken_back: u64,
}

/// A place between two rows of the transaction.
#[derive(Clone)]
struct Place {
    mark: RowMark,
    /// The rows before it, without those that were rolled back.
    rows: u64,
    /// The number of the next event.
    number: u64,
}

impl OpenState {
    /// The next event has rows, or is SAVEPOINT or ROLLBACK TO. Returns whether its rows were
    /// rolled back.
    pub(super) fn count(&mut self) -> bool {
        let number = self.number;
        self.number += 1;
        self.fate.as_ref().is_some_and(|fate| fate.is_undone(number))
    }

    /// This many rows were read that do not count.
    pub(super) fn took_back(&mut self, rows: u64) {
        self.taken_back += rows;
    }

    /// The place before the rows that must not be appended yet.
    fn waits_from(&self) -> Option<&Place> {
        self.floor.as_ref().filter(|_| self.is_unsure && self.fate.is_none())
    }

    /// Up to where its rows are handed over with the batch; `None` for all of them.
    pub(super) fn handed_up_to(&self) -> Option<&RowMark> {
        self.waits_from().map(|place| &place.mark)
    }

    /// What is published of the transaction, if only rows are appended that may be.
    pub(super) fn so_far(&self) -> Option<Skip> {
        self.waits_from().map(|place| place.mark.so_far())
    }

    /// The place before an event, if it is possible to go back there.
    fn place_of(&mut self, number: u64) -> Result<Place> {
        let mut places = self.savepoints.values().chain(&mut self.floor);
        let found = places.find(|place| place.number == number).cloned();
        found.ok_or_else(|| Error::Internal("a savepoint was read ahead only".to_owned()))
    }

    /// The transaction is over. Returns how many of its rows were rolled back.
    pub(super) fn end(&mut self) -> u64 {
        std::mem::take(self).taken_back
    }
}

impl StreamReader {
    /// A transaction begins.
    pub(super) fn begin(&mut self) {
        let is_mariadb = matches!(self.decoder.transaction().gtid, Some(Gtid::Mariadb(_)));
        self.open = OpenState { is_unsure: is_mariadb, ..OpenState::default() };
        self.open.floor = Some(self.place());
    }

    /// A transaction begins that is known to be committed.
    pub(super) fn begin_committed(&mut self) {
        self.open = OpenState { floor: Some(self.place()), ..OpenState::default() };
    }

    fn place(&self) -> Place {
        Place {
            mark: self.publisher.mark(&self.batch),
            rows: self.decoder.rows() - self.open.taken_back,
            number: self.open.number,
        }
    }

    /// The batch is appended: rows that must not be appended yet stay in the next batch.
    pub(super) fn keep_back(&mut self, next: &mut Batch) {
        let floor = self.open.floor.clone();
        let Some(Place { mark, .. }) = floor else { return };
        if self.open.waits_from().is_some() {
            self.batch.split_off(mark.batch, next);
            let places = self.open.savepoints.values().chain(&mut self.open.floor);
            places.for_each(|place| place.mark.batch = place.mark.batch.since(mark.batch));
        } else {
            let mut place = self.place();
            self.open.has_left |= self.batch.end() != mark.batch;
            place.mark.batch = next.end();
            self.open.floor = Some(place);
            self.open.savepoints = Savepoints::default();
        }
    }

    /// Whether the transaction must be read ahead before anything else.
    pub(super) fn needs_fate(&self) -> bool {
        let Some(place) = self.open.waits_from() else { return false };
        let waiting = self.batch.bytes() - place.mark.batch.bytes();
        self.decoder.is_in_body()
            && self.repeated != Some(true)
            && (waiting >= MAX_BATCH_BYTES || self.publisher.is_resumed())
    }

    /// Reads ahead which rows of the transaction count. Whole transactions are made durable first,
    /// because reading ahead may take a while.
    pub(super) async fn read_ahead(
        &mut self,
        appender: &mut Appender,
        status: &Status,
    ) -> Result<()> {
        while self.idle.is_none() || self.timing.idle_until().is_some() {
            if self.idle.is_some() {
                self.hand_over(appender, AppendPace::Settle);
            }
            let done = appender.done().await?;
            self.finished(done, status);
        }
        let transaction = self.decoder.transaction().clone();
        let fate = Fate::read(&self.source, &transaction, || status.event_came()).await;
        let fate = fate.map_err(|error| self.with_place(error))?;
        let part = fate.part_around(self.open.number);
        let place = part.map(|first| self.open.place_of(first)).transpose()?;
        let end = fate.end.clone();
        if fate.is_whole() && self.publisher.is_resumed() {
            return Err(self.too_late(end.as_ref()));
        }
        self.open.fate = Some(fate);
        self.open.savepoints = Savepoints::default();
        place.map_or(Ok(()), |place| self.go_back(&place, end.as_ref()))
    }

    pub(super) fn savepoint(&mut self, name: SavepointName) {
        let place = self.place();
        self.open.count();
        if self.open.fate.is_none() {
            self.open.savepoints.set(name, place);
        }
    }

    pub(super) fn back_to(&mut self, name: &SavepointName) -> Result<()> {
        self.open.count();
        if self.open.fate.is_some() || self.repeated == Some(true) {
            return Ok(());
        }
        let place = self.open.savepoints.back_to(name)?;
        self.go_back(&place, None)
    }

    /// The transaction was rolled back.
    pub(super) fn roll_back(&mut self, end: &TransactionEnd) -> Result<()> {
        if !self.is_repeated(end) {
            self.forget(Some(&end.end))?;
            if let (Some(gtid), Some(gtids)) = (&end.gtid, &mut self.saved.position.gtids) {
                gtids.add(gtid);
            }
        }
        self.open.end();
        self.move_on();
        Ok(())
    }

    /// The transaction has no end: the server crashed while it wrote the transaction.
    pub(super) fn tear_off(&mut self) -> Result<()> {
        self.repeated = None;
        let transaction = self.decoder.transaction();
        let gtid = transaction.gtid.as_ref().map(tracing::field::display);
        let FilePosition { file, pos } = &transaction.start;
        warn!(gtid, %file, pos, "a transaction breaks off in the binlog, because the server \
            crashed while it wrote it: nothing of it was committed, and nothing is published");
        self.forget(None)?;
        self.move_on();
        Ok(())
    }

    /// None of the transaction's rows counts.
    fn forget(&mut self, end: Option<&FilePosition>) -> Result<()> {
        if self.open.has_left {
            return Err(self.too_late(end));
        }
        if let Some(floor) = self.open.floor.clone() {
            self.go_back(&floor, end)?;
        }
        self.publisher.drop_transaction();
        self.held.begin();
        self.touching.end();
        self.saved.open = None;
        self.open.end();
        Ok(())
    }

    fn go_back(&mut self, place: &Place, end: Option<&FilePosition>) -> Result<()> {
        self.open.taken_back = self.decoder.rows() - place.rows;
        match self.publisher.go_back(&place.mark, &mut self.batch) {
            0 => Ok(()),
            _ => Err(self.too_late(end)),
        }
    }

    /// Removes the current transaction from the batch.
    pub(super) fn leave_out_open(&mut self) {
        if let Some(floor) = self.open.floor.take() {
            self.publisher.go_back(&floor.mark, &mut self.batch);
        }
    }

    /// The tables for which records of the transaction are published.
    fn published_tables(&self) -> Vec<String> {
        let mut tables: Vec<String> = self.touching.tables().map(str::to_owned).collect();
        if let Some(gtid) = &self.decoder.transaction().gtid
            && tables.is_empty()
        {
            let mut open = GtidSet::default();
            open.add(gtid);
            tables = self.saved.touched.tables_of(&open).names;
        }
        if tables.is_empty() { vec!["all captured tables".to_owned()] } else { tables }
    }

    /// Rows were rolled back, and their records are already durable.
    fn too_late(&self, end: Option<&FilePosition>) -> Error {
        let transaction = self.decoder.transaction();
        let gtid = transaction.gtid.as_ref().map(|gtid| format!(" ({gtid})")).unwrap_or_default();
        let FilePosition { file, pos } = &transaction.start;
        let start = match end {
            Some(FilePosition { file, pos }) => {
                format!("`dts position set --file {file} --pos {pos}`")
            }
            None => "`dts position set`; SHOW BINLOG EVENTS shows that end".to_owned(),
        };
        let tables = self.published_tables().join(", ");
        Error::refused(
            format!(
                "the server rolled back the transaction at {file}:{pos}{gtid}, or a part of it, \
                 but dts has already published rows that were rolled back"
            ),
            format!(
                "begin after the end of the transaction ({start}), and send the tables that the \
                 transaction changed ({tables}) again with a full sync"
            ),
        )
    }
}
