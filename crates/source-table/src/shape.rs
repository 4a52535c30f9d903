//! Whether rows that were read at two times come from the same definition of the table.

use crate::{
    row::hash_of_row,
    table::{Column, Description},
};

impl Description {
    /// Names all that the JSON of the rows depends on, and all with which an ALTER may have changed
    /// values without rows in the binlog (a narrower type, NOT NULL, another expression).
    pub fn shape(&self) -> String {
        let parts = self.columns.iter().map(|column| {
            let Column { name, declared, collation, nullable, generated, .. } = column;
            format!("{name:?} {declared:?} {collation:?} {nullable} {generated:?}\n")
        });
        format!("{:032x}", hash_of_row(parts.collect::<String>().as_bytes()))
    }
}
