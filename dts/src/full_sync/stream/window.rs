//! The changes that the stream brought to rows while these were read from their table.
//!
//! A window is open from the moment that a read is asked for until its rows are merged into the
//! stream. A row that changed in this time is sent as its last change left the row: the listener
//! may have got none of its changes, because `actions` and `columns` choose among them. A change
//! counts from the end of its transaction, since the server may roll it back.

use std::{collections::HashMap, sync::Arc};

use xxhash_rust::xxh3::xxh3_128;

/// A window remembers this many keys. When more changed, the stream has gone far beyond the read.
const MAX_TOUCHED: usize = 200_000;

/// All windows together keep this many bytes of rows, or two of the largest row.
const MAX_KEPT_BYTES: usize = 16 << 20;

/// A key, by its hash: it has enough bits that two keys never have the same.
type KeyHash = u128;

/// The hash of a record's key.
fn key_hash(key: &[u8]) -> KeyHash {
    xxh3_128(key)
}

/// What the stream did to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// The row was deleted.
    Gone,
    /// The row is now this: its columns, a JSON object.
    Row(Arc<[u8]>),
    /// The row's event would have this many bytes, so only the key may be published.
    Oversized(usize),
    /// The server did not log all columns: the row must be read again.
    Partial,
}

impl Touch {
    fn bytes(&self) -> usize {
        match self {
            Self::Row(data) => data.len(),
            Self::Gone | Self::Oversized(_) | Self::Partial => 0,
        }
    }
}

/// The windows that are open.
#[derive(Debug, Default)]
pub struct Windows {
    open: Vec<Window>,
    opened: u64,
    largest_row: usize,
    /// The changes of the current transaction, while a window is open.
    noted: Vec<NotedTouch>,
    /// The bytes of rows in these changes.
    noted_bytes: usize,
}

/// A change of a transaction that has not ended.
#[derive(Debug)]
struct NotedTouch {
    window: WindowId,
    hash: KeyHash,
    /// `None` for a row that came again, in a table without a key.
    touch: Option<Touch>,
}

/// Identifies a window; each window has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowId(u64);

#[derive(Debug)]
struct Window {
    id: WindowId,
    schema: String,
    table: String,
    touched: HashMap<KeyHash, Touch>,
    /// The bytes of rows that the window keeps.
    kept: usize,
    is_overrun: bool,
}

impl Windows {
    /// Opens a window over a table.
    pub fn open(&mut self, schema: &str, table: &str) -> WindowId {
        self.opened += 1;
        let id = WindowId(self.opened);
        self.open.push(Window {
            id,
            schema: schema.to_owned(),
            table: table.to_owned(),
            touched: HashMap::new(),
            kept: 0,
            is_overrun: false,
        });
        id
    }

    /// Whether more changed than a window remembers: then the rows that were read cannot be used.
    pub fn is_overrun(&self, id: WindowId) -> bool {
        self.open.iter().any(|window| window.id == id && window.is_overrun)
    }

    /// Closes a window, if it is open.
    pub fn close(&mut self, id: WindowId) {
        self.open.retain(|window| window.id != id);
    }

    /// What the stream did to a key since the window was opened.
    pub fn touch(&self, id: WindowId, key: &[u8]) -> Option<Touch> {
        let window = self.open.iter().find(|window| window.id == id)?;
        if window.touched.is_empty() {
            return None;
        }
        window.touched.get(&key_hash(key)).cloned()
    }

    /// Whether a window is open over this table.
    pub(crate) fn watch(&self, schema: &str, table: &str) -> bool {
        self.open.iter().any(|window| window.is_over(schema, table))
    }

    /// The stream passed a change of a row with this key.
    pub(crate) fn note(&mut self, names: (&str, &str), key: &[u8], touch: Touch) {
        self.keep(names, key, Some(touch));
    }

    /// The stream passed a row of a table without a key: if a read has this row, the row is
    /// again as it was read.
    pub(crate) fn came(&mut self, names: (&str, &str), key: &[u8]) {
        self.keep(names, key, None);
    }

    fn keep(&mut self, (schema, table): (&str, &str), key: &[u8], touch: Option<Touch>) {
        let (hash, bytes) = (key_hash(key), touch.as_ref().map_or(0, Touch::bytes));
        self.largest_row = self.largest_row.max(bytes);
        for window in self.open.iter().filter(|window| window.is_over(schema, table)) {
            self.noted_bytes += bytes;
            self.noted.push(NotedTouch { window: window.id, hash, touch: touch.clone() });
        }
        if self.noted.len() > MAX_TOUCHED || self.noted_bytes > self.most_bytes() {
            self.overrun_noted();
        }
    }

    /// How many changes of the current transaction are noted.
    pub(crate) fn noted(&self) -> usize {
        self.noted.len()
    }

    /// The server rolled back all changes after the first `since`.
    pub(crate) fn forget_noted(&mut self, since: usize) {
        let forgotten = self.noted.drain(since.min(self.noted.len())..);
        let bytes = forgotten.filter_map(|noted| noted.touch).map(|touch| touch.bytes());
        self.noted_bytes -= bytes.sum::<usize>();
    }

    /// The current transaction ended: its changes count.
    pub(crate) fn settle(&mut self) {
        self.noted_bytes = 0;
        for NotedTouch { window, hash, touch } in std::mem::take(&mut self.noted) {
            let window = self.open.iter_mut().find(|open| open.id == window);
            match (window, touch) {
                (Some(window), Some(touch)) => window.note(hash, touch),
                (Some(window), None) => window.forget(hash),
                (None, _) => {}
            }
        }
        let most = self.most_bytes();
        while self.open.iter().map(|window| window.kept).sum::<usize>() > most {
            let largest = self.open.iter_mut().max_by_key(|window| window.kept);
            largest.into_iter().for_each(Window::overrun);
        }
    }

