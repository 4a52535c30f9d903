//! Says what to do at the target when the source's table was altered.

use super::{
    table::quoted,
    tables::{PgRoute, alter_type},
};
use crate::{altered::Modified, target::Means};

/// Tells what is another at the source since the look before, with the statements.
pub(super) fn follow(means: &Means, (source, target): ((&str, &str), &str), route: &PgRoute) {
    let (altered, table) = (&means.counts.altered, &route.table);
    let nearest = |name: &str| {
        let at = table.column(name)?;
        let nearest = route.nearest.get(at)?.as_deref()?;
        let column = table.columns.get(at)?;
        (nearest != column.full).then_some((column, nearest))
    };
    altered.settle(target, |name| nearest(name).is_some());
    let Some(change) = route.source.as_ref().and_then(|now| altered.saw(target, now)) else {
        return;
    };
    let shape = &means.shape;
    let (mut what, mut statements) = (Vec::new(), Vec::new());
    for Modified { column, was, is } in change.modified.iter().filter(|of| shape.takes(&of.column))
    {
        let name = shape.name_of(column);
        // Types that are another one there may be the same here.
        let Some((there, declared)) = nearest(&name) else { continue };
        altered.open(target, &name);
        what.push(format!("the column {column} is {is} there now, and was {was}"));
        statements.push(alter_type(table, there, declared));
    }
    for (old, new) in change.renamed.iter().filter(|(_, new)| shape.takes(new)) {
        let (old_there, new_there) = (shape.name_of(old), shape.name_of(new));
        if table.column(&old_there).is_none() {
            continue;
        }
        what.push(format!("the column {old} seems to be called {new} there now"));
        let (of, old, new) = (table.quoted(), quoted(&old_there), quoted(&new_there));
        if table.column(&new_there).is_some() {
            statements.push(format!("ALTER TABLE {of} DROP COLUMN {new}"));
        }
        statements.push(format!("ALTER TABLE {of} RENAME COLUMN {old} TO {new}"));
    }
    if !what.is_empty() {
        means.tell_altered(source, target, (&what, &statements));
    }
}
