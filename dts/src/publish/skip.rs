//! How much of the current transaction is published, and how to go on in its middle.

use std::sync::Arc;

use change_event::Action;

use super::tally::{CountedTable, TableCounts, Tally};
use crate::{
    checkpoint::{Accounting, Skip},
    error::{Error, Result},
};

/// Counts the records of a transaction. After a restart in its middle it holds back the records
/// that are already durable, after a check that they are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenTransaction {
    /// What must not be published again; zero after that part.
    skip: Skip,
    records: u64,
    crc: crc32fast::Hasher,
    captured_rows: u64,
    split: u64,
    /// Rows that the decoder gave and the publisher did not take; negative for rows that nobody
    /// gave.
    missed: i64,
    /// The counts of its tables, without what is durable from an earlier run.
    tables: Tally,
}

impl OpenTransaction {
    pub(super) fn resuming(skip: Skip) -> Self {
        Self { skip, ..Self::default() }
    }

    pub(super) fn count_row(&mut self) {
        self.captured_rows += 1;
    }

    /// Counts what became of a row: so many new records.
    pub(super) fn count_records(
        &mut self,
        table: &Arc<CountedTable>,
        records: u64,
        is_split: bool,
    ) {
        self.split += u64::from(is_split);
        if records > 0 {
            let split = u64::from(is_split);
            let counts = TableCounts { read: 1, split, published: records, full_sync: 0 };
            self.tables.add(table, counts);
        }
    }

    /// Counts rows that were given and not taken.
    pub(super) fn count_missed(&mut self, table: Option<&Arc<CountedTable>>, missed: i64) {
        self.missed += missed;
        if let (Some(table), Ok(read)) = (table, u64::try_from(missed)) {
            self.tables.add(table, TableCounts { read, ..TableCounts::default() });
        }
    }

    /// The counts of its tables so far.
    pub(super) fn tables(&self) -> &Tally {
        &self.tables
    }

    /// Whether the next record must be published, because it is not durable already.
    pub(super) fn is_past_skip(&self) -> bool {
        self.records >= self.skip.records
    }

    /// Counts a record of the transaction's `row`, and returns whether to publish it.
    pub(super) fn count_record(
        &mut self,
        row: u64,
        (topic, action, key): (&str, Action, &[u8]),
    ) -> Result<bool> {
        self.records += 1;
        // The row number is a part of the event's id: it must be the same on another server.
        self.crc.update(&row.to_le_bytes());
        self.crc.update(topic.as_bytes());
        self.crc.update(&[action as u8]);
        self.crc.update(key);
        if self.records == self.skip.records && self.crc.clone().finalize() != self.skip.crc {
            return Err(self.mismatch("other rows came than before"));
        }
        Ok(self.records > self.skip.records)
    }

    /// Whether some of its records are durable from an earlier run.
    pub(super) fn is_resumed(&self) -> bool {
        self.skip.records > 0
    }

    /// How many records that are durable from an earlier run came after an earlier state.
    pub(super) fn durable_since(&self, earlier: &Self) -> u64 {
        self.records.min(self.skip.records).saturating_sub(earlier.records)
    }

    /// What was published of the transaction.
    pub(super) fn so_far(&self) -> Skip {
        // While records are held back, only the earlier ones are durable.
        if self.records <= self.skip.records {
            return self.skip;
        }
        Skip { records: self.records, crc: self.crc.clone().finalize() }
    }

    pub(super) fn end(&mut self, rows: u64) -> Result<Accounting> {
        if self.records < self.skip.records {
            return Err(self.mismatch("it ended earlier than before"));
        }
        let counted = Accounting {
            read: rows,
            filtered: rows.saturating_add_signed(-self.missed).saturating_sub(self.captured_rows),
            split: self.split,
            published: self.records,
        };
        let mut tables = std::mem::take(&mut self.tables);
        tables.clear();
        *self = Self { tables, ..Self::default() };
        Ok(counted)
    }

