//! What the stream did to rows while they were read from their table.
//!
//! A window is open from the moment that a read is asked for until its rows are merged into the
//! stream. A row that changed meanwhile is sent as its last change left it: the listener may have
//! got none of its changes, since it chooses among them by `actions` and `columns`.

use std::{collections::HashMap, sync::Arc};

use xxhash_rust::xxh3::xxh3_128;

/// A window remembers so many keys. When more changed, the stream is far behind what was read.
const MAX_TOUCHED: usize = 200_000;

/// Rows that are larger are read again, rather than kept.
const MAX_ROW_BYTES: usize = 64 << 10;

/// So do those that would be more than this, in all windows.
const MAX_KEPT_BYTES: usize = 16 << 20;

/// A key, by its hash: of so many bits that two keys never have the same.
type KeyHash = u128;

/// The hash of a record's key.
fn key_hash(key: &[u8]) -> KeyHash {
    xxh3_128(key)
}

/// What the stream did to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// The change is enough: the row is no more; or it has no key, so that all of it came.
    Enough,
    /// The row is so now: its columns, a JSON object.
    Row(Arc<[u8]>),
    /// How the row is now is not known, because the server did not log all columns or they were too
    /// large to be kept: it has to be read again.
    Partial,
}

impl Touch {
    fn bytes(&self) -> usize {
        match self {
            Self::Row(data) => data.len(),
            Self::Enough | Self::Partial => 0,
        }
    }
}

/// The windows that are open.
#[derive(Debug, Default)]
pub struct Windows {
    open: Vec<Window>,
    opened: u64,
}

/// Names a window; no other ever has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowId(u64);

#[derive(Debug)]
struct Window {
    id: WindowId,
    schema: String,
    table: String,
    touched: HashMap<KeyHash, Touch>,
    /// How many bytes of rows it keeps.
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

    /// Whether more keys changed than a window remembers: what was read is of no use then.
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
    pub(super) fn watch(&self, schema: &str, table: &str) -> bool {
        self.open.iter().any(|window| window.is_over(schema, table))
    }

    /// A change passed that left the row with this key so.
    pub(super) fn row(&mut self, table: (&str, &str), key: &[u8], data: &[u8]) {
        let kept: usize = self.open.iter().map(|window| window.kept).sum();
        let fits = data.len() <= MAX_ROW_BYTES && kept.saturating_add(data.len()) <= MAX_KEPT_BYTES;
        self.note(table, key, if fits { Touch::Row(data.into()) } else { Touch::Partial });
    }

    /// A change of a row with this key passed.
    pub(super) fn note(&mut self, (schema, table): (&str, &str), key: &[u8], touch: Touch) {
        let hash = key_hash(key);
        for window in self.open.iter_mut().filter(|window| window.is_over(schema, table)) {
            window.note(hash, touch.clone());
        }
    }
}

impl Window {
    /// The last one counts.
    fn note(&mut self, hash: KeyHash, touch: Touch) {
        self.kept += touch.bytes();
        if let Some(before) = self.touched.insert(hash, touch) {
            self.kept -= before.bytes();
        }
        if self.touched.len() > MAX_TOUCHED {
            (self.touched, self.kept, self.is_overrun) = (HashMap::new(), 0, true);
        }
    }

    fn is_over(&self, schema: &str, table: &str) -> bool {
        self.table == table && self.schema == schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: (&str, &str) = ("s", "t");

    #[test]
    fn what_passes_while_a_window_is_open_is_remembered() {
        let row = || Some(Touch::Row(Arc::from(&b"{}"[..])));
        let mut windows = Windows::default();
        windows.note(T, b"1", Touch::Enough);
        let a = windows.open("s", "t");
        let b = windows.open("s", "u");
        windows.note(T, b"2", Touch::Partial);
        windows.note(T, b"3", Touch::Partial);
        windows.row(T, b"3", b"{}");
        assert_eq!(windows.touch(a, b"1"), None);
        assert_eq!(windows.touch(a, b"2"), Some(Touch::Partial));
        assert_eq!(windows.touch(a, b"3"), row());
        assert_eq!(windows.touch(b, b"2"), None);
        assert!(windows.watch("s", "t") && !windows.watch("s", "v"));
        let later = windows.open("s", "t");
        windows.row(T, b"4", b"{}");
        assert_eq!(windows.touch(later, b"2"), None, "it was opened behind that");
        assert_eq!([a, later].map(|id| windows.touch(id, b"4")), [row(), row()]);
        windows.note(T, b"4", Touch::Enough);
        assert_eq!(windows.touch(later, b"4"), Some(Touch::Enough), "it was deleted");
        windows.close(a);
        assert!(windows.watch("s", "t"));
        windows.close(later);
        assert!(!windows.watch("s", "t"));
    }

    #[test]
    fn a_window_that_too_much_passes_says_so() {
        let mut windows = Windows::default();
        let id = windows.open("s", "t");
        for key in 0..=MAX_TOUCHED {
            assert!(!windows.is_overrun(id));
            windows.note(T, &key.to_le_bytes(), Touch::Enough);
        }
        assert!(windows.is_overrun(id));
        let another = windows.open("s", "t");
        assert!(!windows.is_overrun(another));
    }

    #[test]
    fn rows_are_kept_up_to_a_bound_and_those_beyond_it_are_read_again() {
        let mut windows = Windows::default();
        let ids = [windows.open("s", "t"), windows.open("s", "t")];
        windows.row(T, b"large", &vec![b' '; MAX_ROW_BYTES + 1]);
        assert_eq!(windows.touch(ids[0], b"large"), Some(Touch::Partial));
        let row = vec![b' '; MAX_ROW_BYTES];
        let is_kept = |windows: &Windows, id, key: &[u8]| {
            matches!(windows.touch(id, key), Some(Touch::Row(_)))
        };
        // The one before makes way for the next.
        for _ in 0..2 * MAX_KEPT_BYTES / MAX_ROW_BYTES {
            windows.row(T, b"same", &row);
            assert!(is_kept(&windows, ids[0], b"same"));
        }
        let most = MAX_KEPT_BYTES / MAX_ROW_BYTES / ids.len();
        for key in 0..most {
            windows.row(T, &key.to_le_bytes(), &row);
        }
        let kept = (0..most).filter(|key| is_kept(&windows, ids[1], &key.to_le_bytes())).count();
        assert_eq!(kept, most - 1, "both keep that of before, too");
        windows.close(ids[1]);
        windows.row(T, b"another", &row);
        assert!(is_kept(&windows, ids[0], b"another"), "there is room again");
    }
}
