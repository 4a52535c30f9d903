//! Where the document of a row is: its index, its id and its routing.

use std::{borrow::Cow, sync::Arc};

use super::config::Names;
use crate::change::Change;

/// An id is not longer at the server (`_id` field, "limited to 512 bytes in size").
const MAX_ID_BYTES: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) index: Arc<str>,
    pub(super) id: String,
    pub(super) routing: Option<String>,
}

/// Makes places. Names of a table alone are made once for its rows that follow each other.
pub(super) struct Placing<'n> {
    names: &'n Names,
    last: Option<(String, String, Arc<str>)>,
}

impl<'n> Placing<'n> {
    pub(super) fn new(names: &'n Names) -> Self {
        Self { names, last: None }
    }

    /// # Errors
    ///
    /// What the event lacks for it.
    pub(super) fn place(&mut self, change: &Change<'_>) -> Result<Place, String> {
        let index = self.index(change)?;
        let id = match &self.names.id {
            Some(template) => template.render(change).map_err(|why| format!("id: {why}"))?,
            None => id_of_key(change)?,
        };
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(format!(
                "the document's id has {} bytes: it may have 1 to {MAX_ID_BYTES}; make a shorter \
                 one with `id`",
                id.len()
            ));
        }
        let routing = match &self.names.routing {
            Some(template) => {
                Some(template.render(change).map_err(|why| format!("routing: {why}"))?)
            }
            None => None,
        };
        Ok(Place { index, id, routing })
    }

    fn index(&mut self, change: &Change<'_>) -> Result<Arc<str>, String> {
        let (schema, table) = (&change.read.schema, &change.read.table_name);
        if let Some((of_schema, of_table, index)) = &self.last
            && of_schema == schema
            && of_table == table
        {
            return Ok(Arc::clone(index));
        }
        let index = index_of(self.names, change)?;
        if self.names.index.is_of_table() {
            let (schema, table) = (schema.clone().into_owned(), table.clone().into_owned());
            self.last = Some((schema, table, Arc::clone(&index)));
        }
        Ok(index)
    }
}

/// Names of indexes have no capitals.
fn index_of(names: &Names, change: &Change<'_>) -> Result<Arc<str>, String> {
    let name = names.index.render(change).map_err(|why| format!("index: {why}"))?;
    Ok(name.to_lowercase().into())
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
    if !json.starts_with('"') {
        return Cow::Borrowed(json);
    }
    match serde_json::from_str::<String>(json) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(json),
    }
}

#[cfg(test)]
mod tests {
    use handler::Event;

    use super::*;
    use crate::change::tests::event;

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
