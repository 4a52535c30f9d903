//! Reading tables for full syncs, against real servers.

mod bounds;
mod follower;
mod keys;
mod kinds;
mod lookups;
mod marks;
mod rows;

use std::ops::Range;

use anyhow::{Context as _, Result, ensure};
use mysql_async::Row;
use source_table::{Bounds, Conn, Cursor, Description, Encoded, RowWriter, describe, session};

/// A row as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ReadRow {
    key: String,
    pk: String,
    data: String,
}

/// One page, and the cursor of its last row.
struct Page {
    rows: Vec<ReadRow>,
    last: Option<Cursor>,
}

/// A connection for reading, and a description of an existing table.
async fn open(url: &str, schema: &str, table: &str) -> Result<(Conn, Description)> {
    let mut conn = reader(url).await?;
    let description = describe(&mut conn, schema, table).await?;
    Ok((conn, description.with_context(|| format!("no table {table}"))?))
}

async fn reader(url: &str) -> Result<Conn> {
    let mut conn = Conn::from(e2e::servers::connect(url).await?);
    session(&mut conn).await?;
    Ok(conn)
}

async fn read_page(
    conn: &mut Conn,
    description: &Description,
    (after, bounds): (Option<&Cursor>, &Bounds),
    limit: u64,
) -> Result<Page> {
    let (sql, params) = description.page_query(after, bounds, limit)?;
    let rows: Vec<Row> = conn.exec(&sql, params).await.with_context(|| sql.clone())?;
    let mut page = Page { rows: Vec::new(), last: None };
    let Some(first) = rows.first() else { return Ok(page) };
    let writer = RowWriter::new(&first.columns(), description, None)?;
    let mut out = b"earlier".to_vec();
    for row in &rows {
        let Encoded { key, pk, data } = writer.write(row, &mut out)?;
        let text = |range: Range<usize>| String::from_utf8(out[range].to_vec());
        page.rows.push(ReadRow { key: text(key)?, pk: text(pk)?, data: text(data)? });
    }
    if let Some(row) = rows.last() {
        page.last = writer.cursor(row)?;
    }
    Ok(page)
}

/// All rows within bounds, in pages; the cursor is kept as JSON between two pages. Stops after
/// `max_pages`.
async fn read_all(
    conn: &mut Conn,
    description: &Description,
    bounds: &Bounds,
    (limit, max_pages): (u64, usize),
) -> Result<Vec<ReadRow>> {
    let mut rows = Vec::new();
    let mut after: Option<Cursor> = None;
    for _ in 0..max_pages {
        let page = read_page(conn, description, (after.as_ref(), bounds), limit).await?;
        ensure!(page.rows.len() as u64 <= limit, "{} rows of {limit}", page.rows.len());
        let is_last = (page.rows.len() as u64) < limit;
        rows.extend(page.rows);
        if is_last {
            break;
        }
        let last = page.last.context("no cursor")?;
        description.check(conn, &last).await?;
        after = Some(serde_json::from_str(&serde_json::to_string(&last)?)?);
    }
    Ok(rows)
}
