//! A new listener gets all that its tables hold, then what changes.

use anyhow::{Context, Result, ensure};
use e2e::{
    picture::Picture,
    processes::{PATIENCE, wait_until},
    programs::{Site, recording_listener, seed, size},
    writers::{Writers, create_versioned},
};
use mysql_async::prelude::Queryable;

use super::{SCHEMA, wait_for_stream};

const TABLES: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_listener_begins_with_all_of_its_tables() -> Result<()> {
    let (site, rows) = (Site::new("full-sync-initial")?, size(3_000, 50_000));
    let mysql = site.start_mysql().await?;
    let mut server = mysql.connect().await?;
    server.query_drop(format!("CREATE DATABASE {SCHEMA}")).await?;
    for n in 0..TABLES {
        create_versioned(&mut server, &format!("{SCHEMA}.t{n}"), rows).await?;
    }
    site.configure_dts(&mysql.address(), SCHEMA)?;
    let amended = format!("start = \"latest\"\n[fullSync]\nmaxRate = {}\n[source]", rows * 2);
    site.amend("dts.toml", "start = \"earliest\"\n[source]", &amended)?;
    let recorded = site.path("recorded");
    let listener = recording_listener("fresh", &recorded, &[])?;
    site.configure_worker(&listener.replace("\"earliest\"", "\"full-sync\""))?;
    let mut dts = site.start_dts()?;
    wait_for_stream(&site).await?;
    let names: Vec<String> = (0..TABLES).map(|n| format!("{SCHEMA}.t{n}")).collect();
    let start = |name: &String| Writers::start(&mysql.url(), (name, rows), 80, seed());
    let writers: Vec<Writers> = names.iter().map(start).collect();
    let mut worker = site.start_worker()?;

    let mut list = serde_json::Value::Null;
    let mut states = async |wanted: usize, state: &str| {
        wait_until("the full syncs are so far", PATIENCE * 5, async || {
            list = site.ask_worker("/api/v1/full-syncs").await.unwrap_or_default();
            let all = list["fullSyncs"].as_array().cloned().unwrap_or_default();
            all.iter().filter(|task| task["state"] == state).count() >= wanted
        })
        .await
        .with_context(|| list.to_string())
    };
    states(1, "done").await?;
    dts.kill().await?;
    dts = site.start_dts()?;
    states(3, "done").await?;
    worker.kill().await?;
    worker = site.start_worker()?;
    states(usize::try_from(TABLES)?, "done").await?;
    for writer in writers {
        writer.stop().await?;
    }
    for (n, name) in names.iter().enumerate() {
        let mut last = String::new();
        let table = format!("t{n}");
        wait_until("the listener knows the table", PATIENCE, async || {
            let checked = async {
                let picture = Picture::read(&recorded, &table)?;
                picture.check(&mut server, name).await
            };
            let checked = checked.await;
            last = format!("{checked:?}");
            checked.is_ok()
        })
        .await
        .with_context(|| last.clone())?;
    }
    let first = Picture::read(&recorded, "t0")?;
    ensure!(first.synced > 0 && first.synced <= rows * 2, "{} rows synced", first.synced);
    drop((dts, worker, mysql));
    site.wait_until_empty().await?;
    site.remove()
}

