//! Which keys changed in the stream while rows were read from their table.
//!
//! A window is open from the moment that a read is asked for until its rows are merged into the
//! stream. A row whose key was changed meanwhile is left to the change.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_128;

/// A window remembers so many keys. When more changed, the stream is far behind what was read.
const MAX_TOUCHED: usize = 200_000;

/// A key, by its hash: of so many bits that two keys never have the same.
type KeyHash = u128;

/// The hash of a record's key.
fn key_hash(key: &[u8]) -> KeyHash {
    xxh3_128(key)
}

/// What the stream did to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// A change with all columns was published: the row need not be.
    Whole,
    /// A change was published that may lack columns, because the server did not log them: the row
    /// has to be read again.
    Partial,
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
        window.touched.get(&key_hash(key)).copied()
    }

    /// Whether a window is open over this table.
    pub(super) fn watch(&self, schema: &str, table: &str) -> bool {
        self.open.iter().any(|window| window.is_over(schema, table))
    }

    /// A change of a row with this key passed.
    pub(super) fn note(&mut self, (schema, table): (&str, &str), key: &[u8], touch: Touch) {
        let hash = key_hash(key);
        for window in self.open.iter_mut().filter(|window| window.is_over(schema, table)) {
            // The last one counts: after a whole change the listener has all columns again.
            window.touched.insert(hash, touch);
            if window.touched.len() > MAX_TOUCHED {
                window.is_overrun = true;
                window.touched = HashMap::new();
            }
        }
    }
}

impl Window {
    fn is_over(&self, schema: &str, table: &str) -> bool {
        self.table == table && self.schema == schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_while_a_window_is_open_is_remembered() {
        let mut windows = Windows::default();
        windows.note(("s", "t"), b"1", Touch::Whole);
        let a = windows.open("s", "t");
        let b = windows.open("s", "u");
        windows.note(("s", "t"), b"2", Touch::Partial);
        windows.note(("s", "t"), b"3", Touch::Partial);
        windows.note(("s", "t"), b"3", Touch::Whole);
        assert_eq!(windows.touch(a, b"1"), None);
        assert_eq!(windows.touch(a, b"2"), Some(Touch::Partial));
        assert_eq!(windows.touch(a, b"3"), Some(Touch::Whole));
        assert_eq!(windows.touch(b, b"2"), None);
        assert!(windows.watch("s", "t") && !windows.watch("s", "v"));
        let later = windows.open("s", "t");
        windows.note(("s", "t"), b"4", Touch::Whole);
        assert_eq!(windows.touch(later, b"2"), None, "it was opened behind that");
        assert_eq!([a, later].map(|id| windows.touch(id, b"4")), [Some(Touch::Whole); 2]);
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
            windows.note(("s", "t"), &key.to_le_bytes(), Touch::Whole);
        }
        assert!(windows.is_overrun(id));
        let another = windows.open("s", "t");
        assert!(!windows.is_overrun(another));
    }
}
