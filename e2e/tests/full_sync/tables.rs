//! Tables that change their shape during a full sync, and tables without a proper key.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::seed,
    recording::Recording,
    writers::Writers,
};
use mysql_async::prelude::Queryable;

use super::{Kind, Running, SCHEMA, TABLE, start};

/// Slow enough to do something in its middle.
const SLOW: &str = "maxRate = 5000\nchunkBytes = \"128KiB\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_altered_is_read_again_in_its_new_shape() -> Result<()> {
    let running = start("full-sync-altered", (Kind::Log, 20_000), SLOW).await?;
    let writers = Writers::start(&running.mysql.url(), (TABLE, 20_000), 500, seed());
    let id = running.sync("search", "").await?;
    running.under_way(&id).await?;
    running.execute(&[&format!("ALTER TABLE {TABLE} ADD note VARCHAR(9) DEFAULT 'new'")]).await?;
    running.execute(&[&format!("CREATE TABLE {SCHEMA}.elsewhere (a INT)")]).await?;
    running.done(&id).await?;
    // The writers name no columns.
    let _ = writers.stop().await;
    running.complete("search").await?;
    let recording = Recording::read(&running.site.path("search"))?;
    let mut newest = BTreeMap::new();
    for event in recording.done() {
        let row = (event.action.as_str(), event.data.get());
        newest.insert(event.pk.get(), row);
    }
    newest.retain(|_, (action, _)| *action != "delete");
    let older = newest.iter().find(|(_, (_, data))| !data.contains("\"note\":\"new\""));
    ensure!(older.is_none() && newest.len() > 10_000, "{older:?} of {}", newest.len());
    running.end().await
}

