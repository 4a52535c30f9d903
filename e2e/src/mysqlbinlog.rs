//! Which changes there were, as MySQL's own `mysqlbinlog` shows them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use mysql_async::{Row, prelude::Queryable};
use tokio::process::Command;

use crate::servers::{Mysql, repository};

/// The ids that every row change of a schema must have: `gtid#row`, where the rows of a transaction
/// are counted from 0 over all schemas. Changes of a primary key have one id here.
///
/// # Errors
///
/// When the server or the tool fails.
pub async fn event_ids(server: &Mysql, schema: &str) -> Result<BTreeSet<String>> {
    event_ids_but(server, schema, &[]).await
}

/// The same without the changes of some tables. The tool does not show all rows of a transaction
/// with a type that it does not know, so no transaction may change these tables and others.
///
/// # Errors
///
/// When the server or the tool fails.
pub async fn event_ids_but(
    server: &Mysql,
    schema: &str,
    tables: &[&str],
) -> Result<BTreeSet<String>> {
    let text = verbose(server).await?;
    let others: Vec<String> = tables.iter().map(|table| format!("`{schema}`.`{table}`")).collect();
    let is_wanted = |name: &str| {
        name.starts_with(&format!("`{schema}`.")) && !others.iter().any(|other| name == other)
    };
    Ok(collect_ids(&text, is_wanted))
}

/// An event of the binlog, as SHOW BINLOG EVENTS lists it.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the statement")]
pub struct BinlogEvent {
    pub file: String,
    pub pos: u64,
    pub kind: String,
    pub server_id: u32,
    /// Modulo 4 GiB.
    pub end: u64,
    pub info: String,
}

/// The events of a binlog file.
///
/// # Errors
///
/// When the server does not have it.
pub async fn events(server: &Mysql, file: &str) -> Result<Vec<BinlogEvent>> {
    let query = format!("SHOW BINLOG EVENTS IN '{file}'");
    let rows: Vec<(String, u64, String, u32, u64, String)> =
        server.connect().await?.query(query).await?;
    let event = |(file, pos, kind, server_id, end, info)| BinlogEvent {
        file,
        pos,
        kind,
        server_id,
        end,
        info,
    };
    Ok(rows.into_iter().map(event).collect())
}

/// What an event's id says without the mark of a split change of a key.
pub fn without_split_mark(id: &str) -> &str {
    id.strip_suffix("d").or_else(|| id.strip_suffix("i")).unwrap_or(id)
}

async fn verbose(server: &Mysql) -> Result<String> {
    let files: Vec<Row> = server.connect().await?.query("SHOW BINARY LOGS").await?;
    let first: String = files.first().and_then(|row| row.get(0)).context("no binlog file")?;
    let address = server.address();
    let (host, port) = address.split_once(':').context("no port")?;
    let tool = if server.is_mariadb() { "mariadb-binlog" } else { "mysqlbinlog" };
    let output = Command::new(repository().join("scripts/servers.sh"))
        .args(["tool", tool, "--read-from-remote-server", "--to-last-log"])
        .args(["--verbose", "--base64-output=DECODE-ROWS", "--user=root"])
        .args(["--host", host, "--port", port, &first])
        .output()
        .await?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "mysqlbinlog failed: {complaint}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn collect_ids(text: &str, is_wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    const CHANGES: [&str; 3] = ["### INSERT INTO ", "### UPDATE ", "### DELETE FROM "];
    let mut ids = BTreeSet::new();
    // Those of XA transactions count when they are committed.
    let mut prepared: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut xid = None;
    let (mut gtid, mut row) = ("", 0);
    for line in text.lines() {
        if let Some((verb, name)) = xa_statement(line) {
            match verb {
                "START" => xid = Some(name),
                "COMMIT" => ids.extend(prepared.remove(name).unwrap_or_default()),
                "ROLLBACK" => drop(prepared.remove(name)),
                _ => xid = None,
            }
        }
        if let Some(rest) = line.strip_prefix("SET @@SESSION.GTID_NEXT= '") {
            (gtid, row) = (rest.split('\'').next().unwrap_or_default(), 0);
        }
        // MariaDB's says it in a comment.
        if line.starts_with('#')
            && let Some((_, rest)) = line.split_once("\tGTID ")
        {
            (gtid, row) = (rest.split_whitespace().next().unwrap_or_default(), 0);
        }
        let Some(table) = CHANGES.iter().find_map(|start| line.strip_prefix(start)) else {
            continue;
        };
        if is_wanted(table) {
            let id = format!("{gtid}#{row}");
            match xid {
                Some(xid) => prepared.entry(xid).or_default().push(id),
                None => drop(ids.insert(id)),
            }
        }
        row += 1;
    }
    ids
}

/// The verb and the transaction of `XA VERB X'…',X'…',1`, with ONE PHASE or without.
fn xa_statement(line: &str) -> Option<(&str, &str)> {
    let (verb, name) = line.strip_prefix("XA ")?.split_once(' ')?;
    Some((verb, name.split([' ', '/']).next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_xa_transactions_count_when_they_are_committed() {
        let rows = |name: &str| format!("XA START {name}\n### UPDATE `a`.`t`\nXA END {name}\n");
        let gtid = |n: u64| format!("SET @@SESSION.GTID_NEXT= 'u:{n}'/*!*/;\n");
        let (x, y, z) = ("X'01',X'',1", "X'02',X'',1", "X'03',X'',1");
        let text = [
            gtid(1) + &rows(x) + &format!("XA PREPARE {x}\n"),
            gtid(2) + &rows(y) + &format!("XA PREPARE {y}\n"),
            gtid(3) + &rows(z) + &format!("XA COMMIT {z} ONE PHASE\n"),
            gtid(4) + &format!("XA ROLLBACK {x}\n") + &gtid(5) + &format!("XA COMMIT {y}\n"),
            gtid(6) + "### UPDATE `a`.`t`\n",
        ]
        .concat();
        let ids: Vec<String> =
            collect_ids(&text, |name| name.starts_with("`a`.")).into_iter().collect();
        assert_eq!(ids, ["u:2#0", "u:3#0", "u:6#0"]);
    }

    #[test]
    fn rows_are_counted_over_all_tables_of_a_transaction() {
        let text = "SET @@SESSION.GTID_NEXT= 'u:1'/*!*/;\n### INSERT INTO `a`.`t`\n### SET\n\
                    ###   @1=1\n### DELETE FROM `b`.`t`\n### UPDATE `a`.`t`\n\
                    SET @@SESSION.GTID_NEXT= 'u:2'/*!*/;\n### DELETE FROM `a`.`t`\n";
        let ids: Vec<String> =
            collect_ids(text, |name| name.starts_with("`a`.")).into_iter().collect();
        assert_eq!(ids, ["u:1#0", "u:1#2", "u:2#0"]);
    }

    #[test]
    fn mariadbs_transactions_are_named_in_comments() {
        let text = "#261121 14:18:13 server id 2  end_log_pos 993 CRC32 0x1 \tGTID 0-2-3 trans\n\
                    ### INSERT INTO `a`.`t`\n#261121 server id 2 \tGTID 5-2-1\n### UPDATE `a`.`t`\n";
        let ids: Vec<String> =
            collect_ids(text, |name| name.starts_with("`a`.")).into_iter().collect();
        assert_eq!(ids, ["0-2-3#0", "5-2-1#0"]);
    }

    #[test]
    fn the_mark_of_a_split_key_change_is_cut() {
        assert_eq!(without_split_mark("u:1#12d"), "u:1#12");
        assert_eq!(without_split_mark("u:1#12"), "u:1#12");
    }
}
