//! A table of large rows, in a MySQL of its own.

use anyhow::Result;
use e2e::{
    programs::Site,
    servers::{Mysql, execute},
};
use mysql_async::prelude::Queryable;

use crate::load::SCHEMA;

/// The bytes of the text of a row.
pub(crate) const ROW_BYTES: usize = 1 << 20;

/// The table's name.
pub(crate) const TABLE: &str = "large";

/// Starts a new server, and fills the table with so many rows.
pub(crate) async fn prepare(rows: u64) -> Result<Mysql> {
    let mysql = Site::new("bench-large")?.start_mysql().await?;
    let mut server = mysql.connect().await?;
    let create = format!("CREATE TABLE {SCHEMA}.{TABLE} (id BIGINT PRIMARY KEY, text LONGTEXT)");
    // Without a binlog of these rows `dts` has nothing to skip.
    let quick = ["SET sql_log_bin = 0", "SET GLOBAL innodb_flush_log_at_trx_commit = 0"];
    execute(&mut server, &quick).await?;
    execute(&mut server, &[&format!("CREATE DATABASE {SCHEMA}"), &create]).await?;
    let insert = format!("INSERT INTO {SCHEMA}.{TABLE} VALUES (?, ?)");
    for id in 0..rows {
        server.exec_drop(&insert, (id, document(id))).await?;
    }
    Ok(mysql)
}

/// A document without repetition, different for each id, so that compression does not make it
/// small.
fn document(id: u64) -> String {
    let mut text = String::with_capacity(ROW_BYTES);
    for part in 0.. {
        let value = mixed(id << 32 | part);
        text += &format!("{{\"order\":{part},\"customer\":\"{value:016x}\"}},\n");
        if text.len() >= ROW_BYTES {
            break;
        }
    }
    text.truncate(ROW_BYTES);
    text
}

/// The finisher of SplitMix64.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
