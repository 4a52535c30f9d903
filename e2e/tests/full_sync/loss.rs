//! After lost transactions the full syncs that `dts` proposes make the tables right again.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    picture::{Picture, Versions},
    processes::{PATIENCE, wait_until},
    programs::{program, seed, size},
    replication::promote,
    servers::execute,
    writers::Writers,
};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use super::{
    Running, TABLE,
    failover::{ACCEPT, Replicated},
};

/// How often `event-worker` asks how far its listeners are.
const LAG_ASKED_EVERY: Duration = Duration::from_secs(1);

/// What `dts` says that was lost.
pub(super) async fn loss(running: &Running) -> Result<Value> {
    Ok(running.site.ask_dts("/api/v1/status").await?["lostTransactions"].clone())
}

/// Does as `docs/full-sync.md` says: lets the listener come to where the bus ends now, carries
/// out what is proposed, and gives since when whatever is there was handled.
pub(super) async fn make_right(running: &Running, loss: &Value) -> Result<u64> {
    catch_up(running).await?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let proposed = loss["fullSyncs"].as_array().context("nothing is proposed")?;
    for command in proposed.iter().filter_map(Value::as_str) {
        carry_out(running, &command.replace("LISTENER", "search")).await?;
    }
    carry_out(running, "event-worker full-sync watch").await?;
    catch_up(running).await?;
    Ok(u64::try_from(since)?)
}

/// Runs a command as one does who copies it.
async fn carry_out(running: &Running, command: &str) -> Result<()> {
    let programs = program("event-worker")?;
    let programs = programs.parent().context("no folder")?.display().to_string();
    let line = format!("PATH={programs}:$PATH {command} --config db_event_listener.toml");
    let (status, output) = running.site.run("command", &["sh", "-c", &line])?.told().await?;
    ensure!(status.success(), "{command}: {status}\n{output}");
    Ok(())
}

/// Waits until the listener has handled all that is in the bus now.
async fn catch_up(running: &Running) -> Result<()> {
    tokio::time::sleep(LAG_ASKED_EVERY * 2).await;
    let ends = partitions(running, "end").await?;
    wait_until("the listener catches up", PATIENCE, async || {
        let committed = partitions(running, "committed").await.unwrap_or_default();
        ends.iter().all(|(partition, end)| committed.get(partition) >= Some(end))
    })
    .await
}

async fn partitions(running: &Running, what: &str) -> Result<BTreeMap<String, u64>> {
    let listener = running.site.ask_worker("/api/v1/listeners/search").await?;
    let all = listener["partitions"].as_array().with_context(|| listener.to_string())?;
    let place = |of: &Value| (format!("{} {}", of["topic"], of["partition"]), of[what].as_u64());
    Ok(all.iter().map(place).filter_map(|(name, at)| Some((name, at?))).collect())
}

/// The listener's picture, without the rows that it was given nothing of since a moment, is the
/// table. Gives also the rows that were left out.
pub(super) async fn is_right(running: &Running, since: u64) -> Result<(Picture, Vec<i64>)> {
    let mut server = running.mysql.connect().await?;
    let recorded = running.site.path("search");
    let mut last = None;
    let outcome = wait_until("the listener knows the table", PATIENCE, async || {
        let Ok(mut picture) = Picture::read_by(&recorded, "item", Versions::MayGoBack) else {
            return false;
        };
        let gone = picture.forget_older_than(since);
        let checked = picture.check(&mut server, TABLE).await;
        let is_right = checked.is_ok();
        last = Some((checked, picture, gone));
        is_right
    })
    .await;
    let (checked, picture, gone) = last.context("nothing is recorded")?;
    checked?;
    outcome.map(|()| (picture, gone))
}

/// What is lost: rows changed, deleted, given other keys, and made.
const LOST: [&str; 5] = [
    "BEGIN",
    "UPDATE synced.item SET v = v + 1000000, t = 'lost' WHERE id % 50 = 1",
    "DELETE FROM synced.item WHERE id % 50 = 2",
    "UPDATE synced.item SET id = id + 9000000000, v = v + 1000000 WHERE id % 100 = 3",
    "COMMIT",
];

/// Rows that only the lost server ever had.
const LOST_ROWS: i64 = 300;

async fn lose(test: &str, flavor: &str) -> Result<()> {
    let rows = size(4_000, 100_000);
    let mut servers = Replicated::start((test, flavor), ACCEPT, (rows, "")).await?;
    let Replicated { running, replica } = &mut servers;
    // The listener has all before the crash, and what it has is then true.
    let id = running.sync("search", "").await?;
    running.done(&id).await?;
    let stop = if replica.is_mariadb() { "STOP SLAVE IO_THREAD" } else { "STOP REPLICA IO_THREAD" };
    replica.execute(&[stop]).await?;
    let mut source = running.mysql.connect().await?;
    execute(&mut source, &LOST).await?;
    for n in 0..LOST_ROWS {
        let insert = format!("INSERT INTO {TABLE} VALUES ({}, 1, 'lost')", 8_500_000_000 + n);
        source.query_drop(insert).await?;
    }
    drop(source);
    running.complete("search").await?;
    running.mysql.kill().await?;
    promote(replica).await?;
    servers.taken_over().await?;

    let running = &servers.running;
    let writers = Writers::start(&running.mysql.url(), (TABLE, rows), 100, seed());
    let loss = loss(running).await?;
    let proposed = "event-worker full-sync start -t LISTENER synced.item";
    ensure!(loss["fullSyncs"] == json!([proposed]), "{loss}");
    ensure!(running.dts.output().contains(proposed), "{}", running.dts.output());
    let since = make_right(running, &loss).await?;
    writers.stop().await?;
    let (picture, gone) = is_right(running, since).await?;
    // Neither a full sync nor a change tells of these: they never were, on this server.
    let changed_keys = i64::try_from(rows)? / 100;
    println!("{flavor}: {} rows synced, {} removed, {loss}", picture.synced, gone.len());
    ensure!(gone.len() as i64 == LOST_ROWS + changed_keys, "{} are removed", gone.len());
    servers.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dts_proposes_after_lost_transactions_makes_the_table_right() -> Result<()> {
    lose("full-sync-loss", "9.7").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as on MySQL: scripts/test.sh --all"]
async fn what_dts_proposes_after_a_loss_of_mariadb_makes_the_table_right() -> Result<()> {
    lose("full-sync-loss-mariadb", "mariadb-11.8").await
}
