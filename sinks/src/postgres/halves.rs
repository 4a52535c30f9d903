//! Finds the rows that the server refuses, by writing ever fewer of them together.

use std::{collections::HashSet, time::Instant};

use super::{
    client::PgConnection,
    pending::{Pending, RowMaker},
    refusal::Refused,
    statement::{NewRows, steps},
    tables::PgRoute,
    writer::{PgWriter, TablePart, begin, written},
};
use crate::{
    change::Unusable,
    figures::{Answered, Written},
    shape::Wanted,
};

/// What became of all rows of a call.
#[derive(Default)]
struct Halved {
    written: Written,
    unusable: Vec<Unusable>,
    /// Rows were refused because others have a value that must be there once.
    is_crowded: bool,
}

impl PgWriter {
    /// Writes what fits in one transaction, and gives what does not. Of each row the last state is
    /// written; where rows stand in each other's way, all states are, in their order, as far as
    /// that brings more rows there.
    pub(super) async fn by_halves(
        &self,
        connection: &mut PgConnection,
        parts: &[TablePart<'_>],
    ) -> Result<Vec<Unusable>, Refused> {
        const BACK: &str = "ROLLBACK TO SAVEPOINT whole";
        let began = Instant::now();
        connection.client.batch_execute(&begin(parts)).await?;
        let checked = "SET CONSTRAINTS ALL IMMEDIATE; SAVEPOINT whole";
        connection.client.batch_execute(checked).await?;
        let mut done = self.last_states(connection, parts).await?;
        if done.is_crowded {
            connection.client.batch_execute(BACK).await?;
            let in_order = self.in_order(connection, parts).await?;
            done = match in_order.unusable.len() < done.unusable.len() {
                true => in_order,
                false => {
                    connection.client.batch_execute(BACK).await?;
                    self.last_states(connection, parts).await?
                }
            };
        }
        connection.client.batch_execute("COMMIT").await?;
        self.means.counts.answered(Answered { bytes: 0, took: began.elapsed() });
        self.means.counts.wrote(done.written);
        Ok(done.unusable)
    }

    async fn last_states(
        &self,
        connection: &mut PgConnection,
        parts: &[TablePart<'_>],
    ) -> Result<Halved, Refused> {
        let mut done = Halved::default();
        for part in parts {
            let mut todo: Vec<Vec<&Pending<'_>>> = vec![part.rows.iter().collect()];
            while let Some(mut rows) = todo.pop() {
                match self.in_savepoint(connection, &part.route, &rows).await {
                    Ok(written) => done.written.also(written),
                    Err(refused @ Refused::Row(_)) if rows.len() == 1 => {
                        done.is_crowded |= refused.is_of_other_row();
                        for change in rows.iter().flat_map(|row| &row.changes) {
                            done.unusable.push(change.unusable(said_of(part, &refused)));
                        }
                    }
                    Err(Refused::Row(_)) => {
                        let second = rows.split_off(rows.len() / 2);
                        todo.push(second);
                        todo.push(rows);
                    }
                    Err(other) => return Err(other),
                }
            }
        }
        Ok(done)
    }

    /// The changes in their order: those that are written together follow each other.
    async fn in_order(
        &self,
        connection: &mut PgConnection,
        parts: &[TablePart<'_>],
    ) -> Result<Halved, Refused> {
        let mut done = Halved::default();
        for part in parts {
            let (rows, shape) = (&self.config.rows, &*self.means.shape);
            let maker = RowMaker { route: &part.route, rows, shape };
            let mut todo: Vec<Vec<&Wanted<'_>>> = vec![part.wanted.clone()];
            // Rows of which a change was refused: later ones wait for it.
            let mut held: HashSet<&str> = HashSet::new();
            while let Some(mut changes) = todo.pop() {
                changes.retain(|one| {
                    let waits = held.contains(one.change.read.key);
                    if waits {
                        done.unusable.push(one.change.unusable(LATE));
                    }
                    !waits
                });
                let (rows, _) = maker.pending(&changes);
                let rows: Vec<&Pending<'_>> = rows.iter().collect();
                match (self.in_savepoint(connection, &part.route, &rows).await, &changes[..]) {
                    (Ok(written), _) => done.written.also(written),
                    (Err(refused @ Refused::Row(_)), [one]) => {
                        held.insert(one.change.read.key);
                        done.unusable.push(one.change.unusable(said_of(part, &refused)));
                    }
                    (Err(Refused::Row(_)), _) => {
                        let second = changes.split_off(changes.len() / 2);
                        todo.push(second);
                        todo.push(changes);
                    }
                    (Err(other), _) => return Err(other),
                }
            }
        }
        Ok(done)
    }

    async fn in_savepoint(
        &self,
        connection: &mut PgConnection,
        route: &PgRoute,
        rows: &[&Pending<'_>],
    ) -> Result<Written, Refused> {
        connection.client.batch_execute("SAVEPOINT part").await?;
        let todo = steps(route, rows, NewRows::Upserted);
        let mut counts = Vec::with_capacity(todo.len());
        for step in &todo {
            let statement = connection.prepare(&step.sql).await?;
            match connection.client.execute_raw(&statement, &step.values).await {
                Ok(count) => counts.push(count),
                Err(error) => {
                    let refused = Refused::from(error);
                    if matches!(refused, Refused::Row(_)) {
                        connection.client.batch_execute("ROLLBACK TO SAVEPOINT part").await?;
                    }
                    return Err(refused);
                }
            }
        }
        connection.client.batch_execute("RELEASE SAVEPOINT part").await?;
        Ok(written(todo.iter().zip(counts)))
    }
}

const LATE: &str = "an earlier change of its row is refused";

fn said_of(part: &TablePart<'_>, refused: &Refused) -> String {
    let said = if let Refused::Row(said) = refused { said } else { "" };
    format!("{}: {said}", part.route.table.quoted())
}
