//! Writes change events in the native format, straight into a buffer.
//!
//! What is the same for a table or a transaction is escaped once and kept as text
//! ([`TableText`], [`TransactionText`]), so that an event costs copies and its values, and no
//! allocation once the buffer has grown.

use std::ops::Range;

use crate::{Action, Source, json};

/// The part of an event that names its table.
#[derive(Clone, Debug)]
pub struct TableText(pub(crate) Box<[u8]>);

impl TableText {
    /// Of a table.
    pub fn new(schema: &str, table: &str) -> Self {
        let mut text = b"\",\"Schema\":".to_vec();
        json::write_str(&mut text, schema);
        text.extend_from_slice(b",\"TableName\":");
        json::write_str(&mut text, table);
        text.extend_from_slice(b",\"Action\":\"");
        Self(text.into())
    }
}

/// The parts of an event that are the same for every row of a transaction.
#[derive(Clone, Debug, Default)]
pub struct TransactionText {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl TransactionText {
    /// Takes the parts of a transaction, in place of those of the last one.
    ///
    /// `id` is what all ids of its rows begin with, before `#`: the GTID, or server, file and
    /// position. `commit_millis` is the commit time in milliseconds since 1970. Of `source`, the
    /// position and the row are not used: they belong to each event.
    pub fn set(&mut self, id: &str, commit_millis: u64, source: &Source<'_>) {
        self.head.clear();
        self.head.extend_from_slice(b"{\"EvId\":\"");
        json::write_escaped(&mut self.head, id);
        self.head.push(b'#');
        let tail = &mut self.tail;
        tail.clear();
        tail.extend_from_slice(b",\"Origin\":\"binlog\",\"Ts\":");
        json::write_u64(tail, commit_millis);
        tail.extend_from_slice(b",\"Source\":{\"serverId\":");
        json::write_u64(tail, source.server_id.into());
        if let Some(gtid) = &source.gtid {
            tail.extend_from_slice(b",\"gtid\":");
            json::write_str(tail, gtid);
        }
        tail.extend_from_slice(b",\"file\":");
        json::write_str(tail, &source.file);
        tail.extend_from_slice(b",\"pos\":");
    }
}

/// Which part of a row change an event is: its id ends so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdPart {
    /// All of it.
    Whole,
    /// The delete of the old key, where an update changed the key: `d`.
    OldKey,
    /// The insert of the new key: `i`.
    NewKey,
}

/// One event while it is written: [`begin`](Self::begin), then [`key`](Self::key),
/// [`data`](Self::data), perhaps [`old`](Self::old), [`oversized`](Self::oversized) or
/// [`absent`](Self::absent), and [`finish`](Self::finish).
#[derive(Debug)]
pub struct EventWriter<'a> {
    out: &'a mut Vec<u8>,
    transaction: &'a TransactionText,
    row: u64,
}

impl<'a> EventWriter<'a> {
    /// Begins an event at the end of `out`. `row` counts the row changes of the transaction.
    pub fn begin(
        out: &'a mut Vec<u8>,
        transaction: &'a TransactionText,
        table: &TableText,
        (row, part, action): (u64, IdPart, Action),
    ) -> Self {
        out.extend_from_slice(&transaction.head);
        json::write_u64(out, row);
        match part {
            IdPart::Whole => {}
            IdPart::OldKey => out.push(b'd'),
            IdPart::NewKey => out.push(b'i'),
        }
        out.extend_from_slice(&table.0);
        out.extend_from_slice(action.as_str().as_bytes());
        Self { out, transaction, row }
    }

    /// Writes the key's columns. Gives the range of the object in the buffer: the canonical JSON
    /// of the key, which serves as the record's key.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub fn key<E>(
        &mut self,
        write: impl FnOnce(&mut ObjectWriter<'_>) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        self.object(b"\",\"PK\":", write)
    }

    /// Writes the row: as it is after the change, or for a delete before it. Gives the range of the
    /// object in the buffer.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub fn data<E>(
        &mut self,
        write: impl FnOnce(&mut ObjectWriter<'_>) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        self.object(b",\"Data\":", write)
    }

    /// Writes what the changed columns held before an update.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub fn old<E>(
        &mut self,
        write: impl FnOnce(&mut ObjectWriter<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.object(b",\"Old\":", write).map(drop)
    }

    /// Writes how many bytes the whole event would have had, where only the key is in it.
    pub fn oversized(&mut self, bytes: usize) {
        self.out.extend_from_slice(b",\"Oversized\":");
        json::write_u64(self.out, bytes as u64);
    }

    /// Writes which columns are not in the event though they may have changed: their names as JSON
    /// strings. Writes nothing where there are none.
    pub fn absent<'n>(&mut self, names: impl Iterator<Item = &'n [u8]>) {
        let mut before: &[u8] = b",\"Absent\":[";
        for name in names {
            self.out.extend_from_slice(before);
            self.out.extend_from_slice(name);
            before = b",";
        }
        if before == b"," {
            self.out.push(b']');
        }
    }

    /// Ends the event, which is number `seq`, of a row whose binlog event begins at `pos`.
    pub fn finish(self, seq: u64, pos: u64) {
        self.out.extend_from_slice(b",\"Seq\":");
        json::write_u64(self.out, seq);
        self.out.extend_from_slice(&self.transaction.tail);
        json::write_u64(self.out, pos);
        self.out.extend_from_slice(b",\"row\":");
        json::write_u64(self.out, self.row);
        self.out.extend_from_slice(b"}}");
    }

    fn object<E>(
        &mut self,
        name: &[u8],
        write: impl FnOnce(&mut ObjectWriter<'_>) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        self.out.extend_from_slice(name);
        ObjectWriter::whole(self.out, write)
    }
}

/// Writes the members of an object.
#[derive(Debug)]
pub struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl ObjectWriter<'_> {
    /// Appends an object, and gives its range in the buffer.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub fn whole<E>(
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut ObjectWriter<'_>) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        let start = out.len();
        out.push(b'{');
        write(&mut ObjectWriter { out, empty: true })?;
        out.push(b'}');
        Ok(start..out.len())
    }

    /// Adds a member: its key as `"name":`, escaped already, and a value that `write` appends.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    #[inline]
    pub fn member<E>(
        &mut self,
        json_key: &[u8],
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.extend_from_slice(json_key);
        write(self.out)
    }
}