    fn mismatch(&self, how: &str) -> Error {
        Error::refused(
            format!(
                "the transaction that we stopped in, {} records into it, is not the same now: {how}",
                self.skip.records
            ),
            "undo what was changed in [capture] since then; if nothing was, the server's history \
             is another one, or it logged the rows in another order than the earlier server: \
             connect to that one until the transaction is done, or send it again from its first \
             row: `dts position show` says where the transaction begins, `dts position set` goes \
             back there",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDS: [(&str, Action, &[u8]); 4] = [
        ("t", Action::Insert, b"1"),
        ("t", Action::Update, b"1"),
        ("u", Action::Delete, b"2"),
        ("u", Action::Insert, b"3"),
    ];

    fn publish(open: &mut OpenTransaction, records: &[(&str, Action, &[u8])]) -> Result<Vec<bool>> {
        (0..).zip(records).map(|(row, record)| open.count_record(row, *record)).collect()
    }

    #[test]
    fn a_transaction_is_resumed_after_each_of_its_records() {
        for cut in 0..=RECORDS.len() {
            let mut before = OpenTransaction::default();
            publish(&mut before, &RECORDS[..cut]).unwrap();
            let mut after = OpenTransaction::resuming(before.so_far());
            let published = publish(&mut after, &RECORDS).unwrap();
            let expected: Vec<bool> = (0..RECORDS.len()).map(|at| at >= cut).collect();
            assert_eq!(published, expected);
            assert_eq!(after.end(4).unwrap().published, 4);
        }
    }

    #[test]
    fn other_records_than_before_are_refused() {
        let mut before = OpenTransaction::default();
        publish(&mut before, &RECORDS[..3]).unwrap();
        let mut other = OpenTransaction::resuming(before.so_far());
        let mut changed = RECORDS;
        changed[1].2 = b"9";
        assert!(publish(&mut other, &changed).is_err());
        let mut moved = OpenTransaction::resuming(before.so_far());
        let counted: Result<Vec<bool>> =
            (1..).zip(&RECORDS).map(|(row, record)| moved.count_record(row, *record)).collect();
        assert!(counted.is_err(), "the ids would be others");
        let mut short = OpenTransaction::resuming(before.so_far());
        publish(&mut short, &RECORDS[..2]).unwrap();
        assert!(short.end(2).is_err());
    }

    #[test]
    fn a_second_crash_while_skipping_keeps_what_is_durable() {
        let mut before = OpenTransaction::default();
        publish(&mut before, &RECORDS[..3]).unwrap();
        let durable = before.so_far();
        let mut again = OpenTransaction::resuming(durable);
        publish(&mut again, &RECORDS[..1]).unwrap();
        assert_eq!(again.so_far(), durable);
    }

    #[test]
    fn accounts_balance() {
        let mut open = OpenTransaction::default();
        let table = Arc::new(CountedTable { name: "s.t".into(), topic: "t".into() });
        open.count_row();
        open.count_row();
        publish(&mut open, &RECORDS[..3]).unwrap();
        open.count_records(&table, 1, false);
        open.count_records(&table, 2, true);
        assert!(open.tables().iter().all(|(_, counts)| counts.missing() == 0));
        let Accounting { read, filtered, split, published } = open.end(5).unwrap();
        assert_eq!(published, read - filtered + split);
        assert_eq!(open.so_far(), Skip::default());
        assert_eq!(open.tables().iter().count(), 0);
    }

    #[test]
    fn a_row_that_the_publisher_did_not_get_is_missing_in_the_sums_and_in_its_table() {
        let mut open = OpenTransaction::default();
        let table = Arc::new(CountedTable { name: "s.t".into(), topic: "t".into() });
        for missed in [1, -1] {
            open.count_row();
            publish(&mut open, &RECORDS[..1]).unwrap();
            open.count_records(&table, 1, false);
            open.count_missed(Some(&table), missed);
            let of_table: Vec<i64> = open.tables().iter().map(|(_, it)| it.missing()).collect();
            let counted = open.end(5_u64.saturating_add_signed(missed)).unwrap();
            assert_eq!((counted.filtered, counted.missing()), (4, missed));
            assert_eq!(of_table, [missed.max(0)]);
        }
    }
}
