//! Keys that users give as text, and a check that the server reads keys as they were meant.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mysql_async::{Row, Value};

use crate::{
    conn::Conn,
    cursor::{Cursor, KeyValue, hex_digits, read_time},
    error::{TableError, TableResult},
    key::{Comparison, KeyPart},
    row::moment,
    table::{Column, Description},
    value::Form,
};

impl Description {
    /// Turns a user's text into a bound: a key of the table. The text has the form of an event's
    /// `PK`, without quotes. The server turns dates, times and text into the column's type.
    ///
    /// # Errors
    ///
    /// [`TableError::Bound`], when the key has several columns or none, or the text is not exactly
    /// a value of the column's type.
    pub async fn bound(&self, conn: &mut Conn, text: &str) -> TableResult<Cursor> {
        let key = self.key.as_ref().ok_or_else(|| {
            TableError::Bound(format!(
                "{} has no key, so `from` and `to` cannot be used",
                self.name()
            ))
        })?;
        let [part] = key.parts.as_slice() else {
            let problem = format!("the key {} of {} has several columns", key.index, self.name());
            return Err(TableError::Bound(problem));
        };
        if part.prefix.is_some() {
            let problem = format!(
                "the key {} of {} has only the beginning of a column",
                key.index,
                self.name()
            );
            return Err(TableError::Bound(problem));
        }
        let wrong = |column: &Column| {
            let (name, declared) = (&column.name, &column.declared);
            let table = self.name();
            TableError::Bound(format!(
                "{text:?} is not a value of column {name} ({declared}) of {table}"
            ))
        };
        let column = self.columns.get(part.column).ok_or_else(|| {
            TableError::Bound(format!("the key {} of {} has no column", key.index, self.name()))
        })?;
        let value = exact_value(conn, (part, column), text).await?;
        let values = vec![value.ok_or_else(|| wrong(column))?];
        Ok(Cursor { key: key.identity(), values })
    }

    /// Checks that the server reads a cursor as exactly its key. The server does not where bytes
    /// are not text in their column's character set; then rows could be lost.
    ///
    /// # Errors
    ///
    /// Refused, when the server does not; [`TableError::Altered`], when the cursor belongs to
    /// another key.
    pub async fn check(&self, conn: &mut Conn, cursor: &Cursor) -> TableResult<()> {
        let key = self.key_of(cursor)?;
        for (part, value) in key.parts.iter().zip(&cursor.values) {
            let (Comparison::Text(operand), KeyValue::Bytes { hex }) = (&part.comparison, value)
            else {
                continue;
            };
            let column = self.columns.get(part.column);
            if column.is_some_and(|column| is_text(&column.form, hex)) {
                continue;
            }
            if is_read_exactly(conn, operand, hex).await? {
                continue;
            }
            let (name, table) = (&part.name, self.name());
            return Err(TableError::refused(
                format!("{name} of a row of {table} is not text in its character set: X'{hex}'"),
                "correct the key of that row",
            ));
        }
        Ok(())
    }
}

/// The value of a column that a text means, in the form of an event; `None` when the text is not
/// exactly a value of the column's type.
pub(crate) async fn exact_value(
    conn: &mut Conn,
    (part, column): (&KeyPart, &Column),
    text: &str,
) -> TableResult<Option<KeyValue>> {
    Ok(match &column.form {
        Form::Date | Form::DateTime(_) | Form::Timestamp(_) => {
            ask_moment(conn, &column.form, text).await?
        }
        Form::Text { charset, .. } => ask_text(conn, charset, text).await?,
        Form::Address(_) => {
            let is_right = ask(conn, &format!("{} IS NOT NULL", part.operand()), text).await?;
            (is_right == Some(Value::Int(1))).then(|| KeyValue::Text(text.to_owned()))
        }
        _ => plain_value(column, text),
    })
}

/// The same for bytes in base64 that are not text in the column's character set.
pub(crate) async fn exact_bytes(
    conn: &mut Conn,
    part: &KeyPart,
    base64: &str,
) -> TableResult<Option<KeyValue>> {
    let Ok(bytes) = STANDARD.decode(base64) else { return Ok(None) };
    let is_exact = is_read_exactly(conn, part.operand(), &hex_digits(&bytes)).await?;
    Ok(is_exact.then(|| KeyValue::of_bytes(&bytes)))
}

/// Whether the server reads these digits as exactly these bytes.
async fn is_read_exactly(conn: &mut Conn, operand: &str, hex: &str) -> TableResult<bool> {
    let query = format!("SELECT HEX({operand}) = ?");
    Ok(conn.exec_first(query, (hex, hex)).await? == Some(Some(1)))
}

/// Whether every server reads these bytes unchanged.
fn is_text(form: &Form, hex: &str) -> bool {
    let Form::Text { read, .. } = form else { return *form == Form::Binary };
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let byte = |pair: &[u8]| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
    let mut text = Vec::new();
    bytes.is_some_and(|bytes| {
        read.write(&mut text, &bytes);
        text.first() == Some(&b'"')
    })
}

