//! Tables whose rows a statement removed without events: the targets keep these rows until somebody
//! acts.

use std::{collections::VecDeque, time::Duration};

use full_sync::Task;
use serde_json::{Value, json};

use crate::{capture::RemovedRows, checkpoint::full_sync_of};

/// So long the line that says why tells of one.
const TOLD_FOR: Duration = Duration::from_hours(24);

/// So many are shown; of more, the last ones.
const MAX_SHOWN: usize = 20;

/// Those since this process began that no full sync followed.
#[derive(Debug, Default)]
pub(super) struct Removals(VecDeque<Removal>);

#[derive(Debug)]
struct Removal {
    rows: RemovedRows,
    at_ms: u64,
}

impl Removals {
    /// More rows were removed.
    pub(super) fn add(&mut self, more: Vec<RemovedRows>, at_ms: u64) {
        for rows in more {
            self.0.retain(|known| known.rows.table != rows.table);
            self.0.push_back(Removal { rows, at_ms });
        }
        while self.0.len() > MAX_SHOWN {
            self.0.pop_front();
        }
    }

    /// These full syncs have not ended: somebody has acted where one was asked for since.
    pub(super) fn followed_by(&mut self, tasks: &[Task]) {
        self.0.retain(|Removal { rows, at_ms }| {
            let follows = |task: &Task| {
                let is_of_schema = rows.table == format!("{}.*", task.schema);
                let is_of_it =
                    is_of_schema || rows.table == format!("{}.{}", task.schema, task.table);
                is_of_it && task.created_ms >= *at_ms
            };
            !tasks.iter().any(follows)
        });
    }

    /// What to know of the last one, and to do.
    pub(super) fn note(&self, now_ms: u64) -> Option<String> {
        let Removal { rows: RemovedRows { table, statement, .. }, at_ms } = self.0.back()?;
        if u128::from(now_ms.saturating_sub(*at_ms)) > TOLD_FOR.as_millis() {
            return None;
        }
        let more = match self.0.len() {
            1 => String::new(),
            more => format!(" (and {} more tables: `removals`)", more - 1),
        };
        Some(format!(
            "{statement} removed rows of {table} without events{more}, so what listeners wrote from \
             them is still at their targets: delete it there, then run `{}` for each listener of the \
             table",
            full_sync_of(table)
        ))
    }

    pub(super) fn to_json(&self) -> Value {
        let shown = self.0.iter().map(|Removal { rows, at_ms }| {
            let RemovedRows { table, statement, position } = rows;
            json!({
                "table": table,
                "statement": statement,
                "file": &*position.file,
                "pos": position.pos,
                "atMs": at_ms,
                "fullSync": full_sync_of(table),
            })
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use binlog::FilePosition;
    use full_sync::TaskState;

    use super::*;

    fn removed(table: &str) -> Vec<RemovedRows> {
        let position = FilePosition { file: "binlog.000007".into(), pos: 4 };
        vec![RemovedRows { table: table.to_owned(), statement: "TRUNCATE".to_owned(), position }]
    }

    fn task(table: &str, created_ms: u64) -> Task {
        let name = |text: &str| text.to_owned();
        Task {
            id: name("fs-1"),
            request: name("fs-1"),
            listener: name("l"),
            group: name("g"),
            schema: name("shop"),
            table: name(table),
            state: TaskState::Waiting,
            rows: 0,
            estimated_rows: 0,
            cursor: None,
            from: None,
            to: None,
            error: None,
            held: None,
            heard_ms: None,
            created_ms,
            updated_ms: 0,
            active_ms: 0,
            initial: false,
        }
    }

    #[test]
    fn a_truncate_is_told_until_a_full_sync_of_the_table_follows() {
        let mut removals = Removals::default();
        assert_eq!(removals.note(10), None);
        removals.add(removed("shop.item"), 5);
        removals.add(removed("shop.item"), 7);
        let note = removals.note(10).unwrap();
        let begins = "TRUNCATE removed rows of shop.item without events, so ";
        assert!(note.starts_with(begins) && note.contains("-t LISTENER shop.item"), "{note}");
        assert_eq!(removals.to_json()[0]["pos"], 4);
        removals.followed_by(&[task("item", 6), task("other", 9)]);
        assert!(removals.note(10).is_some(), "that one was asked for before");
        assert_eq!(removals.note(100_000_000), None, "it is old news");
        removals.followed_by(&[task("item", 8)]);
        assert_eq!((removals.note(10), removals.to_json()), (None, json!([])));
        for number in 0..2 * MAX_SHOWN {
            removals.add(removed(&format!("shop.t{number}")), 9);
        }
        assert!(removals.note(10).unwrap().contains("(and 19 more tables"));
    }
}
