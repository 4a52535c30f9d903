//! From a row of a SELECT to the JSON of an event: the same JSON as for the row in the binlog.

use std::{io::Write as _, ops::Range};

use binlog::Fault;
use mysql_async::{Row, Value};

use crate::{
    cursor::{Cursor, KeyValue},
    error::{TableError, TableResult},
    key::{Comparison, Key},
    table::{Column, Description},
    value,
};

/// Writes the rows of a [`Description::page_query`].
#[derive(Clone, Debug)]
pub struct RowWriter {
    /// `schema.table`, for messages.
    name: String,
    columns: Vec<Column>,
    /// The columns that order the records; empty if the whole row does.
    record_key: Vec<usize>,
    cursor: Option<CursorOf>,
}

/// Where the parts of a row are in the buffer that it was written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The record's key: the text of `pk`; if that is empty, a hash of the row.
    pub key: Range<usize>,
    /// The object of the key's columns: `{"id":7}`.
    pub pk: Range<usize>,
    /// The object of all columns.
    pub data: Range<usize>,
}

/// How to make the cursor of a row.
#[derive(Clone, Debug)]
struct CursorOf {
    identity: String,
    /// For each part: the index of its value in the result, and its kind.
    parts: Vec<(usize, Comparison)>,
}

impl RowWriter {
    /// For a result of this description's query. `key_columns` come from the config, and order the
    /// records of a table without a primary key.
    ///
    /// # Errors
    ///
    /// [`TableError::Altered`], when the result's columns differ from the description; refused,
    /// when the table lacks a column that `key_columns` names.
    pub fn new(
        result: &[mysql_async::Column],
        description: &Description,
        key_columns: Option<&[String]>,
    ) -> TableResult<Self> {
        let columns = &description.columns;
        let fits = |(found, described): (&mysql_async::Column, &Column)| {
            found.name_ref() == described.name.as_bytes() && described.form.fits(found)
        };
        let cursor = description.key.as_ref().map(|key| CursorOf::new(key, columns.len()));
        let apart = cursor.as_ref().map_or(0, |cursor| cursor.apart(columns.len()));
        if result.len() != columns.len() + apart || !result.iter().zip(columns).all(fits) {
            return Err(altered(result, description));
        }
        let record_key = record_key(description, key_columns)?;
        let (name, columns) = (description.name(), columns.clone());
        Ok(Self { name, columns, record_key, cursor })
    }

    /// Appends a row.
    ///
    /// # Errors
    ///
    /// When a value is not possible for its column's type. `out` may then hold a part of the row.
    pub fn write(&self, row: &Row, out: &mut Vec<u8>) -> TableResult<Encoded> {
        let start = out.len();
        self.write_object(0..self.columns.len(), row, out)?;
        let data = start..out.len();
        self.write_object(self.record_key.iter().copied(), row, out)?;
        let pk = data.end..out.len();
        if !self.record_key.is_empty() {
            return Ok(Encoded { key: pk.clone(), pk, data });
        }
        let hash = if self.columns.iter().all(|column| column.identifies) {
            hash_of_row(&out[data.clone()])
        } else {
            let tell_apart = |at: &usize| self.columns[*at].identifies;
            self.write_object((0..self.columns.len()).filter(tell_apart), row, out)?;
            let hash = hash_of_row(&out[pk.end..]);
            out.truncate(pk.end);
            hash
        };
        // Writing to a vector does not fail.
        let _ = write!(out, "\"{hash:032x}\"");
        Ok(Encoded { key: pk.end..out.len(), pk, data })
    }

    /// The row's place in the key's order; `None` in a table without a key.
    ///
    /// # Errors
    ///
    /// When a value is not possible for the key's type.
    pub fn cursor(&self, row: &Row) -> TableResult<Option<Cursor>> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let value = |(at, comparison): &(usize, Comparison)| {
            let value = row.as_ref(*at).and_then(|value| key_value(comparison, value));
            value.ok_or_else(|| self.fault(*at, &Fault::Corrupt("it cannot be a value of the key")))
        };
        let values = cursor.parts.iter().map(value).collect::<TableResult<_>>()?;
        Ok(Some(Cursor { key: cursor.identity.clone(), values }))
    }

    fn write_object(
        &self,
        columns: impl Iterator<Item = usize>,
        row: &Row,
        out: &mut Vec<u8>,
    ) -> TableResult<()> {
        out.push(b'{');
        let mut is_first = true;
        for at in columns {
            let (Some(column), Some(value)) = (self.columns.get(at), row.as_ref(at)) else {
                return Err(self.fault(at, &Fault::Corrupt("the server did not send it")));
            };
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.extend_from_slice(&column.json_key);
            value::write(out, &column.form, value).map_err(|fault| self.fault(at, &fault))?;
        }
        out.push(b'}');
        Ok(())
    }

    #[cold]
    fn fault(&self, at: usize, fault: &Fault) -> TableError {
        let column = self.columns.get(at).map_or("", |column| &column.name);
        TableError::value(&self.name, column, fault)
    }
}