    /// There are more changes than can be noted: the windows for them cannot be used any more.
    fn overrun_noted(&mut self) {
        for NotedTouch { window, .. } in std::mem::take(&mut self.noted) {
            let is_it = |open: &&mut Window| open.id == window && !open.is_overrun;
            self.open.iter_mut().filter(is_it).for_each(Window::overrun);
        }
        self.noted_bytes = 0;
    }

    fn most_bytes(&self) -> usize {
        MAX_KEPT_BYTES.max(self.largest_row.saturating_mul(2))
    }
}

impl Window {
    /// The last change counts.
    fn note(&mut self, hash: KeyHash, touch: Touch) {
        self.kept += touch.bytes();
        if let Some(before) = self.touched.insert(hash, touch) {
            self.kept -= before.bytes();
        }
        if self.touched.len() > MAX_TOUCHED {
            self.overrun();
        }
    }

    fn forget(&mut self, hash: KeyHash) {
        let before = self.touched.remove(&hash);
        self.kept -= before.map_or(0, |before| before.bytes());
    }

    fn overrun(&mut self) {
        (self.touched, self.kept, self.is_overrun) = (HashMap::new(), 0, true);
    }

    fn is_over(&self, schema: &str, table: &str) -> bool {
        self.table == table && self.schema == schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: (&str, &str) = ("s", "t");

    impl Windows {
        /// A transaction with one change.
        fn change(&mut self, names: (&str, &str), key: &[u8], touch: Touch) {
            self.note(names, key, touch);
            self.settle();
        }
    }

    #[test]
    fn what_passes_while_a_window_is_open_is_remembered() {
        let row = || Some(Touch::Row(Arc::from(&b"{}"[..])));
        let mut windows = Windows::default();
        windows.change(T, b"1", Touch::Gone);
        let a = windows.open("s", "t");
        let b = windows.open("s", "u");
        windows.change(T, b"2", Touch::Partial);
        windows.change(T, b"3", Touch::Partial);
        windows.change(T, b"3", row().unwrap());
        assert_eq!(windows.touch(a, b"1"), None);
        assert_eq!(windows.touch(a, b"2"), Some(Touch::Partial));
        assert_eq!(windows.touch(a, b"3"), row());
        assert_eq!(windows.touch(b, b"2"), None);
        assert!(windows.watch("s", "t") && !windows.watch("s", "v"));
        let later = windows.open("s", "t");
        windows.change(T, b"4", row().unwrap());
        assert_eq!(windows.touch(later, b"2"), None, "it was opened after that");
        assert_eq!([a, later].map(|id| windows.touch(id, b"4")), [row(), row()]);
        windows.change(T, b"4", Touch::Gone);
        assert_eq!(windows.touch(later, b"4"), Some(Touch::Gone), "it was deleted");
        windows.close(a);
        assert!(windows.watch("s", "t"));
        windows.close(later);
        assert!(!windows.watch("s", "t"));
    }

    #[test]
    fn a_window_says_when_too_much_changed() {
        let mut windows = Windows::default();
        let id = windows.open("s", "t");
        for key in 0..=MAX_TOUCHED {
            assert!(!windows.is_overrun(id));
            windows.change(T, &key.to_le_bytes(), Touch::Gone);
        }
        assert!(windows.is_overrun(id));
        let another = windows.open("s", "t");
        assert!(!windows.is_overrun(another));
    }

    #[test]
    fn the_largest_window_is_dropped_when_all_keep_too_much() {
        const PART: usize = 16;
        let mut windows = Windows::default();
        let (busy, quiet) = (windows.open("s", "t"), windows.open("s", "u"));
        let row = || Touch::Row(vec![b' '; MAX_KEPT_BYTES / PART].into());
        windows.change(("s", "u"), b"1", row());
        for _ in 0..2 * PART {
            windows.change(T, b"same", row());
        }
        assert!(!windows.is_overrun(busy), "one takes the place of the one before");
        for key in 0..=PART {
            windows.change(T, &key.to_le_bytes(), row());
        }
        assert!(windows.is_overrun(busy) && !windows.is_overrun(quiet));
        assert_eq!(windows.touch(quiet, b"1"), Some(row()));
    }

    #[test]
    fn a_row_without_a_key_that_comes_again_is_as_it_was_read() {
        let mut windows = Windows::default();
        let id = windows.open("s", "t");
        windows.change(T, b"1", Touch::Gone);
        assert_eq!(windows.touch(id, b"1"), Some(Touch::Gone));
        windows.came(T, b"1");
        windows.settle();
        assert_eq!(windows.touch(id, b"1"), None);
    }

    #[test]
    fn changes_that_are_rolled_back_are_not_remembered() {
        let mut windows = Windows::default();
        let id = windows.open("s", "t");
        windows.note(T, b"1", Touch::Gone);
        let savepoint = windows.noted();
        windows.note(T, b"1", Touch::Partial);
        windows.note(T, b"2", Touch::Gone);
        windows.forget_noted(savepoint);
        assert_eq!(windows.touch(id, b"1"), None, "its transaction may end in a rollback");
        windows.settle();
        assert_eq!([b"1", b"2"].map(|key| windows.touch(id, key)), [Some(Touch::Gone), None]);
        for key in 0..=MAX_TOUCHED {
            windows.note(T, &key.to_le_bytes(), Touch::Gone);
        }
        assert!(windows.is_overrun(id), "more than can be taken back");
    }
}