/// The values that need no server: numbers, times, members and bytes.
fn plain_value(column: &Column, text: &str) -> Option<KeyValue> {
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    match &column.form {
        Form::Integer { .. } | Form::Bit | Form::Year if is_number => {
            let unsigned = text.parse().ok().map(KeyValue::Unsigned);
            unsigned.or_else(|| text.parse().ok().map(KeyValue::Signed))
        }
        // The column holds the nearest FLOAT.
        Form::Float if is_number => {
            let n: f32 = text.parse().ok().filter(|n: &f32| n.is_finite())?;
            Some(KeyValue::of_double(f64::from(n)))
        }
        Form::Double if is_number => {
            let n: f64 = text.parse().ok().filter(|n: &f64| n.is_finite())?;
            Some(KeyValue::of_double(n))
        }
        Form::Decimal { precision, scale } => {
            is_decimal(text, (*precision, *scale)).then(|| KeyValue::Text(text.to_owned()))
        }
        Form::Time(digits) => {
            let value = read_time(text)?;
            let Value::Time(.., micros) = value else { return None };
            let is_exact = micros % unit_micros(*digits) == 0;
            moment(&value).filter(|_| is_exact).map(KeyValue::Text)
        }
        Form::Binary => STANDARD.decode(text).ok().map(|bytes| KeyValue::of_bytes(&bytes)),
        Form::Enum(_) => {
            let place = column.members().iter().position(|member| member == text)?;
            Some(KeyValue::Unsigned(place as u64 + 1))
        }
        _ => None,
    }
}

/// Whether a DECIMAL holds this number with all of its digits.
fn is_decimal(text: &str, (precision, scale): (u8, u8)) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return false,
        Some(parts) => parts,
        None => (digits, ""),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !whole.is_empty()
        && is_digits(whole)
        && is_digits(fraction)
        && whole.trim_start_matches('0').len() <= usize::from(precision.saturating_sub(scale))
        && fraction.trim_end_matches('0').len() <= usize::from(scale)
}

/// The server's result of an expression with one parameter, the text; `None` when the server warns.
async fn ask(conn: &mut Conn, expression: &str, text: &str) -> TableResult<Option<Value>> {
    let answer: Option<Row> = conn.exec_first(format!("SELECT {expression}"), (text,)).await?;
    let is_right = conn.get_warnings() == 0;
    Ok(answer.and_then(|mut row| row.take::<Value, _>(0)).filter(|_| is_right))
}

async fn ask_moment(conn: &mut Conn, form: &Form, text: &str) -> TableResult<Option<KeyValue>> {
    let fraction = match form {
        Form::DateTime(fraction) | Form::Timestamp(fraction) => *fraction,
        _ => 0,
    };
    // Events have a TIMESTAMP as RFC 3339, in UTC like our session.
    let text =
        text.strip_suffix('Z').filter(|_| matches!(form, Form::Timestamp(_))).unwrap_or(text);
    let Some(value) = ask(conn, "CAST(? AS DATETIME(6))", text).await? else { return Ok(None) };
    let is_exact = match value {
        Value::Date(.., hour, minute, second, micros) if *form == Form::Date => {
            (hour, minute, second, micros) == (0, 0, 0, 0)
        }
        Value::Date(.., micros) => micros % unit_micros(fraction) == 0,
        _ => false,
    };
    Ok(moment(&value).filter(|_| is_exact).map(KeyValue::Text))
}

/// How many microseconds the last of this many digits of fraction counts.
fn unit_micros(digits: u8) -> u32 {
    10_u32.pow(u32::from(6_u8.saturating_sub(digits)))
}

/// The bytes of a text in a character set, if it has all characters of the text. The text is sent
/// as digits, because the server may read a parameter in another character set.
async fn ask_text(conn: &mut Conn, charset: &str, text: &str) -> TableResult<Option<KeyValue>> {
    let converted = format!("CONVERT(CONVERT(UNHEX(?) USING utf8mb4) USING {charset})");
    let query = format!(
        "SELECT CAST({converted} AS BINARY), CAST(CONVERT({converted} USING utf8mb4) AS BINARY)"
    );
    let digits = hex_digits(text.as_bytes());
    let mut found: Option<Row> = conn.exec_first(query, (&digits, &digits)).await?;
    let mut take = |at: usize| found.as_mut().and_then(|row| row.take::<Option<Vec<u8>>, _>(at)?);
    let (Some(bytes), Some(back)) = (take(0), take(1)) else { return Ok(None) };
    Ok((back == text.as_bytes()).then(|| KeyValue::of_bytes(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_with_too_many_digits_is_refused() {
        for right in ["0", "-0.5", "123.45", "0123.4500", "999.99", "-999.99"] {
            assert!(is_decimal(right, (5, 2)), "{right}");
        }
        for wrong in
            ["", "-", "1000", "1.234", "1e2", "abc", "1.", ".5", "1.2.3", "+1", " 1", "NaN"]
        {
            assert!(!is_decimal(wrong, (5, 2)), "{wrong}");
        }
    }
}
