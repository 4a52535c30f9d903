//! XA transactions in the stream: held from XA PREPARE on, published at XA COMMIT with the ids of
//! the prepare.
//!
//! Until then the prepare counts as not read: its GTID stays out of the saved set, so that a server
//! sends the transaction again. The checkpoint names where each transaction begins. A server that
//! is asked by file is asked from the first of these places on, and published transactions are
//! skipped. A MariaDB is asked by file as long as a transaction is open, because its positions have
//! no gaps.

use std::{
    cmp::Ordering,
    time::{Duration, UNIX_EPOCH},
};

use binlog::{Gtid, RawEvent, Step, Transaction, TransactionEnd, XaOutcome, Xid, file_number};
use tracing::warn;

use super::{
    super::{held::TakenXa, spool::At},
    MAX_BATCH_BYTES, StreamReader,
    seam::{SeamCounts, compare},
};
use crate::{
    checkpoint::{BinlogPlace, Saved, SourcePosition},
    error::{Error, Result},
};

/// A transaction that was prepared earlier and is published now.
pub(super) struct Replay {
    taken: TakenXa,
    prepared_as: Option<Gtid>,
    end: TransactionEnd,
}

/// The state while events before the saved position are read once more.
pub(super) struct CatchUp {
    until: (String, u64),
    /// The transactions in there that are not skipped: XA transactions that are prepared and open.
    prepared: Vec<BinlogPlace>,
}

impl CatchUp {
    /// What must be read again if a stream begins at `from`; `None` if nothing.
    pub(super) fn of(saved: &Saved, from: &SourcePosition) -> Option<Self> {
        let order = |position: &SourcePosition| (file_number(&position.file), position.pos);
        let applies = from.gtids.is_none() && order(from) < order(&saved.position);
        applies.then(|| Self {
            until: (saved.position.file.clone(), saved.position.pos),
            prepared: saved.prepared.clone(),
        })
    }
}

