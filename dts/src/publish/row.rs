//! A row, as far as the binlog has it.

use binlog::{Error, Gtid, Image, RowChange};

/// The row after an insert or update, or before a delete. In an update with a partial row image, a
/// column that is missing in the image after did not change: its value is taken from the image
/// before, if that has it. A column that neither image has is absent.
#[derive(Clone, Copy)]
pub(super) struct KnownRow<'a> {
    image: &'a Image<'a>,
    unchanged: Option<&'a Image<'a>>,
}

impl<'a> KnownRow<'a> {
    pub(super) fn of(image: &'a Image<'a>) -> Self {
        Self { image, unchanged: None }
    }

    pub(super) fn after(image: &'a Image<'a>, before: &'a Image<'a>) -> Self {
        Self { image, unchanged: Some(before) }
    }

    pub(super) fn is_present(&self, column: usize) -> bool {
        self.side(column).is_present(column)
    }

    /// Whether its value is known as bytes that can be compared with another row's.
    pub(super) fn is_plain(&self, column: usize) -> bool {
        let side = self.side(column);
        side.is_present(column) && !side.is_difference(column)
    }

    pub(super) fn write_value(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        self.side(column).write_value(column, out)
    }

    fn side(&self, column: usize) -> &'a Image<'a> {
        match self.unchanged {
            Some(before) if !self.image.is_present(column) => before,
            _ => self.image,
        }
    }
}

/// The columns, as JSON strings, that a change lacks although it may have changed them: columns
/// that a MariaDB generates and does not log, whatever `binlog_row_image` is.
pub(super) fn unlogged<'a>(
    change: &'a RowChange<'_>,
    row: &'a KnownRow<'_>,
) -> impl Iterator<Item = &'a [u8]> {
    let columns = match change.transaction.gtid {
        Some(Gtid::Mariadb(_)) => change.table.columns.as_slice(),
        _ => &[],
    };
    let lacking = columns.iter().enumerate().filter(|(at, _)| !row.is_present(*at));
    let may_differ = lacking.filter(|(_, column)| column.is_generated || has_full_images(change));
    may_differ.filter_map(|(_, column)| column.json_key.strip_suffix(b":"))
}

/// Whether the images look like those of `binlog_row_image = FULL`, which have all columns that
/// changed. A column that was generated then may have been dropped since.
fn has_full_images(change: &RowChange<'_>) -> bool {
    let (all, key) = (0..change.table.columns.len(), &change.table.primary_key);
    let (Some(before), after) = (&change.before, &change.after) else { return false };
    let has_more_than_key = all.clone().any(|at| before.is_present(at) && !key.contains(&at));
    let has_same = after
        .is_none_or(|after| all.clone().all(|at| before.is_present(at) == after.is_present(at)));
    has_more_than_key && has_same
}

/// Whether an update is known to have changed a column.
pub(super) fn is_changed(column: usize, before: &Image<'_>, after: &Image<'_>) -> bool {
    before.is_present(column) && after.is_present(column) && after.differs_from(before, column)
}
