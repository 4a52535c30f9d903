//! The lines of `_bulk` requests.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use super::Names;
use crate::{
    change::{Change, Column, Unusable},
    shape::Wanted,
};

/// An id is not longer at the server (`_id` field, "limited to 512 bytes in size").
const MAX_ID_BYTES: usize = 512;

/// What to do with one document.
#[derive(Debug)]
pub(super) struct Operation<'a> {
    /// The event that it does.
    pub(super) change: &'a Change<'a>,
    pub(super) is_delete: bool,
    /// One line, or two, each with its end.
    lines: String,
}

/// What to do, one operation for each document: of several changes of a document only the last.
#[derive(Debug, Default)]
pub(super) struct Operations<'a>(Vec<Operation<'a>>);

/// A request.
#[derive(Debug)]
pub(super) struct BulkRequest<'o, 'a> {
    pub(super) operations: &'o [Operation<'a>],
    pub(super) body: String,
}

impl Operation<'_> {
    pub(super) fn lines(&self) -> &str {
        &self.lines
    }
}

impl<'a> Operations<'a> {
    pub(super) fn of(wanted: &'a [Wanted<'a>], names: &Names) -> (Self, Vec<Unusable>) {
        let (mut operations, mut unusable) = (Vec::new(), Vec::new());
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for one in wanted {
            match head(&one.change, one.row.is_none(), names) {
                Ok((place, head)) => {
                    let operation = operation(one, &head);
                    let at = *places.entry(place).or_insert(operations.len());
                    match operations.get_mut(at) {
                        Some(earlier) => *earlier = operation,
                        None => operations.push(operation),
                    }
                }
                Err(why) => unusable.push(one.change.unusable(why)),
            }
        }
        (Self(operations), unusable)
    }

    /// The requests, each of a bounded size.
    pub(super) fn requests(&self, max_bytes: usize) -> Vec<BulkRequest<'_, 'a>> {
        let (mut requests, mut start, mut bytes) = (Vec::new(), 0, 0);
        for (at, operation) in self.0.iter().enumerate() {
            if at > start && bytes + operation.lines.len() > max_bytes {
                requests.push(BulkRequest::of(&self.0[start..at]));
                (start, bytes) = (at, 0);
            }
            bytes += operation.lines.len();
        }
        if start < self.0.len() {
            requests.push(BulkRequest::of(&self.0[start..]));
        }
        requests
    }
}

impl<'o, 'a> BulkRequest<'o, 'a> {
    fn of(operations: &'o [Operation<'a>]) -> Self {
        Self { operations, body: operations.iter().map(Operation::lines).collect() }
    }
}

fn operation<'a>(Wanted { change, row }: &'a Wanted<'a>, head: &str) -> Operation<'a> {
    let mut lines = String::with_capacity(head.len() + change.read.data.len() + 2);
    lines.push_str(head);
    lines.push('\n');
    if let Some(row) = row {
        push_object(&mut lines, row);
        lines.push('\n');
    }
    Operation { change, is_delete: row.is_none(), lines }
}

/// The place of the document, and the line that says what to do with it.
fn head(change: &Change<'_>, is_delete: bool, names: &Names) -> Result<(String, String), String> {
    let index = names.index.render(change).map_err(|why| format!("index: {why}"))?.to_lowercase();
    let id = match &names.id {
        Some(template) => template.render(change).map_err(|why| format!("id: {why}"))?,
        None => id_of_key(change)?,
    };
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(format!(
            "the document's id has {} bytes: it may have 1 to {MAX_ID_BYTES}; make a shorter one \
             with `id`",
            id.len()
        ));
    }
    let Some(seq) = change.read.seq else {
        return Err("the event has no Seq: it is of a dts of an old version".to_owned());
    };
    let verb = if is_delete { "delete" } else { "index" };
    let mut line = format!(
        r#"{{"{verb}":{{"_index":{},"_id":{},"version":{seq},"version_type":"external""#,
        Value::from(&*index),
        Value::from(&*id)
    );
    let mut place = format!("{index}\n{id}");
    if let Some(template) = &names.routing {
        let routing = template.render(change).map_err(|why| format!("routing: {why}"))?;
        // Writing to a string does not fail.
        let _ = write!(line, r#","routing":{}"#, Value::from(&*routing));
        let _ = write!(place, "\n{routing}");
    }
    if let Some(pipeline) = names.pipeline.as_ref().filter(|_| !is_delete) {
        let _ = write!(line, r#","pipeline":{}"#, Value::from(&**pipeline));
    }
    line.push_str("}}");
    Ok((place, line))
}

/// The id of a document: the value of the key's column, or the values of its columns as a JSON
/// array.
fn id_of_key(change: &Change<'_>) -> Result<String, String> {
    let mut columns = change.key.iter();
    match (columns.next(), columns.len()) {
        (None, _) => {
            Err("the table has no key: make an id with `id`, set keyColumns in dts.toml, \
                          or leave the table out"
                .to_owned())
        }
        (Some((_, json)), 0) => Ok(text_of(json).into_owned()),
        _ => {
            let values: Vec<&str> = change.key.iter().map(|(_, json)| json).collect();
            Ok(format!("[{}]", values.join(",")))
        }
    }
}

/// A text without its quotes; other JSON as it is.
fn text_of(json: &str) -> Cow<'_, str> {
    match serde_json::from_str::<String>(json) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(json),
    }
}

fn push_object(text: &mut String, row: &[Column<'_>]) {
    text.push('{');
    for (index, (name, json)) in row.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{}:{json}", Value::from(&**name));
    }
    text.push('}');
}

#[cfg(test)]
mod tests {
    use handler::Event;

    use super::*;
    use crate::{change::tests::event, elasticsearch::default_index, shape::Shape};

    fn names() -> Names {
        Names { index: default_index(), id: None, routing: None, pipeline: None }
    }

    fn bodies(events: &[&Event], max_bytes: usize) -> Vec<String> {
        let (wanted, _) = Shape::default().wanted(events);
        let (operations, unusable) = Operations::of(&wanted, &names());
        assert_eq!(unusable, []);
        operations.requests(max_bytes).into_iter().map(|request| request.body).collect()
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

    #[test]
    fn a_key_of_several_columns_cannot_be_mistaken_for_another() {
        let of = |key: &str| {
            let one = event("insert", "{}", None);
            let one = Event { json: one.json.replace(r#"{"id":7}"#, key), ..one };
            let change = Change::read(&one).unwrap();
            id_of_key(&change)
        };
        assert_eq!(of(r#"{"a":"x,y","b":1}"#).unwrap(), r#"["x,y",1]"#);
        assert_eq!(of(r#"{"a":"x"}"#).unwrap(), "x");
        assert!(of("{}").unwrap_err().contains("no key"));
    }
}