impl CursorOf {
    /// How many values follow those of the columns.
    fn apart(&self, columns: usize) -> usize {
        self.parts.iter().filter(|(at, _)| *at >= columns).count()
    }

    fn new(key: &Key, columns: usize) -> Self {
        let mut next = columns;
        let parts = key.parts.iter().map(|part| {
            let mut at = part.column;
            if part.selected_apart().is_some() {
                at = next;
                next += 1;
            }
            (at, part.comparison.clone())
        });
        let parts = parts.collect();
        Self { identity: key.identity(), parts }
    }
}

/// The columns that order the records, the same as for records from the binlog.
fn record_key(
    description: &Description,
    key_columns: Option<&[String]>,
) -> TableResult<Vec<usize>> {
    if !description.primary_key.is_empty() {
        return Ok(description.primary_key.clone());
    }
    let place = |name: &String| {
        description.columns.iter().position(|column| column.name == *name).ok_or_else(|| {
            TableError::refused(
                format!("table {} has no column {name}", description.name()),
                "correct capture.keyColumns in dts.toml",
            )
        })
    };
    key_columns.unwrap_or_default().iter().map(place).collect()
}

fn key_value(comparison: &Comparison, value: &Value) -> Option<KeyValue> {
    Some(match (comparison, value) {
        (Comparison::Number | Comparison::Member { .. } | Comparison::Bits { .. }, value) => {
            return number(value);
        }
        (Comparison::Double, Value::Float(n)) => KeyValue::of_double(f64::from(*n)),
        (Comparison::Double, Value::Double(n)) => KeyValue::of_double(*n),
        (Comparison::Cast(_), Value::Bytes(text)) => {
            KeyValue::Text(String::from_utf8(text.clone()).ok()?)
        }
        (Comparison::Cast(_), Value::Date(..)) => KeyValue::Text(moment(value)?),
        (Comparison::Time, Value::Time(..)) => KeyValue::Text(moment(value)?),
        (Comparison::Digits, Value::Bytes(hex)) => {
            KeyValue::Bytes { hex: String::from_utf8(hex.clone()).ok()? }
        }
        (Comparison::Text(_) | Comparison::Bytes, Value::Bytes(bytes)) => KeyValue::of_bytes(bytes),
        _ => return None,
    })
}

fn number(value: &Value) -> Option<KeyValue> {
    Some(match value {
        Value::UInt(n) => KeyValue::Unsigned(*n),
        Value::Int(n) => match u64::try_from(*n) {
            Ok(n) => KeyValue::Unsigned(n),
            Err(_) => KeyValue::Signed(*n),
        },
        Value::Bytes(bits) if bits.len() <= 8 => {
            KeyValue::Unsigned(bits.iter().fold(0, |n, byte| (n << 8) | u64::from(*byte)))
        }
        _ => return None,
    })
}

/// Writes a date or a time in a form that the server reads.
pub(crate) fn moment(value: &Value) -> Option<String> {
    Some(match *value {
        Value::Date(year, month, day, hour, minute, second, micros) => {
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
        }
        Value::Time(negative, days, hours, minutes, seconds, micros) => {
            let hours = days.checked_mul(24)?.checked_add(u32::from(hours))?;
            let sign = if negative { "-" } else { "" };
            format!("{sign}{hours:02}:{minutes:02}:{seconds:02}.{micros:06}")
        }
        _ => return None,
    })
}

#[cold]
fn altered(result: &[mysql_async::Column], description: &Description) -> TableError {
    let columns = result.iter().zip(&description.columns);
    let mut unlike = columns.filter(|(found, described)| {
        found.name_ref() != described.name.as_bytes() || !described.form.fits(found)
    });
    let which = unlike.next().map_or_else(String::new, |(found, described)| {
        format!(
            ": column {} ({}) came as {} ({:?}, collation {}, {} decimals)",
            described.name,
            described.declared,
            found.name_str(),
            found.column_type(),
            found.character_set(),
            found.decimals()
        )
    });
    TableError::Altered(format!("table {} is not as it was described{which}", description.name()))
}

/// Identifies a row of a table without a key: a hash of the text of `Data`, without the columns
/// that a MariaDB generates. So the hash is the same whichever way the row was read.
pub fn hash_of_row(data: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(data)
}