/// Its rows would come in no other way.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_captured_only_later_is_waited_for_and_comes_then() -> Result<()> {
    const ROWS: u64 = 100;
    let site = Site::new("full-sync-initial-later")?;
    let mysql = site.start_mysql().await?;
    let mut server = mysql.connect().await?;
    server.query_drop(format!("CREATE DATABASE {SCHEMA}")).await?;
    for table in ["item", "later"] {
        create_versioned(&mut server, &format!("{SCHEMA}.{table}"), ROWS).await?;
    }
    site.configure_dts(&mysql.address(), SCHEMA)?;
    site.amend("dts.toml", "start = \"earliest\"", "start = \"latest\"")?;
    let (all, one) = (format!("{SCHEMA}.*"), format!("{SCHEMA}.item"));
    site.amend("dts.toml", &all, &one)?;
    let recorded = site.path("recorded");
    let listener = recording_listener("fresh", &recorded, &[])?;
    let listener = listener.replace("\"earliest\"", "\"full-sync\"");
    let subscribe = format!("subscribe = {{ {SCHEMA} = [\"later\"] }}\nworkers");
    site.configure_worker(&listener.replace("workers", &subscribe))?;
    let mut dts = site.start_dts()?;
    wait_for_stream(&site).await?;
    let worker = site.start_worker()?;
    let mut view = serde_json::Value::Null;
    let mut wait_for_reasons = async |expected: usize| {
        let outcome = wait_until("it says why nothing comes", PATIENCE, async || {
            view = site.ask_worker("/api/v1/listeners/fresh").await.unwrap_or_default();
            view["reasons"].as_array().is_some_and(|reasons| reasons.len() == expected)
        });
        outcome.await.with_context(|| view.to_string())?;
        Ok::<_, anyhow::Error>(view["reasons"][0].to_string())
    };
    let reason = wait_for_reasons(1).await?;
    let parts = [one.as_str(), "capture.tables of dts e2e", "its first full sync waits"];
    ensure!(parts.iter().all(|part| reason.contains(*part)), "{reason}");

    dts.kill().await?;
    site.amend("dts.toml", &one, &all)?;
    dts = site.start_dts()?;
    wait_until("its rows come", PATIENCE, async || {
        Picture::read(&recorded, "later").is_ok_and(|all| all.len() as u64 == ROWS)
    })
    .await?;
    wait_for_reasons(0).await?;
    drop((dts, worker, mysql));
    site.wait_until_empty().await?;
    site.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_sent_is_reported_and_does_not_keep_the_others_back() -> Result<()> {
    let site = Site::new("full-sync-initial-odd")?;
    let mysql = site.start_mysql().await?;
    let mut server = mysql.connect().await?;
    server.query_drop(format!("CREATE DATABASE {SCHEMA}")).await?;
    create_versioned(&mut server, &format!("{SCHEMA}.item"), 100).await?;
    for statement in
        ["CREATE TABLE synced.odd AS SELECT * FROM synced.item", "ANALYZE TABLE synced.odd"]
    {
        server.query_drop(statement).await?;
    }
    site.configure_dts(&mysql.address(), SCHEMA)?;
    let amended = "start = \"latest\"\n[fullSync]\nmaxKeylessRows = 10\n[source]";
    site.amend("dts.toml", "start = \"earliest\"\n[source]", amended)?;
    let recorded = site.path("recorded");
    let listener = recording_listener("fresh", &recorded, &[])?;
    site.configure_worker(&listener.replace("\"earliest\"", "\"full-sync\""))?;
    let dts = site.start_dts()?;
    wait_for_stream(&site).await?;
    let worker = site.start_worker()?;
    wait_until("the other table comes", PATIENCE, async || {
        Picture::read(&recorded, "item").is_ok_and(|all| all.len() == 100)
    })
    .await?;
    let list = site.ask_worker("/api/v1/full-syncs?state=failed").await?;
    let task = &list["fullSyncs"][0];
    let error = task["error"].as_str().unwrap_or_default();
    let is_told = ["maxKeylessRows", "event-worker full-sync start -t fresh synced.odd"]
        .iter()
        .all(|part| error.contains(part));
    ensure!(task["table"] == "odd" && is_told, "{list}");
    drop((dts, worker, mysql));
    site.wait_until_empty().await?;
    site.remove()
}

/// Nobody else would ask for them.
#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_locked_when_a_new_listener_asks_come_later() -> Result<()> {
    const ROWS: u64 = 100;
    let site = Site::new("full-sync-initial-locked")?;
    let mysql = site.start_mysql().await?;
    let mut server = mysql.connect().await?;
    server.query_drop(format!("CREATE DATABASE {SCHEMA}")).await?;
    for table in ["item", "a_locked", "b_locked"] {
        create_versioned(&mut server, &format!("{SCHEMA}.{table}"), ROWS).await?;
    }
    site.configure_dts(&mysql.address(), SCHEMA)?;
    site.amend("dts.toml", "start = \"earliest\"", "start = \"latest\"")?;
    let recorded = site.path("recorded");
    let listener = recording_listener("fresh", &recorded, &[])?;
    site.configure_worker(&listener.replace("\"earliest\"", "\"full-sync\""))?;
    let dts = site.start_dts()?;
    wait_for_stream(&site).await?;
    let lock = format!("LOCK TABLES {SCHEMA}.a_locked WRITE, {SCHEMA}.b_locked WRITE");
    server.query_drop(lock).await?;
    let worker = site.start_worker()?;

    let count = |table| Picture::read(&recorded, table).map_or(0, |all| all.len() as u64);
    // They are as many as have their turns at once.
    wait_until("the other table comes", PATIENCE, async || count("item") == ROWS).await?;
    let mut list = serde_json::Value::Null;
    let outcome = wait_until("both say why they do not come", PATIENCE, async || {
        list = site.ask_worker("/api/v1/full-syncs").await.unwrap_or_default();
        let all = list["fullSyncs"].as_array().cloned().unwrap_or_default();
        let says_so = |error: &str| error.contains("Lock wait timeout");
        all.iter().filter(|task| task["error"].as_str().is_some_and(says_so)).count() == 2
    })
    .await;
    outcome.with_context(|| list.to_string())?;
    server.query_drop("UNLOCK TABLES").await?;
    wait_until("they come, too", PATIENCE, async || {
        count("a_locked") == ROWS && count("b_locked") == ROWS
    })
    .await?;
    drop((dts, worker, mysql));
    site.wait_until_empty().await?;
    site.remove()
}