/// As gh-ost does it: the binlog has the rows of the new table under another name.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_another_takes_the_place_of_is_sent_again() -> Result<()> {
    let running = start("full-sync-swapped", (Kind::Log, 20_000), SLOW).await?;
    running.execute(&[&format!("CREATE TABLE {SCHEMA}.new LIKE {TABLE}")]).await?;
    running
        .execute(&[&format!("INSERT INTO {SCHEMA}.new SELECT id, v + 1, t FROM {TABLE}")])
        .await?;
    let id = running.sync("search", "").await?;
    running.under_way(&id).await?;
    running
        .execute(&[&format!("RENAME TABLE {TABLE} TO synced.old, synced.new TO {TABLE}")])
        .await?;
    let task = running.done(&id).await?;
    ensure!(task["rows"] == 20_000, "{task}");
    running.complete("search").await?;
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_rows_are_taken_away_ends_its_full_sync() -> Result<()> {
    let running = start("full-sync-dropped", (Kind::Log, 20_000), SLOW).await?;
    for (statement, reasons) in [
        ("TRUNCATE TABLE synced.item", &["TRUNCATE, DROP"][..]),
        // Whoever says so first, the stream or the server.
        ("DROP TABLE synced.item", &["TRUNCATE, DROP", "dropped or renamed"]),
    ] {
        let id = running.sync("search", "").await?;
        running.under_way(&id).await?;
        running.execute(&[statement]).await?;
        let task = running.ended(&id).await?;
        let error = task["error"].as_str().unwrap_or_default();
        let is_told = reasons.iter().any(|reason| error.contains(reason));
        ensure!(task["state"] == "failed" && is_told, "{task}");
        running.execute(&[&format!("DROP TABLE IF EXISTS {TABLE}")]).await?;
        let mut server = running.mysql.connect().await?;
        e2e::writers::create_versioned(&mut server, TABLE, 20_000).await?;
    }
    let id = running.sync("search", "").await?;
    running.under_way(&id).await?;
    running.execute(&[&format!("RENAME TABLE {TABLE} TO {SCHEMA}.other")]).await?;
    let task = running.ended(&id).await?;
    let error = task["error"].as_str().unwrap_or_default();
    ensure!(task["state"] == "failed" && error.contains("dropped or renamed"), "{task}");
    ensure!(task["rows"].as_u64() > Some(0), "rows were sent: {task}");
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_gets_another_key_ends_its_full_sync() -> Result<()> {
    let running = start("full-sync-key", (Kind::Log, 20_000), SLOW).await?;
    let id = running.sync("search", "").await?;
    running.under_way(&id).await?;
    running
        .execute(&[&format!("ALTER TABLE {TABLE} DROP PRIMARY KEY, ADD PRIMARY KEY (id, v)")])
        .await?;
    let task = running.ended(&id).await?;
    let error = task["error"].as_str().unwrap_or_default();
    ensure!(task["state"] == "failed" && error.contains("its key was altered"), "{task}");
    let again = running.sync("search", "").await?;
    running.done(&again).await?;
    running.complete("search").await?;
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_changes_lack_columns_are_read_again() -> Result<()> {
    let running = start("full-sync-minimal", (Kind::Log, 20_000), SLOW).await?;
    running.execute(&["SET GLOBAL binlog_row_image = 'MINIMAL'"]).await?;
    let id = running.sync("search", "").await?;
    let mut server = running.mysql.connect().await?;
    // Updates that log only `v`, everywhere in the table, while it is read.
    let mut version = 0;
    while running.task(&id).await?["state"] == "running" || version == 0 {
        version += 1;
        let update = format!("UPDATE {TABLE} SET v = {version} WHERE id % 997 = {version} % 997");
        server.query_drop(update).await?;
    }
    running.done(&id).await?;
    let sum = "SELECT COUNT(*), CAST(SUM(v) AS SIGNED) FROM synced.item";
    let expected: (i64, i64) = server.query_first(sum).await?.context("no sum")?;
    let path = running.site.path("search");
    let mut last = (0, 0, 0);
    let outcome = wait_until("every row is known whole", PATIENCE * 2, async || {
        last = Recording::read(&path).map(|all| whole(&all)).unwrap_or_default();
        last == (expected.0, expected.1, expected.0)
    })
    .await;
    outcome.with_context(|| format!("{last:?}, expected {expected:?}; {version} updates"))?;
    running.end().await
}

/// How many rows are known, the sum of their versions, and how many have their text.
fn whole(recording: &Recording) -> (i64, i64, i64) {
    let mut rows = std::collections::BTreeMap::new();
    for event in recording.done() {
        let data: serde_json::Value = serde_json::from_str(event.data.get()).unwrap_or_default();
        let row: &mut (i64, bool) = rows.entry(data["id"].as_i64()).or_default();
        row.0 = data["v"].as_i64().unwrap_or_default();
        row.1 |= data["t"].is_string();
    }
    let texts = rows.values().filter(|row| row.1).count();
    (rows.len() as i64, rows.values().map(|row| row.0).sum(), texts as i64)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_read_at_one_moment() -> Result<()> {
    let more = "chunkBytes = \"128KiB\"\nmaxKeylessRows = 30000";
    let mut running = start("full-sync-keyless", (Kind::Log, 20_000), more).await?;
    running
        .execute(&[&format!("ALTER TABLE {TABLE} DROP PRIMARY KEY, MODIFY id BIGINT NULL")])
        .await?;
    let writers = Writers::start(&running.mysql.url(), (TABLE, 20_000), 20, seed());
    let id = running.sync("search", "").await?;
    running.under_way(&id).await.ok();
    running.dts.kill().await?;
    running.dts = running.site.start_dts()?;
    running.done(&id).await?;
    writers.stop().await?;
    wait_for_rows(&running).await?;
    let (status, answer) = {
        let mut server = running.mysql.connect().await?;
        let more = format!("INSERT INTO {TABLE} SELECT id + 1000000, v, t FROM {TABLE}");
        server.query_drop(more).await?;
        server.query_drop(format!("ANALYZE TABLE {TABLE}")).await?;
        running.site.call_worker("GET", "/?table=item&listenerid=search").await?
    };
    ensure!(status == 422 && answer.to_string().contains("maxKeylessRows"), "{status} {answer}");
    running.end().await
}

/// Waits until the listener knows the rows of a table without a key, each by all that it has.
async fn wait_for_rows(running: &Running) -> Result<()> {
    let mut server = running.mysql.connect().await?;
    let select = format!("SELECT id, v, t FROM {TABLE} ORDER BY id");
    let rows: Vec<(i64, i64, String)> = server.query(select).await?;
    let text = |(id, v, t): &(i64, i64, String)| format!("{{\"id\":{id},\"v\":{v},\"t\":\"{t}\"}}");
    let expected: BTreeSet<String> = rows.iter().map(text).collect();
    let path = running.site.path("search");
    let mut known = BTreeSet::new();
    let outcome = wait_until("every row is known", PATIENCE, async || {
        let Ok(recording) = Recording::read(&path) else { return false };
        known.clear();
        for event in recording.done() {
            let row = event.data.get().to_owned();
            if event.action == "delete" {
                known.remove(&row)
            } else {
                known.insert(row)
            };
        }
        known == expected
    })
    .await;
    let odd: Vec<&String> = known.symmetric_difference(&expected).take(5).collect();
    outcome.with_context(|| format!("{} rows, {} known: {odd:?}", expected.len(), known.len()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_table_is_sent_by_its_key() -> Result<()> {
    let running = start("full-sync-part", (Kind::Log, 5_000), "").await?;
    let id = running.sync("search", "&pk=id&offset=1000&maxOffset=1999").await?;
    let task = running.done(&id).await?;
    ensure!(task["rows"] == 1000, "{task}");
    let recorded = running.site.path("search");
    wait_until("the rows arrive", PATIENCE, async || {
        let picture = e2e::picture::Picture::read(&recorded, "item");
        picture.is_ok_and(|picture| picture.len() == 1000)
    })
    .await?;
    for (more, status) in [
        ("&pk=v", 400),
        ("&offset=x", 400),
        ("&offset=1'%20OR%201=1", 400),
        ("&pk=id`;DROP%20TABLE%20synced.item", 400),
        ("&maxOffset=9999999999999999999999", 400),
    ] {
        let path = format!("/?table=item&listenerid=search{more}");
        let (found, answer) = running.site.call_worker("GET", &path).await?;
        ensure!(found == status, "{more}: {found} {answer}");
    }
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_rows_are_done_one_after_the_other() -> Result<()> {
    let running = start("full-sync-empty", (Kind::Log, 10), "parallel = 1").await?;
    for n in 0..3 {
        running
            .execute(&[&format!("CREATE TABLE {SCHEMA}.empty_{n} (id INT PRIMARY KEY)")])
            .await?;
    }
    let path = "/?table=empty_*&listenerid=search";
    let (status, answer) = running.site.call_worker("GET", path).await?;
    ensure!(status == 202, "{status} {answer}");
    let tasks = answer["tasks"].as_array().context("no tasks")?;
    ensure!(tasks.len() == 3, "{answer}");
    for task in tasks {
        running.done(task["id"].as_str().context("no id")?).await?;
    }
    running.end().await
}
