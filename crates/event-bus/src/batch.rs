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
    records: Vec<Span>,
}

#[derive(Debug)]
struct Span {
    topic: Arc<str>,
    headers: Option<Headers>,
    key: Range<usize>,
    value: Range<usize>,
}

/// One record of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The topic's full, escaped name.
    pub topic: &'a str,
    /// Records with equal keys keep their order.
    pub key: &'a [u8],
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
        self.records.push(Span { topic, headers, key, value });
    }

    /// Adds a record by copying its parts: for tests and rare records.
    pub fn push_copy(&mut self, topic: &str, key: &[u8], value: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(key);
        let middle = self.buffer.len();
        self.buffer.extend_from_slice(value);
        self.push(topic.into(), None, start..middle, middle..self.buffer.len());
    }

    /// The records, in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        self.records.iter().map(|span| Record {
            topic: &span.topic,
            key: &self.buffer[span.key.clone()],
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
