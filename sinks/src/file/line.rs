//! The lines of a batch, by file.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use change_event::Origin;
use serde_json::Value;

use super::Form;
use crate::{
    change::Column,
    message,
    shape::{Shape, Wanted},
    template::Template,
};

/// A file's name has room for this, and for what is added to it.
const MAX_NAME_BYTES: usize = 180;

/// The lines of a batch, for each name of a file.
#[derive(Debug, Default)]
pub(super) struct Lines(pub(super) BTreeMap<String, Vec<Line>>);

/// A line of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// By which the change is recognised when it comes again; `None` for a replay, which is wanted.
    pub(super) ev_id: Option<String>,
    /// The first line of the file that it fits into; empty if any does.
    pub(super) header: String,
    /// With its end.
    pub(super) text: String,
}

/// The columns before those of the row.
pub(super) const LEADING: [&str; 4] = ["EvId", "Seq", "Ts", "Action"];

impl Lines {
    /// Adds the line of a change.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) fn push(
        &mut self,
        one: &Wanted<'_>,
        name: &Template,
        form: &Form,
        shape: &Shape,
    ) -> Result<(), String> {
        let name = name.render(&one.change).map_err(|why| format!("name: {why}"))?;
        let name = file_name(&name)?;
        let read = &one.change.read;
        let (header, text) = match form {
            Form::Events => (String::new(), message::message(one, shape)? + "\n"),
            Form::Rows => (String::new(), row_line(one, shape)?),
            Form::Csv { null } => csv_lines(one, shape, null)?,
        };
        let ev_id = (read.origin != Origin::Replay).then(|| read.id.to_string());
        self.0.entry(name).or_default().push(Line { ev_id, header, text });
        Ok(())
    }
}

/// A name that is inside of the directory. What a file's name should not have is written as `%XX`.
fn file_name(name: &str) -> Result<String, String> {
    let mut safe = String::with_capacity(name.len());
    for char in name.chars() {
        if char.is_alphanumeric() || "/._-".contains(char) {
            safe.push(char);
            continue;
        }
        let mut bytes = [0; 4];
        for byte in char.encode_utf8(&mut bytes).bytes() {
            // Writing to a string does not fail.
            let _ = write!(safe, "%{byte:02X}");
        }
    }
    let is_wrong =
        |part: &str| part.is_empty() || part.starts_with('.') || part.len() > MAX_NAME_BYTES;
    if safe.split('/').any(is_wrong) {
        return Err(format!(
            "name: {name:?} is no name of a file: each part between / has 1 to {MAX_NAME_BYTES} \
             bytes, and does not begin with a dot"
        ));
    }
    Ok(safe)
}

/// The values before those of the row, as JSON.
fn leading(one: &Wanted<'_>) -> [String; 4] {
    let read = &one.change.read;
    [
        Value::from(&*read.id).to_string(),
        read.seq.map_or_else(|| "null".to_owned(), |seq| seq.to_string()),
        read.ts.to_string(),
        Value::from(message::action(one).as_str()).to_string(),
    ]
}

fn all_columns<'r>(one: &'r Wanted<'_>, shape: &Shape) -> Result<Vec<Column<'r>>, String> {
    let leading = LEADING.into_iter().zip(leading(one));
    let mut all: Vec<Column<'r>> =
        leading.map(|(name, json)| (Cow::Borrowed(name), Cow::Owned(json))).collect();
    for (name, json) in message::columns(one, shape)?.iter() {
        if LEADING.contains(&&**name) {
            return Err(format!(
                "the row has a column {name}, and the file has one, too: give the row's another \
                 name with columns.rename"
            ));
        }
        all.push((name.to_string().into(), json.to_string().into()));
    }
    Ok(all)
}

fn row_line(one: &Wanted<'_>, shape: &Shape) -> Result<String, String> {
    Ok(message::object(&all_columns(one, shape)?) + "\n")
}

/// The header and the line.
fn csv_lines(one: &Wanted<'_>, shape: &Shape, null: &str) -> Result<(String, String), String> {
    let columns = all_columns(one, shape)?;
    let names = columns.iter().map(|(name, _)| name.clone());
    let values = columns.iter().map(|(_, json)| match &**json {
        "null" => Cow::Borrowed(null),
        json => message::plain(json),
    });
    Ok((csv_line(names)?, csv_line(values)?))
}

fn csv_line<'v>(values: impl Iterator<Item = Cow<'v, str>>) -> Result<String, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let values: Vec<Cow<'_, str>> = values.collect();
    writer.write_record(values.iter().map(|value| value.as_bytes())).map_err(|e| e.to_string())?;
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_directory() {
        assert_eq!(file_name("shop.item").as_deref(), Ok("shop.item"));
        assert_eq!(file_name("shop/ä b*").as_deref(), Ok("shop/ä%20b%2A"));
        for wrong in ["", "/etc", "a//b", "../a", "a/../b", ".hidden", &"x".repeat(200)] {
            assert!(file_name(wrong).is_err(), "{wrong}");
        }
    }
}
