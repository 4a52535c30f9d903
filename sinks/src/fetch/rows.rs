//! Asks for rows of one table, by the keys that events name.

use std::{
    collections::{HashMap, hash_map::Entry},
    pin::pin,
};

use change_event::Columns;
use futures_util::TryStreamExt as _;
use handler::Failure;
use source_table::{Lookup, LookupKey, TableError, TableResult, describe, quote};

use super::{
    short::{Short, TablePlace},
    source::{SourceConn, away},
};

/// So many rows are asked for at once: a statement has no more than 65,535 values.
pub(super) const MAX_KEYS: usize = 500;

/// What the source has of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// All columns, as an object of JSON.
    Row(String),
    /// The row is not there any more.
    Gone,
    /// Why that cannot be said. The event fails.
    Unclear(String),
}

/// What a look at a table finds.
pub(super) enum Seen {
    /// All its columns may be read.
    Readable,
    /// A privilege is missing, as the server says.
    Denied(String),
    /// The server has no such table.
    Missing,
}

/// What the source has of each row.
///
/// # Errors
///
/// Why the source as a whole cannot be asked.
pub(super) async fn fetch_rows(
    source: &mut SourceConn,
    place: &TablePlace,
    short: &[Short<'_>],
) -> Result<Vec<Fetched>, Failure> {
    let all = |why: String| vec![Fetched::Unclear(why); short.len()];
    let name = place.name();
    match see(source, place).await.map_err(|error| source.failure(error))? {
        Seen::Readable => {}
        Seen::Denied(said) => {
            let grant = source.grant(&place.schema, &place.table);
            return Err(away(format!("the source: {said}; {grant}")));
        }
        Seen::Missing => return Ok(all(no_table(source.address(), &name))),
    }
    match ask(source, place, short).await {
        Ok(fetched) => Ok(fetched),
        Err(TableError::Refused { problem, remedy }) => {
            let address = source.address();
            Ok(all(format!("the source at {address} cannot be asked: {problem}; {remedy}")))
        }
        Err(error) => Err(source.failure(error)),
    }
}

/// What is said where a table was dropped or renamed.
pub(super) fn no_table(address: &str, name: &str) -> String {
    format!(
        "the source at {address} has no table {name}: if it was dropped or renamed, skip the \
         event; else name the server that dts reads from in `oversized.fetch`"
    )
}

/// Whether we may read all columns of a table: a server hides the others.
pub(super) async fn see(source: &mut SourceConn, place: &TablePlace) -> TableResult<Seen> {
    let TablePlace { schema, table, .. } = place;
    let name = format!("{}.{}", quote::identifier(schema), quote::identifier(table));
    match source.conn.query_drop(format!("SELECT * FROM {name} LIMIT 0")).await {
        Ok(()) => Ok(Seen::Readable),
        Err(error) => match error {
            // A schema, a table, a column.
            mysql_async::Error::Server(said) if matches!(said.code, 1044 | 1142 | 1143) => {
                let address = source.address();
                Ok(Seen::Denied(format!("{address} says: {} ({})", said.message, said.code)))
            }
            // No such schema, no such table.
            mysql_async::Error::Server(said) if matches!(said.code, 1049 | 1146) => {
                Ok(Seen::Missing)
            }
            other => Err(other.into()),
        },
    }
}

async fn ask(
    source: &mut SourceConn,
    place: &TablePlace,
    short: &[Short<'_>],
) -> TableResult<Vec<Fetched>> {
    let TablePlace { schema, table, key } = place;
    let Some(described) = describe(&mut source.conn, schema, table).await? else {
        return Ok(vec![Fetched::Unclear(no_table(source.address(), &place.name())); short.len()]);
    };
    let names: Vec<&str> = key.iter().map(String::as_str).collect();
    let lookup = described.lookup(&names)?;
    let mut keys = Vec::with_capacity(short.len());
    for one in short {
        keys.push(lookup.key(&mut source.conn, &one.key).await?);
    }
    let mut asked: Vec<LookupKey> = Vec::new();
    for key in keys.iter().flatten() {
        if !asked.contains(key) {
            asked.push(key.clone());
        }
    }
    let found = match asked.is_empty() {
        true => HashMap::new(),
        false => read(source, &lookup, (&asked, &names)).await?,
    };
    let of = |(one, key): (&Short<'_>, &Option<LookupKey>)| match (key, identity(&one.key, &names))
    {
        (Some(_), identity) => found.get(&identity).cloned().unwrap_or(Fetched::Gone),
        (None, _) => Fetched::Unclear(format!(
            "the source at {} does not read the key of the event as exactly this key of {}",
            source.address(),
            place.name()
        )),
    };
    Ok(short.iter().zip(&keys).map(of).collect())
}

/// The rows that are there, by their keys.
async fn read(
    source: &mut SourceConn,
    lookup: &Lookup,
    (keys, names): (&[LookupKey], &[&str]),
) -> TableResult<HashMap<Vec<String>, Fetched>> {
    if source.may_be_early {
        let (sql, params) = lookup.settling_query(keys);
        source.conn.exec_drop(sql, params).await?;
    }
    let (sql, params) = lookup.query(keys);
    let (mut found, mut writer) = (HashMap::new(), None);
    let mut rows = pin!(source.conn.exec_stream(sql, params).await?);
    while let Some(row) = rows.try_next().await? {
        let writer = match &mut writer {
            Some(writer) => writer,
            none => none.insert(lookup.writer(row.columns_ref())?),
        };
        let mut text = Vec::new();
        let written = writer.write(&row, &mut text)?;
        let key = String::from_utf8_lossy(text.get(written.pk).unwrap_or_default());
        let key = identity(&Columns::read(&key).unwrap_or_default(), names);
        text.truncate(written.data.end);
        let row = match String::from_utf8(text) {
            Ok(data) => Fetched::Row(data),
            Err(_) => Fetched::Unclear("the row is not text".to_owned()),
        };
        match found.entry(key) {
            Entry::Vacant(new) => {
                new.insert(row);
            }
            Entry::Occupied(mut other) => {
                let why = "several rows of the source have the key of the event: make it unique";
                other.insert(Fetched::Unclear(why.to_owned()));
            }
        }
    }
    Ok(found)
}

/// The values of a key. A number may come as a text (`bigint = "string"` of the listener).
fn identity(key: &Columns<'_>, names: &[&str]) -> Vec<String> {
    let value = |name: &&str| key.get(name).unwrap_or_default().trim_matches('"').to_owned();
    names.iter().map(value).collect()
}
