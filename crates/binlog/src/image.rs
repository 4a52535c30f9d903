//! A row in an event: where each value begins and ends, and its JSON form ("Rows_event" in the
//! MySQL source documentation; the lengths of values are those of `sql/field.cc`).

use std::sync::Arc;

use super::{
    column::Layout,
    error::{Error, Fault},
    plan::TablePlan,
    reader::cut_short,
    value,
};

/// Where a value is in the event's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ValueSpan {
    start: u32,
    end: u32,
}

impl ValueSpan {
    /// No value: it starts after its end, as no value does.
    pub(super) const NULL: Self = Self { start: u32::MAX, end: 0 };
    /// The server did not log the column.
    pub(super) const ABSENT: Self = Self { start: u32::MAX, end: 1 };

    /// Whether it is a value without bytes.
    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The row before or after a change.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    pub(super) plan: &'a TablePlan,
    pub(super) body: &'a [u8],
    pub(super) spans: &'a [ValueSpan],
    pub(super) file: &'a Arc<str>,
    pub(super) pos: u64,
    pub(super) diffs: Option<Diffs<'a>>,
}

/// The JSON columns for which the server logged only the differences from the image before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Diffs<'a> {
    pub(super) columns: &'a [usize],
    pub(super) before: &'a [ValueSpan],
}

impl<'a> Image<'a> {
    /// Whether the server logged the column. A full row image has all columns.
    pub fn is_present(&self, column: usize) -> bool {
        self.span(column) != ValueSpan::ABSENT
    }

    /// Whether the column was logged and is NULL.
    pub fn is_null(&self, column: usize) -> bool {
        self.span(column) == ValueSpan::NULL
    }

    /// Whether the server logged only the column's differences from the image before.
    pub fn is_difference(&self, column: usize) -> bool {
        self.diffs.is_some_and(|diffs| diffs.columns.contains(&column))
    }

    /// Whether a column that both images have differs from the one in `before`.
    pub fn differs_from(&self, before: &Self, column: usize) -> bool {
        match self.raw(column) {
            Some(diffs) if self.is_difference(column) => !diffs.is_empty(),
            value => value != before.raw(column),
        }
    }

    /// The bytes of a value as the server logged them; `None` if the column is absent or NULL. Two
    /// values of one plan's column are equal when their bytes are, if neither is a difference.
    pub fn raw(&self, column: usize) -> Option<&'a [u8]> {
        let ValueSpan { start, end } = self.span(column);
        self.body.get(start as usize..end as usize)
    }

    /// Appends the JSON form of a value (`docs/event-format.md`); `null` for NULL, and for an
    /// absent column.
    ///
    /// # Errors
    ///
    /// When the bytes are not a value of the column's type. `out` may then hold a part of the
    /// value.
    pub fn write_value(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let (Some(raw), Some(declared)) = (self.raw(column), self.plan.columns.get(column)) else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        let written = match self.base(column) {
            Some(document) => value::write_changed_json(out, document, raw),
            None => value::write(out, &declared.kind, raw),
        };
        written.map_err(|fault| self.error(fault, &declared.name))
    }

    /// The document that the column's differences apply to.
    fn base(&self, column: usize) -> Option<&'a [u8]> {
        let diffs = self.diffs.filter(|diffs| diffs.columns.contains(&column))?;
        let ValueSpan { start, end } = *diffs.before.get(column)?;
        self.body.get(start as usize..end as usize)
    }

    fn span(&self, column: usize) -> ValueSpan {
        self.spans.get(column).copied().unwrap_or(ValueSpan::ABSENT)
    }

    #[cold]
    fn error(&self, fault: Fault, column: &str) -> Error {
        let error = Error::new(fault, self.file, self.pos);
        error.of_table(&self.plan.schema, &self.plan.table).of_column(column)
    }
}

/// Which columns an image has: a bitmap from the event, and the number of its set bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present<'a> {
    bitmap: &'a [u8],
    count: usize,
    all: bool,
}

impl<'a> Present<'a> {
    pub(super) fn new(bitmap: &'a [u8], columns: usize) -> Self {
        let count = (0..columns).filter(|&n| super::table_map::bit(bitmap, n)).count();
        Self { bitmap, count, all: count == columns }
    }

    /// Bytes of the NULL bitmap before each image; 0 when the image has no column.
    pub(super) fn null_bytes(&self) -> usize {
        self.count.div_ceil(8)
    }
}

/// Goes over one image that begins at `start`, notes where its values are, and returns where it
/// ends.
pub(super) fn scan(
    layouts: &[Layout],
    present: Present<'_>,
    (body, start): (&[u8], usize),
    spans: &mut Vec<ValueSpan>,
) -> Result<usize, Fault> {
    spans.clear();
    let mut at = start.saturating_add(present.null_bytes());
    let nulls = body.get(start..at).ok_or_else(cut_short)?;
    let mut null_bit = 0_usize;
    for (n, layout) in layouts.iter().enumerate() {
        if !present.all && !super::table_map::bit(present.bitmap, n) {
            spans.push(ValueSpan::ABSENT);
            continue;
        }
        let is_null = super::table_map::bit(nulls, null_bit);
        null_bit = null_bit.wrapping_add(1);
        if is_null {
            spans.push(ValueSpan::NULL);
            continue;
        }
        let (value, end) = value_at(*layout, body, at)?;
        // The size of an event is a u32, so every place in it is a u32 too.
        spans.push(ValueSpan { start: value as u32, end: end as u32 });
        at = end;
    }
    Ok(at)
}

/// Where the value at `at` begins and ends, without its length prefix.
#[inline]
fn value_at(layout: Layout, body: &[u8], at: usize) -> Result<(usize, usize), Fault> {
    let (start, length) = match layout {
        Layout::Fixed(length) => (at, length as usize),
        Layout::Prefixed(bytes) => {
            let start = at.saturating_add(usize::from(bytes));
            let prefix = body.get(at..start).ok_or_else(cut_short)?;
            (start, read_length(prefix))
        }
    };
    let end = start.saturating_add(length);
    if end > body.len() { Err(cut_short()) } else { Ok((start, end)) }
}

#[inline]
fn read_length(prefix: &[u8]) -> usize {
    match *prefix {
        [a] => usize::from(a),
        [a, b] => usize::from(u16::from_le_bytes([a, b])),
        [a, b, c] => u32::from_le_bytes([a, b, c, 0]) as usize,
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]) as usize,
        _ => 0,
    }
}
