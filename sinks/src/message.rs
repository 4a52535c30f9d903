//! A change as one JSON object, for targets that get changes and not rows.

use std::{borrow::Cow, fmt::Write as _};

use change_event::Action;
use serde_json::Value;

use crate::{
    change::Column,
    shape::{Shape, Wanted},
};

/// What happened, as the target sees it: with `where` it may differ from what the source did.
pub(crate) fn action(wanted: &Wanted<'_>) -> Action {
    match wanted.row {
        Some(_) => wanted.change.read.action,
        None => Action::Delete,
    }
}

/// The columns that the change tells: the row as it is now; for a delete the row before it.
pub(crate) fn columns<'r, 'a>(
    wanted: &'r Wanted<'a>,
    shape: &Shape,
) -> Result<Cow<'r, [Column<'a>]>, String> {
    match &wanted.row {
        Some(row) => Ok(Cow::Borrowed(row)),
        None => shape.row(&wanted.change).map(Cow::Owned),
    }
}

/// The change as an event (`docs/event-format.md`) with the columns that the target gets, in one
/// line without its end.
pub(crate) fn message(wanted: &Wanted<'_>, shape: &Shape) -> Result<String, String> {
    let read = &wanted.change.read;
    let data = object(&columns(wanted, shape)?);
    let mut text = format!(
        r#"{{"EvId":{},"Schema":{},"TableName":{},"Action":"{}","PK":{},"Data":{data}"#,
        Value::from(&*read.id),
        Value::from(&*read.schema),
        Value::from(&*read.table_name),
        action(wanted).as_str(),
        read.key,
    );
    // Writing to a string does not fail.
    if let Some(seq) = read.seq {
        let _ = write!(text, r#","Seq":{seq}"#);
    }
    let _ = write!(text, r#","Origin":"{}","Ts":{}}}"#, read.origin.as_str(), read.ts);
    Ok(text)
}

/// Columns as a JSON object.
pub(crate) fn object(columns: &[Column<'_>]) -> String {
    let mut text = String::from("{");
    for (index, (name, json)) in columns.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{}:{json}", Value::from(&**name));
    }
    text.push('}');
    text
}

/// A value as text: a JSON string without its quotes, other JSON as it is.
pub(crate) fn plain(json: &str) -> Cow<'_, str> {
    match serde_json::from_str::<String>(json) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::tests::event;

    fn told(action: &str, data: &str) -> String {
        let event = event(action, data, None);
        let shape = Shape::default();
        let (wanted, _) = shape.wanted(&[&event]);
        message(&wanted[0], &shape).unwrap()
    }

    #[test]
    fn a_message_is_an_event_that_can_be_read_again() {
        let text = told("insert", r#"{"id":7,"name":"a\"b","n":18446744073709551615}"#);
        assert_eq!(
            text,
            r#"{"EvId":"g:1#0","Schema":"shop","TableName":"item","Action":"insert","PK":{"id":7},"Data":{"id":7,"name":"a\"b","n":18446744073709551615},"Seq":5,"Origin":"binlog","Ts":1700000000123}"#
        );
    }

    #[test]
    fn a_delete_tells_the_row_that_was_there() {
        let text = told("delete", r#"{"id":7,"name":"a"}"#);
        assert!(text.contains(r#""Action":"delete","PK":{"id":7},"Data":{"id":7,"name":"a"}"#));
    }
}
