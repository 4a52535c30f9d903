//! The lines of `_bulk` requests.

use std::{collections::HashMap, fmt::Write as _};

use serde_json::Value;

use super::{
    config::Names,
    place::{Place, Placing},
};
use crate::{
    change::{Change, Unusable},
    shape::Wanted,
};

/// A document, and its changes in one call.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) place: Place,
    /// What is to be at the end.
    pub(super) last: &'a Wanted<'a>,
    /// What came before that.
    pub(super) earlier: Vec<&'a Wanted<'a>>,
}

/// What to do with one document.
#[derive(Debug)]
pub(super) struct Operation<'a> {
    /// The event that it does.
    pub(super) change: &'a Change<'a>,
    pub(super) is_delete: bool,
    /// One line, or two, each with its end.
    lines: String,
}

impl<'a> Document<'a> {
    /// The documents of the changes, each once, and the changes that have none.
    pub(super) fn of(wanted: &'a [Wanted<'a>], names: &Names) -> (Vec<Self>, Vec<Unusable>) {
        let (mut documents, mut unusable) = (Vec::<Self>::new(), Vec::new());
        let mut known: HashMap<Place, usize> = HashMap::with_capacity(wanted.len());
        let mut placing = Placing::new(names);
        for last in wanted {
            match placing.place(&last.change) {
                Ok(place) => {
                    let at = *known.entry(place.clone()).or_insert(documents.len());
                    match documents.get_mut(at) {
                        Some(document) => {
                            document.earlier.push(std::mem::replace(&mut document.last, last));
                        }
                        None => documents.push(Self { place, last, earlier: Vec::new() }),
                    }
                }
                Err(why) => unusable.push(last.change.misfit(why)),
            }
        }
        (documents, unusable)
    }

    /// All its changes, in their order.
    pub(super) fn changes(&self) -> impl Iterator<Item = &'a Wanted<'a>> {
        self.earlier.iter().copied().chain([self.last])
    }
}

impl<'a> Operation<'a> {
    /// What makes a document what its last change says; `merged` where that has not all columns.
    ///
    /// # Errors
    ///
    /// What the event lacks for it.
    pub(super) fn of(
        document: &Document<'a>,
        merged: Option<&str>,
        names: &Names,
    ) -> Result<Self, Unusable> {
        let Wanted { change, row, .. } = document.last;
        let Some(seq) = change.read.seq else {
            return Err(change.unusable("the event has no Seq: it is of a dts of an old version"));
        };
        let is_delete = row.is_none();
        let mut lines = String::with_capacity(change.read.data.len() + 120);
        push_head(&mut lines, &document.place, (is_delete, seq));
        if let Some(pipeline) = names.pipeline.as_ref().filter(|_| !is_delete) {
            // Writing to a string does not fail.
            let _ = write!(lines, r#","pipeline":{}"#, Value::from(&**pipeline));
        }
        lines.push_str("}}\n");
        match (merged, row) {
            (Some(merged), Some(_)) => lines.push_str(merged),
            (None, Some(row)) => push_object(&mut lines, row),
            (_, None) => return Ok(Self { change, is_delete, lines }),
        }
        lines.push('\n');
        Ok(Self { change, is_delete, lines })
    }

    /// Whether it deletes what a row leaves behind that moves to another key.
    pub(super) fn leaves_its_key(&self) -> bool {
        self.is_delete && self.change.half('d').is_some()
    }

    pub(super) fn lines(&self) -> &str {
        &self.lines
    }

    /// The operations in parts, each with a bounded number of bytes.
    pub(super) fn parts(operations: &[Self], max_bytes: usize) -> Vec<&[Self]> {
        let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
        for (at, operation) in operations.iter().enumerate() {
            if at > start && bytes + operation.lines.len() > max_bytes {
                parts.push(&operations[start..at]);
                (start, bytes) = (at, 0);
            }
            bytes += operation.lines.len();
        }
        if start < operations.len() {
            parts.push(&operations[start..]);
        }
        parts
    }
}

/// The line that says what to do with the document, but for its end.
fn push_head(lines: &mut String, place: &Place, (is_delete, seq): (bool, u64)) {
    let verb = if is_delete { "delete" } else { "index" };
    // Writing to a string does not fail.
    let _ = write!(
        lines,
        r#"{{"{verb}":{{"_index":{},"_id":{},"version":{seq},"version_type":"external""#,
        Value::from(&*place.index),
        Value::from(&*place.id)
    );
    if let Some(routing) = &place.routing {
        let _ = write!(lines, r#","routing":{}"#, Value::from(&**routing));
    }
}

/// Writes an object of columns.
pub(super) fn push_object<N: AsRef<str>, J: AsRef<str>>(text: &mut String, row: &[(N, J)]) {
    text.push('{');
    for (index, (name, json)) in row.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{}:{}", Value::from(name.as_ref()), json.as_ref());
    }
    text.push('}');
}

#[cfg(test)]
pub(super) mod tests {
    use handler::Event;

    use super::*;
    use crate::{change::tests::event, elasticsearch::config::default_index, shape::Shape};

    pub(in crate::elasticsearch) fn names() -> Names {
        Names { index: default_index(), id: None, routing: None, pipeline: None }
    }

    fn bodies(events: &[&Event], max_bytes: usize) -> Vec<String> {
        let (wanted, _) = Shape::default().wanted(events);
        let (documents, unusable) = Document::of(&wanted, &names());
        assert_eq!(unusable, []);
        let operations: Result<Vec<_>, _> =
            documents.iter().map(|document| Operation::of(document, None, &names())).collect();
        let operations = operations.unwrap();
        let parts = Operation::parts(&operations, max_bytes).into_iter();
        parts.map(|part| part.iter().map(Operation::lines).collect()).collect()
    }

    #[test]
    fn a_row_is_two_lines_and_a_delete_is_one() {
        let row = event("insert", r#"{"id":7,"name":"b"}"#, None);
        let head =
            r#"{"index":{"_index":"shop-item","_id":"7","version":5,"version_type":"external"}}"#;
        assert_eq!(bodies(&[&row], 1 << 20), [format!("{head}\n{{\"id\":7,\"name\":\"b\"}}\n")]);
        let gone = event("delete", r#"{"id":7}"#, None);
        assert_eq!(
            bodies(&[&gone], 1 << 20),
            [format!("{}\n", head.replace("index\":{", "delete\":{"))]
        );
    }

    #[test]
    fn of_several_changes_of_a_document_only_the_last_is_sent() {
        let first = event("insert", r#"{"id":7,"n":1}"#, None);
        let second = event("update", r#"{"id":7,"n":2}"#, Some(r#"{"n":1}"#));
        let bodies = bodies(&[&first, &second], 1 << 20);
        assert!(
            bodies.len() == 1 && bodies[0].contains("\"n\":2") && !bodies[0].contains("\"n\":1")
        );
    }

    #[test]
    fn requests_are_cut_at_their_size_but_not_within_an_operation() {
        let events: Vec<Event> = (0..5)
            .map(|id| {
                let one = event("insert", "{\"id\":7}", None);
                Event { json: one.json.replace("\"id\":7", &format!("\"id\":{id}")), ..one }
            })
            .collect();
        let events: Vec<&Event> = events.iter().collect();
        let all = bodies(&events, 250);
        assert_eq!((all.len(), all.concat().lines().count()), (3, 10));
        assert_eq!(bodies(&events, 1).len(), 5);
    }
}
