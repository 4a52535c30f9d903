//! Which tables a request means, and whether they can be sent.

use full_sync::{Code, Refusal, Request};
use service::glob;
use source_table::{self as table, Bounds, Description};

use crate::{
    error::Error,
    full_sync::{
        config::FullSyncConfig,
        feed::{context::FeedContext, read::check_whole},
        source::TableSource,
        watermark::Marks,
    },
    replica::Conn,
};

/// A table that a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) estimated_rows: u64,
    /// The column that the table is read by, if the request names another than the best key.
    pub(crate) key_column: Option<String>,
    /// Why the table cannot be sent. Only for an initial request, since nobody could ask it in
    /// another way.
    pub(crate) problem: Option<String>,
}

/// Finds the tables of a request.
pub(crate) async fn resolve(
    request: &Request,
    common: &FeedContext,
) -> Result<Vec<Found>, Refusal> {
    let FeedContext { source, capture, config, .. } = common;
    let mut conn = source.connect().await.map_err(away)?;
    let all = table::tables(&mut conn).await.map_err(|error| away(source.reading(error)))?;
    let ours = all.into_iter().filter(|(schema, table)| {
        capture.includes(schema, table) && includes(&request.subscribe, schema, table)
    });
    let tables = choose(request, ours.collect())?;
    let is_narrowed =
        request.key_column.is_some() || request.from.is_some() || request.to.is_some();
    if is_narrowed && tables.len() > 1 {
        return Err(refusal(
            Code::InvalidParameter,
            format!("pk, from and to are for a single table, but {} tables fit", tables.len()),
            "name one table",
        ));
    }
    let count = tables.len();
    let mut found = Vec::with_capacity(count);
    for (schema, table) in tables {
        match look((&mut conn, source), request, (&schema, &table), config).await {
            Ok(Some(table)) => found.push(table),
            // It was dropped since the list was read.
            Ok(None) => {}
            // An error of one table does not affect the others, as long as the server answers.
            Err(refusal) if request.initial => match conn.ping().await {
                Ok(()) => found.push(not_looked_at(request, (schema, table), &refusal)),
                Err(error) => return Err(away(source.error(error))),
            },
            Err(refusal) if count > 1 => return Err(none_begins(refusal, count)),
            Err(refusal) => return Err(refusal),
        }
    }
    let _ = conn.disconnect().await;
    Ok(found)
}

/// The refusal of one table, as that of a request for several.
fn none_begins(refusal: Refusal, tables: usize) -> Refusal {
    let message = format!("none of {tables} tables begins, because of one: {}", refusal.message);
    let remedy = format!("{}; or ask for each of the other tables by its name", refusal.remedy);
    Refusal { message, remedy, ..refusal }
}

/// Whether globs over schema and table include a table; without globs all tables are included.
pub(crate) fn includes(globs: &[(String, String)], schema: &str, table: &str) -> bool {
    let fits = |(of_schema, of_table): &(String, String)| {
        glob::matches(of_schema, schema) && glob::matches(of_table, table)
    };
    globs.is_empty() || globs.iter().any(fits)
}

/// The tables of the listener that the request names.
fn choose(
    request: &Request,
    mut tables: Vec<(String, String)>,
) -> Result<Vec<(String, String)>, Refusal> {
    tables.sort_unstable();
    let Some(named) = &request.tables else {
        return if tables.is_empty() && !request.initial {
            Err(none(request, "of its own"))
        } else {
            Ok(tables)
        };
    };
    let is_bare = |table: &str| glob::matches(named, table);
    // A dot may be a part of either name, so each dot may be the one between the names.
    let is_whole = |(schema, table): &(String, String)| {
        let mut dots = named.match_indices('.').map(|(at, _)| named.split_at(at));
        dots.any(|(of_schema, rest)| {
            glob::matches(of_schema, schema) && glob::matches(&rest[1..], table)
        })
    };
    tables.retain(|of| is_whole(of) || is_bare(&of.1));
    let is_glob = named.contains(['*', '?']);
    match tables.as_slice() {
        [] => Err(none(request, named)),
        [_, _, ..] if !is_glob => {
            let names: Vec<String> =
                tables.iter().map(|(schema, table)| format!("{schema}.{table}")).collect();
            Err(refusal(
                Code::AmbiguousTable,
                format!("{named:?} may be {}", names.join(" or ")),
                "name the schema too: schema.table",
            ))
        }
        _ => Ok(tables),
    }
}

fn none(request: &Request, named: &str) -> Refusal {
    refusal(
        Code::NoSuchTable,
        format!(
            "listener {} has no table {named:?} that exists, is captured, and that dts may read",
            request.listener
        ),
        "check the name, the listener's subscribe, capture.tables of dts, and that the account of \
         dts has SELECT on the table",
    )
}

