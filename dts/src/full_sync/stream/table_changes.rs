//! What becomes of a running full sync when a statement truncates, drops, renames or alters its
//! table.

use binlog::Definition;
use full_sync::Task;

use super::{FullSyncs, REPLACED, window::Windows};
use crate::error::Error;

impl FullSyncs {
    /// The stream passed a statement that may have changed the definition of a table.
    pub(crate) fn passed(&mut self, definition: &Definition, windows: &mut Windows) {
        self.catalog.passed(definition);
        let concerned: Vec<(String, Concern)> = self
            .tasks
            .iter()
            .filter(|task| task.state.is_to_send())
            .filter(|task| definition.may_concern(&task.schema, &task.table))
            .map(|task| (task.id.clone(), Concern::of(definition, task)))
            .collect();
        for (id, concern) in concerned {
            match concern {
                Concern::Removed if self.has_begun(&id) => {
                    self.end_run(&id, windows);
                    self.fail(&id, &removed());
                }
                Concern::Replaced if self.has_begun(&id) => self.restart(&id, REPLACED, windows),
                _ => self.spoil(&id, windows),
            }
        }
        self.start_and_stop(windows);
    }
}

/// What a statement may have done to a task's table.
enum Concern {
    /// Its rows were removed.
    Removed,
    /// Another table may have its name now.
    Replaced,
    Altered,
}

impl Concern {
    fn of(definition: &Definition, Task { schema, table, .. }: &Task) -> Self {
        if definition.removes_rows(schema, table) {
            Self::Removed
        } else if definition.may_replace(schema, table) {
            Self::Replaced
        } else {
            Self::Altered
        }
    }
}

fn removed() -> Error {
    Error::refused(
        "its rows were removed by TRUNCATE, DROP or a similar statement: the rows that were sent \
         are out of date",
        "if the table is still there, ask for the full sync again",
    )
}
