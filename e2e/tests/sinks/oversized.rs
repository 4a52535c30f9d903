//! Rows that are too large for their events: a sink fetches them from the source, and its target
//! gets what it would have got with whole events, for every type.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use change_event::Columns;
use e2e::{
    oracle::{MARIADB_SESSION, SESSION, Sample, Table, mariadb_samples, quoted, samples},
    processes::{PATIENCE, wait_until},
    programs::{Site, seed, size},
    running::{Running, Source},
    servers::{Mysql, execute},
};
use mysql_async::Conn;
use rand::{SeedableRng as _, rngs::StdRng};

use super::{Change, SCHEMA, shown};

/// Larger than an event may be.
const FILLER: &str = "filler TEXT CHARACTER SET latin1 DEFAULT (REPEAT('x', 3000))";

const MAX_ROW: &str = "kind = \"log\"\nmaxRowBytes = \"2KiB\"\nonOversize = \"keys-only\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_fetched_is_as_its_event_would_have_it_on_mysql() -> Result<()> {
    every_type("9.7").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as on MySQL: scripts/test.sh --all"]
async fn a_row_that_is_fetched_is_as_its_event_would_have_it_on_mariadb() -> Result<()> {
    every_type("mariadb-11.8").await
}

async fn every_type(flavor: &str) -> Result<()> {
    let source = Source::start_on(&format!("oversized-{flavor}"), (flavor, &[])).await?;
    fill(&source.mysql).await?;
    // The same changes, with events that are whole.
    let plain = Site::new(&format!("oversized-{flavor}-plain"))?;
    configure(&plain, &source.mysql, ("serverId = 4711\n", ""))?;
    let (dts, worker) = (plain.start_dts()?, plain.start_worker()?);
    let fetch = format!(
        "oversized.fetch = {{ hosts = [{:?}], user = \"root\" }}\n",
        source.mysql.address()
    );
    configure(&source.site, &source.mysql, ("serverId = 4712\n", &fetch))?;
    source.site.amend("dts.toml", "kind = \"log\"\n", MAX_ROW)?;
    let mut running = source.run()?;
    let whole = lines_with(&plain, "the end").await?;
    let fetched = lines_with(&running.site, "the end").await?;
    compare(&whole, &fetched)?;
    let figures = shown(&running.site, "copy").await["sink"].clone();
    let (rows, gone) = (&figures["fetched"], &figures["gone"]);
    println!("{} events, {rows} rows fetched, {gone} gone", whole.len());
    ensure!(rows.as_u64() > Some(100) && gone.as_u64() >= Some(1), "{figures}");
    drop((dts, worker));
    source_is_down(&mut running).await?;
    plain.remove()?;
    running.end().await
}

/// Tables with every type, and rows that are changed and deleted; the last one tells the end.
async fn fill(mysql: &Mysql) -> Result<()> {
    let mut conn = mysql.connect().await?;
    let session = if mysql.is_mariadb() { MARIADB_SESSION } else { SESSION };
    execute(&mut conn, &[session, &format!("CREATE DATABASE {SCHEMA}")]).await?;
    let samples = match mysql.is_mariadb() {
        true => mariadb_samples(&mut conn).await?,
        false => samples(&mut conn).await?,
    };
    let mut random = StdRng::seed_from_u64(seed());
    for Sample { table, .. } in samples {
        // Its large rows are refused.
        if !table.key.is_empty() {
            fill_table(&mut conn, &table, &mut random).await?;
        }
    }
    let create = format!("CREATE TABLE {SCHEMA}.marker (id INT PRIMARY KEY, text TEXT, {FILLER})");
    let insert = format!("INSERT INTO {SCHEMA}.marker (id, text) VALUES (1, 'the end')");
    execute(&mut conn, &[&create, &insert]).await
}

async fn fill_table(conn: &mut Conn, table: &Table, random: &mut StdRng) -> Result<()> {
    let name = table.full_name(SCHEMA);
    let random_rows = usize::try_from(size(3, 1_000))?;
    let mut rows = table.edges();
    rows.extend((0..random_rows).map(|_| table.random_row(random)));
    let alter = format!("ALTER TABLE {name} ADD COLUMN {FILLER}");
    execute(conn, &[&table.create(SCHEMA), &alter]).await?;
    for (at, some) in rows.chunks(200).enumerate() {
        let first = 1 + i64::try_from(at * 200)?;
        execute(conn, &[&table.insert(SCHEMA, first, some)]).await?;
    }
    let update = table.update(SCHEMA, 1, random);
    let delete = format!("DELETE FROM {name} WHERE {} = 2", quoted("id"));
    execute(conn, &[&update, &delete]).await
}

