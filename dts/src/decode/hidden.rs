//! Types that the binlog does not tell from BINARY: UUID, INET4 and INET6 of MariaDB.

use std::collections::HashMap;

use super::{column::Kind, plan::TablePlan};

/// The columns of these types that a server has, by schema and table. What they were when an older
/// event was logged nobody knows any more.
#[derive(Debug, Default)]
pub struct HiddenTypes(HashMap<(String, String), Vec<(String, Kind)>>);

impl HiddenTypes {
    /// Notes a column's type as `information_schema.COLUMNS.DATA_TYPE` names it; others than
    /// these count as not hidden.
    pub fn add(&mut self, (schema, table): (String, String), column: String, data_type: &str) {
        let kind = match data_type {
            "uuid" => Kind::Uuid,
            "inet4" => Kind::Inet4,
            "inet6" => Kind::Inet6,
            _ => return,
        };
        self.0.entry((schema, table)).or_default().push((column, kind));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the columns of a plan their types, where they can be what the server has now.
    pub(super) fn apply(&self, plan: &mut TablePlan) {
        let Some(hidden) = self.0.get(&(plan.schema.clone(), plan.table.clone())) else { return };
        for column in &mut plan.columns {
            let Kind::FixedBinary { length } = column.kind else { continue };
            let known = hidden.iter().find(|(name, _)| *name == column.name);
            if let Some((_, kind)) = known.filter(|(_, kind)| length_of(kind) == length) {
                column.kind = kind.clone();
            }
        }
    }
}

fn length_of(kind: &Kind) -> u16 {
    if *kind == Kind::Inet4 { 4 } else { 16 }
}
