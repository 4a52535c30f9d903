//! The rows of load (a) as the requests of a target.

use std::fmt::Write;

use anyhow::Result;
use e2e::servers::connect;
use mysql_async::prelude::Queryable;

use super::{BATCH, Bare};
use crate::load::SCHEMA;

/// The columns, as the server prints them.
type Row = (String, String, String, String, String, String, String);

/// Reads the whole table.
pub(super) async fn read(bare: Bare, source: &str, address: &str) -> Result<Vec<String>> {
    let mut source = connect(source).await?;
    let select = format!("SELECT id, a, b, c, d, e, f FROM {SCHEMA}.t ORDER BY id");
    let mut rows = source.query_iter(select).await?;
    let (mut requests, mut request, mut length) = (Vec::new(), String::new(), 0);
    while let Some(row) = rows.next().await? {
        append(&mut request, bare, &mysql_async::from_row_opt(row)?)?;
        length += 1;
        if length == BATCH {
            requests.push(whole(bare, &std::mem::take(&mut request), address));
            length = 0;
        }
    }
    if length > 0 {
        requests.push(whole(bare, &request, address));
    }
    Ok(requests)
}

/// Appends a row to the body of a request.
fn append(body: &mut String, bare: Bare, row: &Row) -> std::fmt::Result {
    let (id, a, b, c, d, e, f) = row;
    match bare {
        Bare::MysqlInsert | Bare::PostgresInsert => {
            let comma = if body.is_empty() { "" } else { "," };
            // None of the texts has a quote or a backslash.
            write!(body, "{comma}({id},{a},'{b}','{c}',{d},'{e}',{f})")
        }
        Bare::PostgresCopy => writeln!(body, "{id}\t{a}\t{b}\t{c}\t{d}\t{e}\t{f}"),
        Bare::Bulk => {
            writeln!(body, "{{\"index\":{{\"_id\":\"{id}\"}}}}\n{}", document(row))
        }
        Bare::RedisSet => {
            let (key, value) = (format!("item:{id}"), document(row));
            let (key_length, length) = (key.len(), value.len());
            write!(body, "*3\r\n$3\r\nSET\r\n${key_length}\r\n{key}\r\n${length}\r\n{value}\r\n")
        }
        Bare::RedisUnlink => write!(body, "${}\r\nitem:{id}\r\n", id.len() + "item:".len()),
    }
}

/// The row as JSON, in the form of an event's `Data`.
fn document((id, a, b, c, d, e, f): &Row) -> String {
    // Of 1100 and 1101.1 a search server would guess two types for one field.
    let f = if f.contains(['.', 'e']) { f.clone() } else { format!("{f}.0") };
    format!(
        "{{\"id\":{id},\"a\":{a},\"b\":\"{b}\",\"c\":\"{c}\",\"d\":\"{d}\",\"e\":{e},\"f\":{f}}}"
    )
}

/// The request around its body.
fn whole(bare: Bare, body: &str, address: &str) -> String {
    match bare {
        Bare::MysqlInsert | Bare::PostgresInsert => format!("INSERT INTO copy.t VALUES {body}"),
        Bare::PostgresCopy | Bare::RedisSet => body.to_owned(),
        Bare::Bulk => format!(
            "POST /t/_bulk?filter_path=errors,items.*.error HTTP/1.1\r\nHost: {address}\r\n\
             Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
        Bare::RedisUnlink => {
            let keys = body.matches('$').count();
            format!("*{}\r\n$6\r\nUNLINK\r\n{body}", keys + 1)
        }
    }
}