/// `dts` reads from the beginning; the only listener writes files.
fn configure(site: &Site, source: &Mysql, (dts, sink): (&str, &str)) -> Result<()> {
    site.configure_hosts(&[&source.address()], SCHEMA, dts)?;
    site.configure_worker(&format!(
        "[listeners.copy]\nsubscribe = {{ {SCHEMA} = [] }}\nstart = \"earliest\"\n\
         [listeners.copy.retry]\nmax = \"1s\"\n[listeners.copy.handler.file]\n\
         directory = {:?}\nname = \"all\"\n{sink}",
        site.path("out")
    ))
}

/// What the files have, by the ids of the events.
fn lines(site: &Site) -> Result<BTreeMap<String, Change>> {
    let mut lines = BTreeMap::new();
    let Ok(files) = std::fs::read_dir(site.path("out")) else { return Ok(lines) };
    for file in files {
        let path = file?.path();
        if !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        // The last line may not be whole yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines().filter(|line| line.contains("\"EvId\"")) {
            let change: Change = serde_json::from_str(line).with_context(|| line.to_owned())?;
            lines.insert(change.ev_id.clone(), change);
        }
    }
    Ok(lines)
}

/// Waits until the files have a row with this text, and all before it.
async fn lines_with(site: &Site, text: &str) -> Result<BTreeMap<String, Change>> {
    let mut found = BTreeMap::new();
    let there = wait_until("the row is in the files", PATIENCE, async || {
        found = lines(site).unwrap_or_default();
        let is_it =
            |change: &Change| change.table_name == "marker" && change.data.get().contains(text);
        found.values().any(is_it) && shown(site, "copy").await["lag"]["records"] == 0
    });
    let there = there.await;
    there.with_context(|| format!("{} lines; {}", found.len(), site.path("out").display()))?;
    found = lines(site)?;
    Ok(found)
}

/// Each event has the same row, if no later one has changed that; of a row that is not there any
/// more, only the delete comes.
fn compare(whole: &BTreeMap<String, Change>, fetched: &BTreeMap<String, Change>) -> Result<()> {
    let mut last = BTreeMap::new();
    for change in whole.values() {
        let newest = last.entry((&change.table_name, change.key.get())).or_insert(change);
        if change.seq > newest.seq {
            *newest = change;
        }
    }
    let mut compared = 0;
    for (id, change) in whole {
        let newest = last[&(&change.table_name, change.key.get())];
        let what = || format!("{id} of {}: {} {}", change.table_name, change.action, change.key);
        let Some(found) = fetched.get(id) else {
            ensure!(newest.action == "delete" && change.action != "delete", "no {}", what());
            continue;
        };
        ensure!(found.key.get() == change.key.get() && found.action == change.action, "{}", what());
        if change.action == "delete" {
            ensure!(found.data.get() == change.key.get(), "{}: {}", what(), found.data);
            continue;
        }
        ensure!(newest.action != "delete", "{} is there", what());
        let is_same = is_same_row(found, newest)?;
        ensure!(is_same, "{}:\n{}\nis not\n{}", what(), found.data, newest.data);
        compared += 1;
    }
    ensure!(compared > 100, "{compared} of {} rows were compared", whole.len());
    Ok(())
}

/// Whether a row that was fetched has all that the event of its last change has. A MariaDB does not
/// log generated columns of an update; who fetches the row gets them.
fn is_same_row(fetched: &Change, newest: &Change) -> Result<bool> {
    if fetched.data.get() == newest.data.get() {
        return Ok(true);
    }
    let (found, logged) = (Columns::read(fetched.data.get())?, Columns::read(newest.data.get())?);
    let has_all = logged.iter().all(|(name, value)| found.get(name) == Some(value));
    Ok(has_all && newest.action == "update" && found.iter().len() > logged.iter().len())
}

/// The source is gone when the event comes: the listener waits, and says for whom.
async fn source_is_down(running: &mut Running) -> Result<()> {
    let site = &running.site;
    let call = async |what: &str| -> Result<()> {
        let (code, _) = site.call_worker("POST", &format!("/api/v1/listeners/copy/{what}")).await?;
        ensure!(code == 200, "{what}: {code}");
        Ok(())
    };
    call("pause").await?;
    wait_until("it rests", PATIENCE, async || shown(site, "copy").await["state"] == "paused")
        .await?;
    let published = site.status().await["accounting"]["published"].as_u64();
    let insert = format!("INSERT INTO {SCHEMA}.marker (id, text) VALUES (2, 'after all')");
    running.mysql.execute(&[&insert]).await?;
    site.wait_for_published(published.context("dts says nothing")? + 1).await?;
    running.mysql.kill().await?;
    call("resume").await?;
    let says = format!("the source: {}", running.mysql.address());
    wait_until("the listener says that the source is away", PATIENCE, async || {
        shown(site, "copy").await.to_string().contains(&says)
    })
    .await?;
    running.mysql.restart().await?;
    lines_with(site, "after all").await.map(drop)
}
