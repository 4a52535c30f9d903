//! What MariaDB's binlog does not say of columns (see `sql/field.cc` in its source):
//!
//! - which columns are generated;
//! - UUID, INET4 and INET6, which look like BINARY;
//! - VECTOR, which looks like VARBINARY;
//! - TIME, DATETIME and TIMESTAMP with a fraction in the format before 10.1.2
//!   (`mysql56_temporal_format = OFF`; `Field_time_hires` and similar). They look as if they had no
//!   fraction.

use std::collections::HashMap;

use super::{
    column::{Kind, Layout, raw},
    error::{Fault, Setting},
    plan::{ColumnFault, TablePlan},
    table_map::TableMap,
};

/// The columns of these types that a server has now, and those that it generates, by schema and
/// table. Nobody knows any more what they were when an older event was logged.
#[derive(Debug, Default)]
pub struct HiddenTypes {
    types: HashMap<(String, String), Vec<(String, Hidden)>>,
    generated: HashMap<(String, String), Vec<String>>,
}

#[derive(Clone, Debug)]
enum Hidden {
    Type(Kind),
    /// A value takes this many bytes.
    OldFraction {
        bytes: u32,
    },
}

const OLD_FRACTION: Setting = Setting {
    problem: "its fraction is stored as MariaDB did before 10.1.2, and the binlog does not show this",
    variable: None,
    then: "rebuild the table (SET GLOBAL mysql56_temporal_format = ON; ALTER TABLE … FORCE), start \
           from a position after that, and load it again",
};

impl HiddenTypes {
    /// Notes a column's type as `information_schema.COLUMNS.DATA_TYPE` names it, and its digits of
    /// fraction. A type that the binlog shows is ignored. A time must be in the old format.
    pub fn add(
        &mut self,
        (schema, table): (String, String),
        column: String,
        (data_type, fraction): (&str, u8),
    ) {
        let old = |bytes| Hidden::OldFraction { bytes };
        let hidden = match data_type {
            "uuid" => Hidden::Type(Kind::Uuid),
            "inet4" => Hidden::Type(Kind::Inet4),
            "inet6" => Hidden::Type(Kind::Inet6),
            "vector" => Hidden::Type(Kind::Vector),
            _ if fraction == 0 => return,
            // As many bytes as the largest value needs (`time_hires_bytes`,
            // `datetime_hires_bytes`).
            "time" => old(bytes_of([3, 4, 4, 5, 5, 5, 6], fraction)),
            "datetime" => old(bytes_of([5, 6, 6, 7, 7, 7, 8], fraction)),
            "timestamp" => old(bytes_of([4, 5, 5, 6, 6, 7, 7], fraction)),
            _ => return,
        };
        self.types.entry((schema, table)).or_default().push((column, hidden));
    }

    /// Notes a column whose values the server computes from other columns.
    pub fn add_generated(&mut self, table: (String, String), column: String) {
        self.generated.entry(table).or_default().push(column);
    }

    /// Whether nothing is noted.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty() && self.generated.is_empty()
    }

    /// Sets the types of a plan's columns, if these can be the types that the server has now.
    pub(super) fn apply(&self, plan: &mut TablePlan) -> Result<(), ColumnFault> {
        let generated = self.generated.get(&(plan.schema.clone(), plan.table.clone()));
        for name in generated.into_iter().flatten() {
            let columns = plan.columns.iter_mut().filter(|column| column.name == *name);
            columns.for_each(|column| column.is_generated = true);
        }
        let Some(hidden) = self.of(&plan.schema, &plan.table) else { return Ok(()) };
        for column in &mut plan.columns {
            let known = hidden.iter().find(|(name, _)| *name == column.name);
            match (known, &column.kind) {
                (Some((_, Hidden::Type(kind))), Kind::FixedBinary { length })
                    if length_of(kind) == *length =>
                {
                    column.kind = kind.clone();
                }
                (Some((_, Hidden::Type(Kind::Vector))), Kind::Binary) => {
                    column.kind = Kind::Vector;
                }
                (
                    Some((name, Hidden::OldFraction { .. })),
                    Kind::OldTime | Kind::OldDateTime | Kind::OldTimestamp,
                ) => return Err((Fault::Setting(&OLD_FRACTION), Some(name.clone()))),
                _ => {}
            }
        }
        Ok(())
    }

    /// Corrects the lengths of values, so that the rows of a table can be skipped over.
    pub(super) fn correct(
        &self,
        map: &TableMap<'_>,
        layouts: &mut [Layout],
    ) -> Result<(), ColumnFault> {
        let Some(hidden) = self.of(map.schema, map.table) else { return Ok(()) };
        let names = map.optional().map_err(|fault| (fault, None))?.names;
        for ((name, raw), layout) in names.iter().zip(&map.types).zip(layouts) {
            let known = hidden.iter().find(|(known, _)| known == name);
            if let Some((_, Hidden::OldFraction { bytes })) = known
                && matches!(raw.kind, raw::OLD_TIME | raw::OLD_DATETIME | raw::OLD_TIMESTAMP)
            {
                *layout = Layout::Fixed(*bytes);
            }
        }
        Ok(())
    }

    fn of(&self, schema: &str, table: &str) -> Option<&[(String, Hidden)]> {
        let hidden = self.types.get(&(schema.to_owned(), table.to_owned()));
        hidden.map(Vec::as_slice)
    }
}

/// The number of bytes of a value with this many digits of fraction.
fn bytes_of(by_fraction: [u32; 7], fraction: u8) -> u32 {
    let [.., most] = by_fraction;
    by_fraction.get(usize::from(fraction)).copied().unwrap_or(most)
}

fn length_of(kind: &Kind) -> u16 {
    if *kind == Kind::Inet4 { 4 } else { 16 }
}
