//! A batch of records to append, in one reused buffer.

use std::{ops::Range, sync::Arc};

/// The headers of a record: enough to skip it without parsing. Shared, for most records of a table
/// have the same.
pub type Headers = Arc<[(String, String)]>;

/// Records that are appended together, atomically, in this order.
///
/// Keys and values are written straight into [`Batch::buffer`] and then named by their ranges, so
/// a cleared batch takes the next records without allocating. A key may lie inside its value.
#[derive(Debug, Default)]
pub struct Batch {
    buffer: Vec<u8>,
    records: Vec<RecordSpan>,
}

#[derive(Debug)]
struct RecordSpan {
    topic: Arc<str>,
    headers: Option<Headers>,
    key: Range<usize>,
    value: Range<usize>,
    /// Where that is not the key.
    order: Option<Box<[u8]>>,
}

/// A place in a batch, between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchMark {
    records: usize,
    bytes: usize,
}

impl BatchMark {
    /// Bytes of the keys and values before it.
    pub fn bytes(self) -> usize {
        self.bytes
    }

    /// Where it stands in the batch that [`Batch::split_off`] filled from `start` on.
    #[must_use]
    pub fn since(self, start: Self) -> Self {
        Self { records: self.records - start.records, bytes: self.bytes - start.bytes }
    }
}

/// One record of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The topic's full, escaped name.
    pub topic: &'a str,
    /// What consumers get as the key.
    pub key: &'a [u8],
    /// Records in which this is equal keep their order: the key, for most.
    pub order: &'a [u8],
    /// The bytes that consumers get.
    pub value: &'a [u8],
    /// Empty for most.
    pub headers: &'a [(String, String)],
}

impl Batch {
    /// Where the next key and value are written, at the end.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Adds a record whose key and value stand in the buffer.
    ///
    /// # Panics
    ///
    /// When a range does not lie in the buffer.
    pub fn push(
        &mut self,
        topic: Arc<str>,
        headers: Option<Headers>,
        key: Range<usize>,
        value: Range<usize>,
    ) {
        assert!(key.end <= self.buffer.len() && value.end <= self.buffer.len());
        self.records.push(RecordSpan { topic, headers, key, value, order: None });
    }

    /// Has the record that was added last keep its order with those of these bytes, and not only
    /// with those of its own key.
    pub fn order_last(&mut self, order: Vec<u8>) {
        if let Some(last) = self.records.last_mut() {
            last.order = Some(order.into());
        }
    }

    /// Adds a record by copying its parts: for tests and rare records.
    pub fn push_copy(&mut self, topic: &str, key: &[u8], value: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(key);
        let middle = self.buffer.len();
        self.buffer.extend_from_slice(value);
        self.push(topic.into(), None, start..middle, middle..self.buffer.len());
    }

    /// Where the next record would stand.
    pub fn end(&self) -> BatchMark {
        BatchMark { records: self.records.len(), bytes: self.buffer.len() }
    }

    /// Takes away what was added since a mark was the end.
    pub fn truncate(&mut self, mark: BatchMark) {
        self.records.truncate(mark.records);
        self.buffer.truncate(mark.bytes);
    }

    /// Moves what was added since a mark was the end into an empty batch.
    pub fn split_off(&mut self, mark: BatchMark, rest: &mut Self) {
        rest.buffer.extend_from_slice(&self.buffer[mark.bytes..]);
        let back = |range: Range<usize>| range.start - mark.bytes..range.end - mark.bytes;
        let moved = self.records.drain(mark.records..);
        rest.records.extend(moved.map(|span| RecordSpan {
            key: back(span.key),
            value: back(span.value),
            ..span
        }));
        self.buffer.truncate(mark.bytes);
    }

    /// The records, in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        self.records.iter().map(|span| Record {
            topic: &span.topic,
            key: &self.buffer[span.key.clone()],
            order: span.order.as_deref().unwrap_or(&self.buffer[span.key.clone()]),
            value: &self.buffer[span.value.clone()],
            headers: span.headers.as_deref().unwrap_or_default(),
        })
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Empties it, and gives memory back that only an unusually large batch needed.
    pub fn clear(&mut self) {
        const MAX_KEPT_BYTES: usize = 4 << 20;
        self.records.clear();
        self.buffer.clear();
        self.buffer.shrink_to(MAX_KEPT_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(batch: &Batch) -> Vec<(&[u8], &[u8])> {
        batch.records().map(|record| (record.key, record.value)).collect()
    }

    #[test]
    fn what_keeps_its_order_by_other_bytes_is_moved_with_them() {
        let mut batch = Batch::default();
        batch.push_copy("t", b"A", b"one");
        let first = batch.end();
        batch.push_copy("t", b"B", b"two");
        batch.order_last(b"b".to_vec());
        let mut rest = Batch::default();
        batch.split_off(first, &mut rest);
        let order = |batch: &Batch| batch.records().next().map(|record| record.order.to_vec());
        assert_eq!((order(&batch), order(&rest)), (Some(b"A".to_vec()), Some(b"b".to_vec())));
    }

    #[test]
    fn what_was_added_last_is_taken_away_or_moved() {
        let mut batch = Batch::default();
        batch.push_copy("t", b"1", b"one");
        let first = batch.end();
        batch.push_copy("t", b"2", b"two");
        let second = batch.end();
        batch.push_copy("u", b"3", b"three");
        batch.truncate(second);
        batch.push_copy("u", b"4", b"four");
        assert_eq!(batch.bytes(), 4 + 4 + 5);
        let mut rest = Batch::default();
        batch.split_off(first, &mut rest);
        assert_eq!(values(&batch), [(&b"1"[..], &b"one"[..])]);
        assert_eq!(values(&rest), [(&b"2"[..], &b"two"[..]), (b"4", b"four")]);
        rest.truncate(second.since(first));
        assert_eq!(values(&rest), [(&b"2"[..], &b"two"[..])]);
        assert_eq!((batch.bytes(), rest.bytes()), (4, 4));
    }
}
