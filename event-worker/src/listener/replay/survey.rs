//! Looks at a range before its events go out: which rows it has, and which of them have newer
//! events.
//!
//! Memory is bounded by the number of rows: where a range has more, its first part is looked at and
//! given to the handler, and then the next part.

use super::{
    part::{Rows, row_of},
    read::{Choice, RangeReader},
};

/// The most rows of a part. A row takes about 40 bytes while its part runs. In tests a part has few
/// rows, so that ranges have several parts.
pub(super) const MAX_ROWS: usize = if cfg!(test) { 3 } else { 500_000 };

/// A part of a range.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Surveyed {
    /// The first event of it.
    pub(super) from: u64,
    /// Where it ends.
    pub(super) end: u64,
    /// Whether nothing of the range comes after it.
    pub(super) is_last: bool,
    pub(super) rows: Rows,
}

/// Reads up to the end of the range, or as far as the rows fit in memory.
pub(super) async fn survey(
    reader: &mut RangeReader,
    choice: &Choice<'_>,
    max_rows: usize,
) -> event_bus::Result<Surveyed> {
    let (mut from, mut rows) = (None, Rows::new());
    while let Some(deliveries) = reader.read().await? {
        for delivery in &deliveries {
            let Some((_, change)) = choice.live(delivery) else { continue };
            if choice.ends_before(&change) {
                let end = delivery.offset;
                return Ok(Surveyed { from: from.unwrap_or(end), end, is_last: true, rows });
            }
            if !choice.has(&change) {
                continue;
            }
            let from = *from.get_or_insert(delivery.offset);
            rows.insert(row_of(delivery));
            if rows.len() >= max_rows {
                return Ok(Surveyed { from, end: delivery.offset + 1, is_last: false, rows });
            }
        }
    }
    let end = reader.next_offset();
    Ok(Surveyed { from: from.unwrap_or(end), end, is_last: true, rows })
}

/// The next rows of these that have newer events, in what is read; `None` when all is read. An
/// event is newer when its offset is `to` or higher, or when the replay ends before it.
pub(super) async fn next_newer(
    reader: &mut RangeReader,
    choice: &Choice<'_>,
    (rows, to): (&Rows, u64),
) -> event_bus::Result<Option<Vec<u64>>> {
    let Some(deliveries) = reader.read().await? else { return Ok(None) };
    let newer = deliveries.iter().filter_map(|delivery| {
        let row = row_of(delivery);
        // Most rows are others, so that most records need not be parsed.
        let (_, change) = rows.contains(&row).then(|| choice.live(delivery)).flatten()?;
        (delivery.offset >= to || choice.ends_before(&change)).then_some(row)
    });
    Ok(Some(newer.collect()))
}
