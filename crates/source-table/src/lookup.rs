//! Rows that are looked up by the key that an event has in `PK`.

use change_event::Columns;
use mysql_async::{Params, Value};

use crate::{
    bound::{exact_bytes, exact_value},
    conn::Conn,
    cursor::KeyValue,
    error::{TableError, TableResult},
    key::{Comparison, KeyPart},
    quote::identifier,
    row::RowWriter,
    table::{Column, Description},
    value::Form,
};

/// The number of the empty value that a server stored in place of an invalid member.
const INVALID_MEMBER: u64 = 0;

/// A table, and the columns by which events name its rows.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Of which the record's key is that of the events.
    table: Description,
    parts: Vec<KeyPart>,
}

/// The key of a row, as the server compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupKey(Vec<KeyValue>);

impl Description {
    /// To look up rows by these columns, which an event has in `PK`.
    ///
    /// # Errors
    ///
    /// Refused, when the table has no column of such a name, or one that cannot be compared.
    pub fn lookup(&self, columns: &[&str]) -> TableResult<Lookup> {
        let part = |name: &&str| {
            let place = self.columns.iter().position(|column| column.name == *name);
            let Some((place, column)) = place.and_then(|at| Some((at, self.columns.get(at)?)))
            else {
                return Err(TableError::refused(
                    format!("{} has no column {name} any more", self.name()),
                    "the key was altered, and the row cannot be found by the old one",
                ));
            };
            column.part(place).filter(|part| part.comparison != Comparison::Digits).ok_or_else(
                || {
                    TableError::refused(
                        format!("{name} of {} is of a type that no row is found by", self.name()),
                        "give the table another key",
                    )
                },
            )
        };
        let parts: Vec<KeyPart> = columns.iter().map(part).collect::<TableResult<_>>()?;
        let primary_key = parts.iter().map(|part| part.column).collect();
        Ok(Lookup { table: Self { primary_key, key: None, ..self.clone() }, parts })
    }
}

impl Lookup {
    /// The key that an event has in `PK`; `None` when the server does not read it as exactly this
    /// key, so that the row might be there and not be found.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn key(&self, conn: &mut Conn, key: &Columns<'_>) -> TableResult<Option<LookupKey>> {
        let mut values = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let column = self.table.columns.get(part.column);
            let Some((column, json)) = column.and_then(|it| Some((it, key.get(&it.name)?))) else {
                return Ok(None);
            };
            match value(conn, (part, column), json).await? {
                Some(value) => values.push(value),
                None => return Ok(None),
            }
        }
        Ok(Some(LookupKey(values)))
    }

    /// The query for the rows with these keys; the server may give others, too, that it compares as
    /// equal.
    pub fn query(&self, keys: &[LookupKey]) -> (String, Params) {
        let columns = self.table.columns.iter().map(|column| identifier(&column.name));
        self.select(&columns.collect::<Vec<_>>().join(", "), keys)
    }

    /// A query whose answer comes when no transaction has changed one of these rows and not ended.
    pub fn settling_query(&self, keys: &[LookupKey]) -> (String, Params) {
        let (sql, params) = self.select("1", keys);
        (format!("{sql} LOCK IN SHARE MODE"), params)
    }

    /// Writes the rows of [`Self::query`]; `pk` is the object of the events' key.
    ///
    /// # Errors
    ///
    /// As [`RowWriter::new`].
    pub fn writer(&self, result: &[mysql_async::Column]) -> TableResult<RowWriter> {
        RowWriter::new(result, &self.table, None)
    }

    fn select(&self, what: &str, keys: &[LookupKey]) -> (String, Params) {
        let equal = |part: &KeyPart| format!("{} = {}", part.expression(), part.operand());
        let one = self.parts.iter().map(equal).collect::<Vec<_>>().join(" AND ");
        let all = vec![format!("({one})"); keys.len()].join(" OR ");
        let values = keys.iter().flat_map(|LookupKey(values)| self.parts.iter().zip(values));
        let params: Vec<Value> = values.filter_map(|(part, value)| part.param(value)).collect();
        let sql = format!("SELECT {what} FROM {} WHERE {all}", self.table.quoted_name());
        (sql, Params::Positional(params))
    }
}

async fn value(
    conn: &mut Conn,
    (part, column): (&KeyPart, &Column),
    json: &str,
) -> TableResult<Option<KeyValue>> {
    let value = match serde_json::from_str(json) {
        Ok(serde_json::Value::String(text)) => {
            let is_empty_member = text.is_empty() && matches!(column.form, Form::Enum(_));
            match is_empty_member {
                true => empty_member(column),
                false => exact_value(conn, (part, column), &text).await?,
            }
        }
        Ok(serde_json::Value::Number(_)) => exact_value(conn, (part, column), json).await?,
        Ok(serde_json::Value::Array(members)) => bits(column, &members),
        // Bytes that are not text in the column's character set.
        Ok(serde_json::Value::Object(object)) => match (&column.form, object.get("base64")) {
            (Form::Text { .. }, Some(serde_json::Value::String(text))) => {
                exact_bytes(conn, part, text).await?
            }
            _ => None,
        },
        _ => None,
    };
    Ok(value.filter(|value| part.param(value).is_some()))
}

/// What a server stored in place of an invalid member. Where a member has an empty name, no event
/// tells the two apart.
fn empty_member(column: &Column) -> Option<KeyValue> {
    let is_named = column.members().iter().any(String::is_empty);
    (!is_named).then_some(KeyValue::Unsigned(INVALID_MEMBER))
}

/// The bits of a SET.
fn bits(column: &Column, members: &[serde_json::Value]) -> Option<KeyValue> {
    if !matches!(column.form, Form::Set(_)) {
        return None;
    }
    let declared = column.members();
    let mut bits = 0_u64;
    for member in members {
        let text = member.as_str()?;
        let place = declared.iter().position(|declared| declared == text)?;
        bits |= 1_u64.checked_shl(u32::try_from(place).ok()?)?;
    }
    Some(KeyValue::Unsigned(bits))
}
