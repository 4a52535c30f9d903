//! Whether rows that were read at two times are of the same table.

use super::table::{Column, Description};
use crate::publish::hash_of_row;

impl Description {
    /// Names all that the JSON of the rows depends on, and what an ALTER may have changed values
    /// for (a narrower type, NOT NULL, another expression), of which the binlog has no rows.
    pub(crate) fn shape(&self) -> String {
        let parts = self.columns.iter().map(|column| {
            let Column { name, declared, collation, nullable, generated, .. } = column;
            format!("{name:?} {declared:?} {collation:?} {nullable} {generated:?}\n")
        });
        format!("{:032x}", hash_of_row(parts.collect::<String>().as_bytes()))
    }
}
