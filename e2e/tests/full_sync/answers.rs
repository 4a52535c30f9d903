//! What the call answers when real tables are asked for, also with mistakes and with SQL in every
//! part.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use e2e::processes::{PATIENCE, wait_until};
use mysql_async::prelude::Queryable;
use serde_json::Value;

use super::{Kind, Running, SCHEMA, TABLE, start, wait_for_stream};

/// SQL that must never be run, in every quote that MySQL has.
const INJECTIONS: [&str; 6] = [
    "1; DROP TABLE synced.item",
    "1' OR '1'='1",
    "1\" OR \"1\"=\"1",
    "` FROM synced.item; DROP TABLE synced.item; -- ",
    "1 UNION SELECT * FROM mysql.user",
    "\\'; DELETE FROM synced.item; #",
];

/// Percent-encodes all but letters and digits.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => text.push(byte.into()),
            _ => drop(write!(text, "%{byte:02X}")),
        }
        text
    })
}

async fn answer(running: &Running, query: &str) -> Result<(u16, Value)> {
    running.site.call_worker("GET", &format!("/?listenerid=search&{query}")).await
}

async fn expect(running: &Running, query: &str, status: u16, code: &str) -> Result<Value> {
    let answer = answer(running, query).await?;
    let found = answer.1["error"]["code"].as_str().unwrap_or_default();
    ensure!((answer.0, found) == (status, code), "{query}: {} {}", answer.0, answer.1);
    if status != 202 {
        let has_text = |part: &str| answer.1["error"][part].as_str().is_some_and(|s| s.len() > 9);
        ensure!(has_text("message") && has_text("remedy"), "{query}: {}", answer.1);
    }
    Ok(answer.1)
}

async fn rows(running: &Running) -> Result<Option<u64>> {
    let mut server = running.mysql.connect().await?;
    Ok(server.query_first(format!("SELECT COUNT(*) FROM {TABLE}")).await?)
}

