//! Rows that lack columns (`binlog_row_image` MINIMAL or NOBLOB): what is absent stays as it is in
//! the document.
//!
//! External versions do not go with `_update`, so such a document is fetched, completed and written
//! whole. The version shows which changes it has already. A row that moved to another key takes
//! what it lacks from the document under the old one, which is deleted after the new one is
//! written: then a crash between the two loses nothing.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use change_event::{Action, Columns};
use full_sync::Table;

use super::{
    bulk::{Document, push_object},
    client::Found,
};
use crate::{
    change::{Change, Column, Unusable},
    shape::Wanted,
};

/// What the documents that need it become, by their index among all.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// The text of each that is completed.
    pub(super) texts: BTreeMap<usize, String>,
    /// Those that are not there, and of which nobody knows all columns: nothing is written.
    pub(super) absent: BTreeSet<usize>,
    /// The changes that cannot be carried out, for which nothing is written.
    pub(super) unusable: BTreeMap<usize, Unusable>,
}

/// What a change has of the columns of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    Part,
    /// Nobody has told the table's columns. To complete the row is right in any case.
    Unknown,
}

impl Extent {
    pub(super) fn of(change: &Change<'_>, table: Option<&Table>) -> Self {
        if change.event.is_of_full_sync() {
            return Self::Whole;
        }
        let Some(columns) = table.and_then(|table| table.columns.as_ref()) else {
            return Self::Unknown;
        };
        let in_order = change.data.iter().len() == columns.len()
            && change.data.iter().zip(columns).all(|((name, _), column)| name == column.name);
        let has_all = || columns.iter().all(|column| change.data.get(&column.name).is_some());
        if in_order || has_all() { Self::Whole } else { Self::Part }
    }
}

/// Which documents must be fetched, by their index: those of rows that lack columns, and those that
/// such rows moved away from.
pub(super) fn needed(
    documents: &[Document<'_>],
    extent: impl Fn(&Wanted<'_>) -> Extent,
) -> BTreeSet<usize> {
    let (mut needed, mut moved) = (BTreeSet::new(), BTreeSet::new());
    for (at, document) in documents.iter().enumerate() {
        for wanted in document.changes().filter(|wanted| wanted.row.is_some()) {
            if extent(wanted) != Extent::Whole {
                needed.insert(at);
                moved.extend(wanted.change.half('i'));
            }
        }
    }
    if !moved.is_empty() {
        let left = |wanted: &Wanted<'_>| {
            wanted.row.is_none() && wanted.change.half('d').is_some_and(|id| moved.contains(id))
        };
        let sources = documents.iter().enumerate();
        needed.extend(sources.filter(|(_, of)| of.changes().any(left)).map(|(at, _)| at));
    }
    needed
}

/// Carries out the changes of the documents that were fetched, in the order of all changes.
///
/// # Errors
///
/// When what was fetched is no object.
pub(super) fn merge<'a>(
    wanted: &'a [Wanted<'a>],
    documents: &[Document<'a>],
    found: &'a BTreeMap<usize, Option<Found>>,
    extent: impl Fn(&Wanted<'_>) -> Extent,
) -> Result<Merged, String> {
    let mut places = BTreeMap::new();
    let mut states = BTreeMap::new();
    for (at, found) in found {
        let Some(document) = documents.get(*at) else { continue };
        for change in document.changes() {
            places.insert(std::ptr::from_ref(change), *at);
        }
        states.insert(*at, State::of(found.as_ref())?);
    }
    let (mut moved, mut merged) = (BTreeMap::new(), Merged::default());
    for one in wanted {
        let Some(at) = places.get(&std::ptr::from_ref(one)) else { continue };
        let Some(state) = states.get_mut(at) else { continue };
        if let Err(why) = state.apply(one, extent(one), &mut moved) {
            merged.unusable.insert(*at, one.change.unusable(why));
        }
    }
    for (at, state) in states {
        if merged.unusable.contains_key(&at) {
            continue;
        }
        let is_written = documents.get(at).is_some_and(|of| of.last.row.is_some());
        match state.fields {
            Some(fields) => {
                let mut text = String::new();
                push_object(&mut text, &fields);
                merged.texts.insert(at, text);
            }
            None if is_written => drop(merged.absent.insert(at)),
            None => {}
        }
    }
    Ok(merged)
}

/// A document on its way.
#[derive(Debug)]
struct State<'a> {
    /// The version that the server has.
    version: u64,
    /// `None`: it is not there.
    fields: Option<Vec<Column<'a>>>,
}

/// What was under the old key of rows that moved, by the id that both halves of the change share;
/// `None` where the server has carried out this half before, and nobody knows what was there.
type Moved<'a> = BTreeMap<&'a str, Option<Vec<Column<'a>>>>;

impl<'a> State<'a> {
    fn of(found: Option<&'a Found>) -> Result<Self, String> {
        let Some(found) = found else { return Ok(Self { version: 0, fields: None }) };
        let source = Columns::read(found.source.get()).map_err(|error| error.to_string())?;
        let owned = |(name, json): (&str, &'a str)| -> Column<'a> {
            (Cow::Owned(name.to_owned()), Cow::Borrowed(json))
        };
        Ok(Self { version: found.version, fields: Some(source.iter().map(owned).collect()) })
    }

    fn apply(
        &mut self,
        wanted: &'a Wanted<'a>,
        extent: Extent,
        moved: &mut Moved<'a>,
    ) -> Result<(), String> {
        let is_known = wanted.change.read.seq.is_some_and(|seq| seq <= self.version);
        let Some(row) = &wanted.row else {
            if let Some(id) = wanted.change.half('d') {
                let left = || self.fields.clone().unwrap_or_default();
                moved.insert(id, (!is_known).then(left));
            }
            if !is_known {
                self.fields = None;
            }
            return Ok(());
        };
        if is_known {
            return Ok(());
        }
        let is_update = wanted.change.read.action == Action::Update;
        let before = match wanted.change.half('i') {
            _ if extent == Extent::Whole => None,
            None if extent == Extent::Part && is_update && self.fields.is_none() => return Ok(()),
            Some(id) => Some(moved.remove(id).flatten().ok_or(LOST)?),
            None => self.fields.take(),
        };
        self.fields = Some(over(before.unwrap_or_default(), row));
        Ok(())
    }
}

const LOST: &str = "the event lacks columns, and the document under the row's old key, which had \
                    them, is not there any more: set binlog_row_image = FULL on the source, or workers = 1 \
                    for this listener; then skip the event and send the table with a full sync";

/// The row, and the fields that it lacks.
fn over<'a>(mut fields: Vec<Column<'a>>, row: &[Column<'a>]) -> Vec<Column<'a>> {
    for (name, json) in row {
        match fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, value)) => *value = json.clone(),
            None => fields.push((name.clone(), json.clone())),
        }
    }
    fields
}

#[cfg(test)]
mod tests;