/// Whether a table can be sent as the request asks.
async fn look(
    (conn, source): (&mut Conn, &TableSource),
    request: &Request,
    names: (&str, &str),
    config: &FullSyncConfig,
) -> Result<Option<Found>, Refusal> {
    let not_possible = |error| refused(Code::NotPossible, source.reading(error));
    let best = table::describe_by(conn, names, None).await.map_err(not_possible)?;
    let Some(best) = best else { return Ok(None) };
    let (described, by) = match request.key_column.as_deref() {
        Some(column) if !best.is_read_by(column) => {
            let other = table::describe_by(conn, names, Some(column)).await;
            let other = other
                .map_err(|error| refused(Code::InvalidParameter, source.reading(error)))?
                .unwrap_or(best);
            (other, Some(column.to_owned()))
        }
        _ => (best, None),
    };
    if described.key.is_none() && described.estimated_rows > config.max_keyless_rows {
        return Err(too_many_rows(&described, config));
    }
    let mut bounds = Vec::new();
    for bound in [&request.from, &request.to].into_iter().flatten() {
        let bound = described.bound(conn, bound).await;
        bounds.push(bound.map_err(|error| refused(Code::InvalidParameter, source.reading(error)))?);
    }
    if let [from, to] = bounds.as_slice()
        && from.is_larger_number(to)
    {
        let problem = "the first key is larger than the last, so no row is between them";
        return Err(refusal(Code::InvalidParameter, problem, "exchange the two keys"));
    }
    let tried = try_out(conn, &described).await;
    tried.map_err(|error| refused(Code::NotPossible, source.error(error)))?;
    let is_right = check_marks(conn, source, &described).await;
    is_right.map_err(|error| refused(Code::NotPossible, error))?;
    let Description { schema, table, estimated_rows, .. } = described;
    Ok(Some(Found { schema, table, estimated_rows, key_column: by, problem: None }))
}

/// A table of a new listener that could not be looked at: the listener begins without it. If the
/// error may pass (the table is locked), the table's task keeps trying.
fn not_looked_at(request: &Request, (schema, table): (String, String), refusal: &Refusal) -> Found {
    let Refusal { code, message, remedy, .. } = refusal;
    let problem = (*code != Code::SourceAway).then(|| {
        let listener = &request.listener;
        format!(
            "{message}; {remedy}; then `event-worker full-sync start -t {listener} {schema}.{table}`"
        )
    });
    Found { schema, table, estimated_rows: 0, key_column: None, problem }
}

/// Checks that we may read the table with all columns: the description lacks columns that we may
/// not read.
async fn try_out(conn: &mut Conn, described: &Description) -> Result<(), mysql_async::Error> {
    conn.query_drop(format!("SELECT * FROM {} LIMIT 0", described.quoted_name())).await?;
    if let Ok((sql, params)) = described.page_query(None, &Bounds::default(), 0) {
        conn.exec_drop(sql, params).await?;
    }
    Ok(())
}

/// Checks that the table's chunks can be merged into the stream, with this server and our
/// privileges.
async fn check_marks(
    conn: &mut Conn,
    source: &TableSource,
    described: &Description,
) -> Result<(), Error> {
    let marks = Marks::of(conn, source).await?;
    marks.check_right(conn, source, &described.schema).await?;
    if described.key.is_none() { check_whole(described, marks) } else { Ok(()) }
}

fn too_many_rows(described: &Description, config: &FullSyncConfig) -> Refusal {
    let message = format!(
        "{} has no primary key and no unique key without NULL, and about {} rows: it would be read \
         in one piece, and fullSync.maxKeylessRows = {} limits such reads",
        described.name(),
        described.estimated_rows,
        config.max_keyless_rows
    );
    let remedy = "give the table a primary key, or raise fullSync.maxKeylessRows in dts.toml";
    refusal(Code::NotPossible, message, remedy)
}

fn refusal(code: Code, message: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into(), remedy: remedy.into(), task: None }
}

/// What an error means for the person who asked.
fn refused(code: Code, error: Error) -> Refusal {
    match error {
        Error::Refused { problem, remedy } => refusal(code, problem, remedy),
        other => away(other),
    }
}

fn away(error: Error) -> Refusal {
    match error {
        Error::Refused { problem, remedy } => refusal(Code::NotPossible, problem, remedy),
        other => refusal(
            Code::SourceAway,
            other.to_string(),
            "try again when MySQL answers and the table is not locked",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(named: Option<&str>) -> Result<Vec<String>, Code> {
        let tables = named.map(str::to_owned);
        let request = Request { tables, ..Request::new("r", ("search", "g"), 1) };
        let tables = [("a", "item"), ("b", "item"), ("b", "item_x"), ("c.d", "e")];
        let tables = tables.map(|(schema, table)| (schema.to_owned(), table.to_owned()));
        match choose(&request, tables.to_vec()) {
            Ok(chosen) => Ok(chosen.iter().map(|(s, t)| format!("{s}/{t}")).collect()),
            Err(refusal) => Err(refusal.code),
        }
    }

    #[test]
    fn names_and_globs_choose_tables() {
        assert_eq!(chosen(Some("item_x")), Ok(vec!["b/item_x".to_owned()]));
        assert_eq!(chosen(Some("a.item")), Ok(vec!["a/item".to_owned()]));
        assert_eq!(chosen(Some("c.d.e")), Ok(vec!["c.d/e".to_owned()]));
        assert_eq!(chosen(Some("item")), Err(Code::AmbiguousTable));
        assert_eq!(chosen(Some("b.it*")).map(|tables| tables.len()), Ok(2));
        assert_eq!(chosen(Some("it*")).map(|tables| tables.len()), Ok(3));
        assert_eq!(chosen(Some("nothing")), Err(Code::NoSuchTable));
        assert_eq!(chosen(Some("item; DROP TABLE x")), Err(Code::NoSuchTable));
        assert_eq!(chosen(None).map(|tables| tables.len()), Ok(4));
    }

    #[test]
    fn no_globs_are_all_tables() {
        let globs = vec![("a".to_owned(), "i*".to_owned())];
        assert!(includes(&[], "a", "b") && includes(&globs, "a", "item"));
        assert!(!includes(&globs, "b", "item"));
    }
}
