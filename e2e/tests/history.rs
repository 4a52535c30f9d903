//! The history that a server has, and ours: what goes on, and what is refused with which remedy.

use anyhow::{Context, Result, ensure};
use e2e::{
    mysqlbinlog::{self, BinlogEvent},
    processes::{PATIENCE, wait_until},
    programs::REFUSED,
    recording::Recording,
    running::Source,
    servers::{Mysql, execute},
};
use serde_json::Value;

/// A server with a table that `dts` and a listener read.
async fn start(test: &str, options: &[&str]) -> Result<Source> {
    let statements = ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"];
    Source::start_on(test, ("9.7", options)).await?.capture("shop", &statements).await
}

/// Runs everything until these keys were handled, each once.
async fn expect_keys(source: &Source, expected: &[i64]) -> Result<()> {
    let (mut dts, mut worker) = (source.site.start_dts()?, source.site.start_worker()?);
    let mut keys = Vec::new();
    wait_until("the events are handled", PATIENCE, async || {
        keys = keys_of(&source.site.recording());
        keys == expected
    })
    .await
    .with_context(|| format!("{expected:?} expected: {keys:?}"))?;
    // Their ports are free before the next ones start.
    dts.kill().await?;
    worker.kill().await
}

/// The keys in the bus, in its order: only one table, and one event for each.
fn keys_of(recording: &Recording) -> Vec<i64> {
    let events = recording.calls.iter().flat_map(|call| &call.events);
    let mut keys: Vec<(u64, i64)> = events
        .filter_map(|event| {
            let key: Value = serde_json::from_str(event.pk.get()).ok()?;
            Some((event.bus.offset, key["id"].as_i64()?))
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(|(_, key)| key).collect()
}

/// Inserts rows, each in a transaction of its own.
fn inserts(keys: std::ops::RangeInclusive<i64>) -> Vec<String> {
    keys.map(|key| format!("INSERT INTO shop.t VALUES ({key})")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gtids_a_file_that_is_gone_and_another_server_are_distinguished() -> Result<()> {
    let source = start("history-file", &["--gtid-mode=OFF"]).await?;
    let clock = "SELECT UNIX_TIMESTAMP()";
    let after_begin = source.mysql.ask(clock).await?;
    source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
    source.run_up_to(1).await?;
    source.execute(&["INSERT INTO shop.t VALUES (2)", "FLUSH BINARY LOGS"]).await?;
    source.execute(&["PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"]).await?;
    let remedy = "begin with what is left (`dts position set earliest`)";
    source.site.expect_refusal("purged file", &["has purged our binlog file", remedy]).await?;
    // Files that were begun in one second look the same.
    wait_until("the clock shows another second", PATIENCE, async || {
        source.mysql.ask(clock).await.is_ok_and(|now| now != after_begin)
    })
    .await?;
    source.execute(&["RESET BINARY LOGS AND GTIDS"]).await?;
    let parts = ["ends at ", "before our position", "`dts position set earliest`"];
    source.site.expect_refusal("reset", &parts).await?;
    let again = inserts(10..=40);
    source.execute(&again.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let parts = ["was begun at ", "binlogs were reset", "`dts position set earliest`"];
    source.site.expect_refusal("reset, and as long as before", &parts).await?;

    let folder = source.site.path("other");
    std::fs::create_dir_all(&folder)?;
    let other = Mysql::start_with("9.7", &folder, &["--gtid-mode=OFF"]).await?;
    let (here, there) = (source.mysql.address(), other.address());
    source.site.configure_dts(&there, "shop")?;
    let parts = ["this is server ", "without GTIDs it means nothing here", "the earlier server"];
    source.site.expect_refusal("another server", &parts).await?;
    source.site.configure_hosts(&[&here, &there], "shop", "")?;
    let parts = ["source.hosts names 2 hosts", "gtid_mode is not ON", "or name one host"];
    source.site.expect_refusal("several hosts without GTIDs", &parts).await?;
    drop(other);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_the_binlogs_ends_a_running_dts_without_gtids() -> Result<()> {
    let parts = ["ends at ", "before our position", "`dts position set earliest`", "EvId"];
    reset_while_it_runs("history-reset", ("9.7", &["--gtid-mode=OFF"]), &parts).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_the_binlogs_ends_a_running_dts_with_gtids() -> Result<()> {
    let parts = ["does not have ", "transactions that we have read"];
    reset_while_it_runs("history-reset-gtids", ("9.7", &[]), &parts).await?;
    reset_while_it_runs("history-reset-mariadb", ("mariadb-11.8", &[]), &parts).await
}

/// The server says nothing on the connection that it sends its binlog over.
async fn reset_while_it_runs(test: &str, server: (&str, &[&str]), parts: &[&str]) -> Result<()> {
    let statements = ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"];
    let source = Source::start_on(test, server).await?.capture("shop", &statements).await?;
    let reset = match source.mysql.is_mariadb() {
        true => "RESET MASTER",
        false => "RESET BINARY LOGS AND GTIDS",
    };
    source.execute(&[reset]).await?;
    let rows = inserts(1..=30);
    source.execute(&rows.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let mut dts = source.site.start_dts()?;
    source.site.wait_for_published(30).await?;
    wait_until("it was asked how far we are", PATIENCE, async || {
        source.site.status().await["binlog"]["bytesBehind"] == 0
    })
    .await?;
    source.execute(&[reset, "INSERT INTO shop.t VALUES (99)"]).await?;
    let (status, output) = (dts.ended().await?, dts.output());
    ensure!(status.code() == Some(REFUSED), "{status}\n{output}");
    for part in parts {
        ensure!(output.contains(part), "{part:?} is not in\n{output}");
    }
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_host_has_purged_is_refused_and_errant_transactions_are_read() -> Result<()> {
    let source = start("history-errant", &[]).await?;
    source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
    source.run_up_to(1).await?;
    let read = source.mysql.ask("SELECT @@GLOBAL.gtid_executed").await?;
    let folder = source.site.path("other");
    std::fs::create_dir_all(&folder)?;
    let other = Mysql::start_with("9.7", &folder, &[]).await?;
    // As if it had replicated all that we have read, and purged a transaction of its own since.
    let mut conn = other.connect().await?;
    execute(
        &mut conn,
        &[
            &format!("SET GLOBAL gtid_purged = '{read}'"),
            "CREATE DATABASE shop",
            "CREATE TABLE shop.t (id INT PRIMARY KEY)",
            "INSERT INTO shop.t VALUES (1), (2)",
        ],
    )
    .await?;
    source.site.configure_dts(&other.address(), "shop")?;
    source.run_up_to(3).await?;
    execute(&mut conn, &["INSERT INTO shop.t VALUES (3)", "FLUSH BINARY LOGS"]).await?;
    execute(&mut conn, &["PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"]).await?;
    let parts = ["has purged transactions that we have not read", ":4 (1 of them)", "source.hosts"];
    source.site.expect_refusal("purged GTIDs", &parts).await?;
    drop(other);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_in_a_gtid_set_are_kept_and_filled_later() -> Result<()> {
    const OTHER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let source = start("history-gaps", &[]).await?;
    let insert = |number: u64| {
        [
            format!("SET GTID_NEXT = '{OTHER}:{number}'"),
            format!("INSERT INTO shop.t VALUES ({number})"),
            "SET GTID_NEXT = 'AUTOMATIC'".to_owned(),
        ]
    };
    for number in [2, 3, 9, 10, 21] {
        let statements = insert(number);
        source.execute(&statements.each_ref().map(String::as_str)).await?;
    }
    source.run_up_to(5).await?;
    let set = gtids_of_checkpoint(&source).await?;
    ensure!(set.contains(&format!("{OTHER}:2-3:9-10:21")), "{set}");
    for number in [5, 1] {
        let statements = insert(number);
        source.execute(&statements.each_ref().map(String::as_str)).await?;
        source.execute(&["FLUSH BINARY LOGS"]).await?;
    }
    expect_keys(&source, &[2, 3, 9, 10, 21, 5, 1]).await?;
    source.run_up_to(7).await?;
    let set = gtids_of_checkpoint(&source).await?;
    ensure!(set.contains(&format!("{OTHER}:1-3:5:9-10:21")), "{set}");
    source.remove()
}

/// The GTID set in the checkpoint, as `dts position show` prints it.
async fn gtids_of_checkpoint(source: &Source) -> Result<String> {
    let (_, output) = source.site.run_dts(&["position", "show"]).await?;
    let line = output.lines().rfind(|line| line.starts_with('{')).context(output.clone())?;
    let position: Value = serde_json::from_str(line)?;
    Ok(position["gtidSet"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_loaded_from_a_dump_is_read_from_its_first_binlog_on() -> Result<()> {
    const DUMPED: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-1000:2000-2005";
    let source = start("history-purged", &[]).await?;
    source.execute(&["RESET BINARY LOGS AND GTIDS"]).await?;
    source.execute(&[&format!("SET GLOBAL gtid_purged = '{DUMPED}'")]).await?;
    source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
    source.run_up_to(1).await?;
    let set = gtids_of_checkpoint(&source).await?;
    ensure!(set.contains(DUMPED), "{set}");
    source.execute(&["INSERT INTO shop.t VALUES (2)"]).await?;
    expect_keys(&source, &[1, 2]).await?;
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_and_gtid_transactions_in_one_binlog_are_all_read() -> Result<()> {
    let source = start("history-mixed", &[]).await?;
    source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
    source.run_up_to(1).await?;
    source
        .execute(&[
            "INSERT INTO shop.t VALUES (2)",
            "SET GLOBAL gtid_mode = ON_PERMISSIVE",
            "INSERT INTO shop.t VALUES (3)",
            "SET GTID_NEXT = 'ANONYMOUS'",
            "INSERT INTO shop.t VALUES (4)",
            "SET GTID_NEXT = 'AUTOMATIC'",
            "INSERT INTO shop.t VALUES (5)",
        ])
        .await?;
    source.run_up_to(5).await?;
    source
        .execute(&[
            "SET GLOBAL gtid_mode = OFF_PERMISSIVE",
            "INSERT INTO shop.t VALUES (6)",
            "SET GLOBAL gtid_mode = OFF",
            "INSERT INTO shop.t VALUES (7)",
        ])
        .await?;
    source.run_up_to(7).await?;
    source
        .execute(&[
            "SET GLOBAL gtid_mode = OFF_PERMISSIVE",
            "INSERT INTO shop.t VALUES (8)",
            "SET GLOBAL gtid_mode = ON_PERMISSIVE",
            "INSERT INTO shop.t VALUES (9)",
        ])
        .await?;
    source.run_up_to(9).await?;
    source.execute(&["SET GLOBAL gtid_mode = ON", "INSERT INTO shop.t VALUES (10)"]).await?;
    source.run_up_to(10).await?;

    // Anonymous transactions that were written while dts was away. We have all GTIDs before and
    // after their file, so a dump by GTID would skip that file.
    source
        .execute(&[
            "SET GLOBAL gtid_mode = ON_PERMISSIVE",
            "SET GTID_NEXT = 'ANONYMOUS'",
            "INSERT INTO shop.t VALUES (11)",
            "SET GTID_NEXT = 'AUTOMATIC'",
            "SET GLOBAL gtid_mode = ON",
        ])
        .await?;
    let parts = ["anonymous transaction", "SET GLOBAL gtid_mode = ON_PERMISSIVE there, until"];
    source.site.expect_refusal("anonymous and only GTIDs", &parts).await?;
    source.execute(&["SET GLOBAL gtid_mode = ON_PERMISSIVE"]).await?;
    source.run_up_to(11).await?;
    source.execute(&["SET GLOBAL gtid_mode = ON"]).await?;
    expect_keys(&source, &(1..=11).collect::<Vec<_>>()).await?;
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_millionth_binlog_file_follows_the_one_before() -> Result<()> {
    for (name, options) in [("gtid", vec![]), ("file", vec!["--gtid-mode=OFF"])] {
        let mut source = start(&format!("history-millionth-{name}"), &options).await?;
        source.mysql.kill().await?;
        std::fs::write(source.mysql.data().join("binlog.999998"), "")?;
        source.mysql.restart().await?;
        let statements = inserts(1..=3);
        source.execute(&[&statements[0]]).await?;
        source.run_up_to(1).await?;
        source.execute(&[&statements[1], "FLUSH BINARY LOGS", &statements[2]]).await?;
        let mut dts = source.site.start_dts()?;
        source.site.wait_for_published(3).await?;
        let status = source.site.status().await;
        ensure!(status["position"]["file"] == "binlog.1000000", "{status}");
        dts.signal("TERM").await?;
        ensure!(dts.ended().await?.success(), "dts did not stop cleanly: {}", dts.output());
        source.execute(&["FLUSH BINARY LOGS", "INSERT INTO shop.t VALUES (4)"]).await?;
        expect_keys(&source, &[1, 2, 3, 4]).await?;
        source.remove()?;
    }
    Ok(())
}

/// So large a transaction takes minutes and 10 GB: only where the sizes are full.
#[tokio::test(flavor = "multi_thread")]
async fn positions_past_4_gib_are_gone_on_from_by_file() -> Result<()> {
    if e2e::programs::size(0, 1) == 0 {
        return small_transactions_are_skipped().await;
    }
    let options = ["--gtid-mode=OFF", "--max-allowed-packet=64M"];
    let source = start("history-4-gib", &options).await?;
    let last = write_past_4_gib(&source).await?;
    source.execute(&["INSERT INTO shop.t VALUES (1000)"]).await?;
    let ends = commits_past_4_gib(&source).await?;
    println!("small transactions up to {last}; boundaries past 4 GiB: {ends:?}");
    ensure!(ends.len() >= 2, "nothing was written after the huge transaction: {ends:?}");

    let end = *ends.last().context("no end")?;
    let (before, in_file) =
        (small_before(&source, ends[0]).await?, small_before(&source, end).await?);
    // After the huge transaction: what follows in the file, and the next file.
    let mut expected: Vec<i64> = (before + 1..=last).chain([1000]).collect();
    go_on_at(&source, ends[0]).await?;
    expect_keys(&source, &expected).await?;
    // At the end of the file: the next file.
    go_on_at(&source, end).await?;
    expected.extend((in_file + 1..=last).chain([1000]));
    expect_keys(&source, &expected).await?;
    source.remove()
}

/// Writes one transaction of more than 4 GiB into the first file, and small ones at the same time,
/// of which some come after the large one; gives the key of the last small one.
async fn write_past_4_gib(source: &Source) -> Result<i64> {
    // A table that stores nothing: only the binlog gets large. With the delay a commit that
    // comes soon after the huge one is written before the file is changed.
    source
        .execute(&[
            "CREATE TABLE shop.big (id INT, content LONGTEXT) ENGINE = BLACKHOLE",
            "CREATE TABLE shop.n (i INT PRIMARY KEY)",
            "INSERT INTO shop.n WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n \
         WHERE i < 550) SELECT i FROM n",
            "SET GLOBAL binlog_group_commit_sync_delay = 1000000",
        ])
        .await?;
    let (mut huge, mut small) = (source.mysql.connect().await?, source.mysql.connect().await?);
    let is_written = std::sync::atomic::AtomicBool::new(false);
    let write = async {
        let insert = "INSERT INTO shop.big SELECT i, REPEAT('x', 8000000) FROM shop.n";
        let written = execute(&mut huge, &[insert]).await;
        is_written.store(true, std::sync::atomic::Ordering::Relaxed);
        written
    };
    let trickle = async {
        let mut key = 0;
        while !is_written.load(std::sync::atomic::Ordering::Relaxed) {
            key += 1;
            execute(&mut small, &[&format!("INSERT INTO shop.t VALUES ({key})")]).await?;
        }
        Ok::<i64, anyhow::Error>(key)
    };
    let (written, last) = tokio::join!(write, trickle);
    written?;
    source.execute(&["SET GLOBAL binlog_group_commit_sync_delay = 0"]).await?;
    last
}

/// How many of the small transactions are in the first file before a place.
async fn small_before(source: &Source, pos: u64) -> Result<i64> {
    // The 550 large rows are events of their own, and the numbers are one.
    const OTHERS: i64 = 551;
    let events = mysqlbinlog::events(&source.mysql, "binlog.000001").await?;
    let is_rows = |event: &&BinlogEvent| event.kind == "Write_rows" && event.pos < pos;
    Ok(i64::try_from(events.iter().filter(is_rows).count())? - OTHERS)
}

/// Where transactions end in the first file, past 4 GiB. The server prints the ends modulo 4
/// GiB, so the begin of the next event is taken.
async fn commits_past_4_gib(source: &Source) -> Result<Vec<u64>> {
    let events = mysqlbinlog::events(&source.mysql, "binlog.000001").await?;
    let mut ends = Vec::new();
    for pair in events.windows(2) {
        let is_end = pair[0].kind == "Xid" || pair[0].info == "COMMIT";
        if is_end && pair[1].pos > u64::from(u32::MAX) {
            ends.push(pair[1].pos);
        }
    }
    Ok(ends)
}

/// `dts position set`, to a place in the first file.
async fn go_on_at(source: &Source, pos: u64) -> Result<()> {
    let set = ["position", "set", "--file", "binlog.000001", "--pos", &pos.to_string()];
    let (code, output) = source.site.run_dts(&set).await?;
    ensure!(code == Some(0), "{output}");
    Ok(())
}

/// Without GTIDs a restart continues at the exact place. That this holds past 4 GiB is tested in
/// `dts/src/binlog/file.rs`.
async fn small_transactions_are_skipped() -> Result<()> {
    let source = start("history-by-file", &["--gtid-mode=OFF"]).await?;
    for round in 0..3 {
        let statements = inserts(round * 10 + 1..=round * 10 + 10);
        let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
        source.execute(&statements).await?;
        source.run_up_to(u64::try_from(round + 1)? * 10).await?;
    }
    expect_keys(&source, &(1..=30).collect::<Vec<_>>()).await?;
    source.remove()
}
