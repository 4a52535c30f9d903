//! A row as far as the binlog tells it.

use crate::decode::{Error, Image};

/// The row after an insert or update, or before a delete. Of an update with a partial row image, a
/// column that the image after lacks did not change: it is taken from the image before, if that
/// has it. What neither has is absent.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    image: &'a Image<'a>,
    unchanged: Option<&'a Image<'a>>,
}

impl<'a> Row<'a> {
    pub(super) fn of(image: &'a Image<'a>) -> Self {
        Self { image, unchanged: None }
    }

    pub(super) fn after(image: &'a Image<'a>, before: &'a Image<'a>) -> Self {
        Self { image, unchanged: Some(before) }
    }

    pub(super) fn is_present(&self, column: usize) -> bool {
        self.side(column).is_present(column)
    }

    /// Whether its value is known as bytes that another row's can be compared with.
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

/// Whether an update is known to have changed a column.
pub(super) fn is_changed(column: usize, before: &Image<'_>, after: &Image<'_>) -> bool {
    before.is_present(column) && after.is_present(column) && after.differs_from(before, column)
}