impl StreamReader {
    /// Keeps the event that was decoded, after this many rows, if it is a captured row event of an
    /// XA transaction; leaves out rows that were rolled back.
    pub(super) fn hold(&mut self, event: &RawEvent<'_>, step: &Step, row: u64) -> Result<()> {
        match step {
            Step::Savepoint(name) => self.held.savepoint(name.clone(), row),
            Step::BackTo(name) => self.held.back_to(name, row)?,
            _ if event.has_row_data() && self.decoder.captures(event) => {
                let at = At { pos: self.decoder.event_start(), row };
                self.held.keep(event, at)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A group of an XA transaction ended.
    pub(super) fn settle_xa(&mut self, outcome: XaOutcome, end: TransactionEnd) -> Result<()> {
        self.open.end();
        if self.was_read(end.gtid.as_ref()) {
            self.held.begin();
            self.move_on();
            return Ok(());
        }
        match outcome {
            XaOutcome::Prepared(xid) => {
                self.held.prepare(xid, self.decoder.transaction().clone(), end.rows);
                self.note_prepared();
                self.move_on();
            }
            XaOutcome::CommittedAtOnce => {
                let taken = self.held.take_read(end.rows)?;
                self.replay(self.decoder.transaction().clone(), taken, end);
            }
            XaOutcome::Committed(xid) => match self.held.take(&xid)? {
                Some((transaction, taken)) => self.replay(transaction, taken, end),
                None if self.saved.lost_prepared => return Err(never_read(&xid, &end)),
                None => self.skip_unread(&xid, end),
            },
            XaOutcome::RolledBack(xid) => {
                let prepared_as = self.held.forget(&xid).and_then(|prepared| prepared.gtid);
                self.add_gtids([prepared_as, end.gtid]);
                self.note_prepared();
                self.move_on();
            }
        }
        Ok(())
    }

    /// A transaction is committed that was prepared before the place that we were started at.
    fn skip_unread(&mut self, xid: &Xid, end: TransactionEnd) {
        let gtid = end.gtid.as_ref().map(tracing::field::display);
        let (file, pos) = (&end.end.file, end.end.pos);
        warn!(
            %xid, gtid, %file, pos,
            "an XA transaction was committed, but dts began to read after its XA PREPARE: its rows \
             are not known, and are not published; if it changed captured tables, send these again \
             with a full sync"
        );
        self.add_gtids([None, end.gtid]);
        self.move_on();
    }

    fn replay(&mut self, transaction: Transaction, taken: TakenXa, end: TransactionEnd) {
        let prepared_as = transaction.gtid.clone();
        self.decoder.reopen(Transaction { commit_micros: end.commit_micros, ..transaction });
        self.begin_committed();
        self.replay = Some(Replay { taken, prepared_as, end });
    }

    /// Publishes the held rows of the committed transaction, as far as there is room.
    pub(super) fn replay_some(&mut self) -> Result<()> {
        while self.batch.bytes() < MAX_BATCH_BYTES
            && let Some(replay) = &mut self.replay
        {
            let event = replay.taken.events.next().map_err(|error| {
                Error::Internal(format!(
                    "the kept rows of an XA transaction cannot be read: {error}"
                ))
            })?;
            let Some((event, At { pos, row })) = event else {
                self.finish_replay()?;
                break;
            };
            let commit = replay.end.gtid.as_ref();
            let before = SeamCounts::of(&self.decoder, &self.publisher);
            let Self { decoder, publisher, touching, batch, .. } = self;
            decoder.decode_again((&event, pos, row), &mut |change| {
                touching.row(commit, change.table);
                publisher.publish(change, batch)
            })?;
            let found = compare(decoder, publisher, &event, (before, 0));
            self.note(found);
        }
        Ok(())
    }

    fn finish_replay(&mut self) -> Result<()> {
        let Some(Replay { taken, prepared_as, end }) = self.replay.take() else { return Ok(()) };
        self.decoder.close_again();
        self.open.end();
        self.saved.accounting += self.publisher.end_transaction(taken.rows)?;
        self.note_touched();
        self.add_gtids([prepared_as, end.gtid]);
        self.note_prepared();
        self.newest_commit = Some(UNIX_EPOCH + Duration::from_micros(end.commit_micros));
        self.move_on();
        Ok(())
    }

    /// An XA transaction is done: adds the GTIDs of its prepare and of its end.
    fn add_gtids(&mut self, read: [Option<Gtid>; 2]) {
        let Some(gtids) = &mut self.saved.position.gtids else { return };
        let [prepared_as, end] = read;
        // The position of a MariaDB is already after it, unless it was the last of its domain.
        if let Some(prepared_as) = prepared_as.filter(|gtid| !gtids.contains(gtid)) {
            gtids.add(&prepared_as);
        }
        end.iter().for_each(|gtid| gtids.add(gtid));
    }

    fn note_prepared(&mut self) {
        self.saved.prepared = self.held.places();
    }

    /// An event before the saved position: only prepared transactions count.
    pub(super) fn catch_up(&mut self, event: &RawEvent<'_>) -> Result<()> {
        let Some(CatchUp { prepared, .. }) = &self.catching_up else { return Ok(()) };
        let start = &self.decoder.transaction().start;
        let is_listed =
            prepared.iter().any(|place| *place.file == *start.file && place.pos == start.pos);
        let (is_held, row) = (is_listed && self.decoder.is_in_xa(), self.decoder.rows());
        let definitions = self.decoder.definitions();
        let step = self.decoder.decode(event, &mut |_| Ok::<_, Error>(()))?;
        if let Some(types) = &mut self.types
            && self.decoder.definitions() != definitions
        {
            types.passed(self.decoder.definition());
        }
        if is_held {
            self.hold(event, &step, row)?;
        } else if self.decoder.is_in_xa() {
            self.held.begin();
        }
        if let Step::Xa(XaOutcome::Prepared(xid), end) = step
            && is_held
        {
            self.held.prepare(xid, self.decoder.transaction().clone(), end.rows);
        }
        self.arrive()
    }

    /// Notices when the saved position is reached.
    fn arrive(&mut self) -> Result<()> {
        let Some(CatchUp { until: (file, pos), .. }) = &self.catching_up else { return Ok(()) };
        let now = self.decoder.position();
        match (file_number(&now.file), now.pos).cmp(&(file_number(file), *pos)) {
            Ordering::Less => {}
            // All events in a compressed transaction end where the transaction does.
            Ordering::Equal if self.decoder.is_in_group() => {}
            Ordering::Equal => self.catching_up = None,
            Ordering::Greater => {
                return Err(Error::Internal(format!("no transaction ends at {file}:{pos}")));
            }
        }
        Ok(())
    }
}

fn never_read(xid: &Xid, end: &TransactionEnd) -> Error {
    let gtid = end.gtid.as_ref().map(|gtid| format!(", transaction {gtid},")).unwrap_or_default();
    let (file, pos) = (&end.end.file, end.end.pos);
    Error::refused(
        format!(
            "XA COMMIT {xid}{gtid} before {file}:{pos} commits rows that dts does not have: dts \
             read the XA PREPARE from the earlier server, and this server does not send that XA \
             PREPARE again"
        ),
        format!(
            "start before that XA PREPARE (`dts position set --gtid …`); or start after this \
             commit (`dts position set --file {file} --pos {pos}`), and send the tables that the \
             transaction changed again with a full sync"
        ),
    )
}
