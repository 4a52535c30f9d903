//! Says what to do at the target when the source's table was altered.

use std::sync::Arc;

use full_sync::Table;

use super::{literal::named, table::TargetTable};
use crate::{altered::Modified, target::Means};

/// The source's table is defined so now, and the target's so: tells what is another since the look
/// before, with the statements.
pub(super) fn follow(
    means: &Means,
    ((schema, table), target): ((&str, &str), &str),
    (source, now): (&Arc<Table>, &TargetTable),
) {
    let altered = &means.counts.altered;
    let differs = |name: &str| {
        now.column(name).and_then(|at| now.columns.get(at)).is_some_and(|of| of.wanted.is_some())
    };
    altered.settle(target, differs);
    let Some(change) = altered.saw(target, source) else { return };
    let shape = &means.shape;
    let (mut what, mut statements) = (Vec::new(), Vec::new());
    for Modified { column, was, is } in change.modified.iter().filter(|of| shape.takes(&of.column))
    {
        let name = shape.name_of(column);
        let Some(statement) = now.as_the_source(&name) else { continue };
        altered.open(target, &name);
        what.push(format!("the column {column} is {is} there now, and was {was}"));
        statements.push(statement);
    }
    for (old, new) in change.renamed.iter().filter(|(_, new)| shape.takes(new)) {
        let (old_there, new_there) = (shape.name_of(old), shape.name_of(new));
        if now.column(&old_there).is_none() {
            continue;
        }
        what.push(format!("the column {old} seems to be called {new} there now"));
        let table = now.quoted();
        if now.column(&new_there).is_some() {
            statements.push(format!("ALTER TABLE {table} DROP COLUMN {}", named(&new_there)));
        }
        statements.push(format!(
            "ALTER TABLE {table} RENAME COLUMN {} TO {}",
            named(&old_there),
            named(&new_there)
        ));
    }
    if !what.is_empty() {
        means.tell_altered((schema, table), target, (&what, &statements));
    }
}