/// Tables that can be asked for wrongly.
async fn make_tables(running: &Running) -> Result<()> {
    for statement in [
        "CREATE DATABASE other",
        "CREATE TABLE other.twice (id INT PRIMARY KEY)",
        "CREATE TABLE synced.twice (id INT PRIMARY KEY)",
        "CREATE TABLE synced.pair (a INT, b INT, PRIMARY KEY (a, b))",
        "CREATE TABLE synced.keyless (a INT)",
        "INSERT INTO synced.keyless VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9)",
        "CREATE TABLE synced.many (a INT)",
        "INSERT INTO synced.many SELECT id FROM synced.item",
        "ANALYZE TABLE synced.many",
        "CREATE VIEW synced.seen AS SELECT * FROM synced.item",
        "CREATE TABLE synced.coded (id INT PRIMARY KEY, code VARCHAR(9) NOT NULL UNIQUE, \
         name VARCHAR(9) UNIQUE)",
    ] {
        running.execute(&[statement]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_request_is_answered_with_what_is_wrong() -> Result<()> {
    let more = "maxKeylessRows = 100\nmaxRate = 500";
    let mut running = start("full-sync-answers", (Kind::Log, 3_000), more).await?;
    make_tables(&running).await?;
    let both = format!("tables = [\"{SCHEMA}.*\", \"other.*\"]");
    running.site.amend("dts.toml", &format!("tables = [\"{SCHEMA}.*\"]"), &both)?;
    running.dts.kill().await?;
    running.dts = running.site.start_dts()?;
    wait_for_stream(&running.site).await?;

    for (query, status, code) in [
        ("table=nothing", 404, "no_such_table"),
        ("table=mysql.user", 404, "no_such_table"),
        ("table=seen", 404, "no_such_table"),
        ("table=twice", 409, "ambiguous_table"),
        ("table=many", 422, "not_possible"),
        ("table=item&pk=nothing", 400, "invalid_parameter"),
        ("table=item&pk=t", 400, "invalid_parameter"),
        ("table=coded&pk=name&offset=a", 400, "invalid_parameter"),
        ("table=item&offset=x", 400, "invalid_parameter"),
        ("table=item&offset=1.5", 400, "invalid_parameter"),
        ("table=pair&offset=1", 400, "invalid_parameter"),
        ("table=keyless&offset=1", 400, "invalid_parameter"),
        ("table=synced.*&offset=1", 400, "bad_request"),
    ] {
        expect(&running, query, status, code).await?;
    }
    let several = expect(&running, "table=synced.?a*", 422, "not_possible").await?;
    let text = several["error"].to_string();
    ensure!(text.contains("none of 2 tables begins") && text.contains("other tables"), "{text}");
    for query in ["table=synced.twice", "table=other.twice", "table=keyless", "table=coded&pk=code"]
    {
        let answer = expect(&running, query, 202, "").await?;
        let id = answer["tasks"][0]["id"].as_str().unwrap_or_default().to_owned();
        running.done(&id).await?;
    }
    let id = running.sync("search", "&pk=id&offset=-5&maxOffset=2999").await?;
    let second = expect(&running, "table=item", 409, "already_running").await?;
    ensure!(second["error"]["task"] == id.as_str(), "{second}");
    let glob = expect(&running, "table=it*", 409, "already_running").await?;
    ensure!(glob["error"]["task"] == id.as_str(), "{glob}");
    running.done(&id).await?;
    running.complete("search").await?;
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_lacks_a_right_is_refused_at_once() -> Result<()> {
    let running = start("full-sync-right", (Kind::LogWithoutRight, 10), "").await?;
    let refused = expect(&running, "table=item", 422, "not_possible").await?;
    let remedy = refused["error"]["remedy"].as_str().unwrap_or_default();
    ensure!(remedy.contains("GRANT BACKUP_ADMIN"), "{refused}");
    let list = running.site.ask_worker("/api/v1/full-syncs").await?;
    ensure!(list["fullSyncs"].as_array().is_some_and(Vec::is_empty), "{list}");
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_in_any_parameter_does_no_harm() -> Result<()> {
    let running = start("full-sync-injections", (Kind::Log, 100), "").await?;
    running
        .execute(&["CREATE TABLE synced.`x' OR 1=1; --` (`k`` OR 1=1` VARCHAR(90) PRIMARY KEY)"])
        .await?;
    running
        .execute(&["INSERT INTO synced.`x' OR 1=1; --` VALUES ('1'' OR ''1''=''1'), ('z')"])
        .await?;
    for text in INJECTIONS.map(encoded) {
        for query in [
            format!("table={text}"),
            format!("table=item&pk={text}"),
            format!("table=item&offset={text}"),
            format!("table=item&maxOffset={text}"),
        ] {
            let (status, answer) = answer(&running, &query).await?;
            ensure!([400, 404].contains(&status), "{query}: {status} {answer}");
        }
    }
    let (table, key) = (encoded("x' OR 1=1; --"), encoded("k` OR 1=1"));
    let last = encoded(INJECTIONS[1]);
    let (status, answer) =
        answer(&running, &format!("table={table}&pk={key}&maxOffset={last}")).await?;
    ensure!(status == 202, "{status} {answer}");
    let task = running.done(answer["tasks"][0]["id"].as_str().unwrap_or_default()).await?;
    ensure!(task["rows"] == 1, "one key is not behind the last: {task}");
    ensure!(rows(&running).await? == Some(100), "rows are gone");

    // The answer says that the source does not answer, and nothing is sent later.
    lock_out(&running).await?;
    expect(&running, "table=item", 503, "source_away").await?;
    running.end().await
}

/// Takes MySQL away from full syncs alone: the stream stays, and new connections are refused.
async fn lock_out(running: &Running) -> Result<()> {
    running.execute(&["SET GLOBAL max_connections = 1"]).await?;
    wait_until("no one new is let in", PATIENCE, async || {
        let (status, _) = answer(running, "table=item").await.unwrap_or_default();
        status == 503
    })
    .await
}
