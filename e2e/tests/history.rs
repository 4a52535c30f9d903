//! The history that a server has, and ours: what goes on, and what is refused with which remedy.

use std::{path::Path, process::ExitStatus};

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, wait_until},
    programs::{Site, recording_listener},
    recording::Recording,
    servers::{Mysql, execute},
};
use mysql_async::prelude::Queryable;
use serde_json::Value;

const REFUSED: i32 = 69;

/// A source with `dts` and a listener.
struct Source {
    site: Site,
    mysql: Mysql,
}

impl Source {
    async fn start(test: &str, options: &[&str]) -> Result<Self> {
        let site = Site::new(test)?;
        let mysql = Mysql::start_with("9.7", &site.path("mysql"), options).await?;
        let source = Self { site, mysql };
        source.site.configure_dts(&source.mysql.address(), "shop")?;
        source.site.configure_worker(&recording_listener(
            "all",
            &source.site.path("events"),
            &[],
        )?)?;
        source
            .execute(&["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"])
            .await?;
        Ok(source)
    }

    async fn execute(&self, statements: &[&str]) -> Result<()> {
        execute(&mut self.mysql.connect().await?, statements).await
    }

    async fn ask(&self, query: &str) -> Result<String> {
        let answer: Option<String> = self.mysql.connect().await?.query_first(query).await?;
        answer.context("no answer")
    }

    async fn status(&self) -> Value {
        self.site.ask_dts("/api/v1/status").await.unwrap_or_default()
    }

    /// Waits until `dts` has published so many records, and stops it.
    async fn stop_at(&self, mut dts: Process, records: u64) -> Result<()> {
        self.wait_for_published(records).await?;
        dts.signal("TERM").await?;
        let status = dts.ended().await?;
        ensure!(status.success(), "dts did not stop cleanly: {}", dts.output());
        Ok(())
    }

    async fn wait_for_published(&self, records: u64) -> Result<()> {
        let mut seen = Value::Null;
        wait_until("dts publishes", PATIENCE, async || {
            seen = self.status().await;
            seen["accounting"]["published"].as_u64() >= Some(records)
        })
        .await
        .with_context(|| seen.to_string())
    }

    /// Runs `dts` until it has published so many records in all.
    async fn run_up_to(&self, records: u64) -> Result<()> {
        self.stop_at(self.site.start_dts()?, records).await
    }

    /// Runs `dts` until it ends by itself.
    async fn run_to_the_end(&self) -> Result<(ExitStatus, String)> {
        let mut dts = self.site.start_dts()?;
        let before = dts.output().len();
        let status = dts.ended().await?;
        Ok((status, dts.output().split_off(before)))
    }

    async fn expect_refusal(&self, case: &str, parts: &[&str]) -> Result<()> {
        let (status, output) = self.run_to_the_end().await?;
        ensure!(status.code() == Some(REFUSED), "{case}: {status}\n{output}");
        for part in parts {
            ensure!(output.contains(part), "{case}: {part:?} is not in\n{output}");
        }
        println!("{case}: {}", output.lines().last().unwrap_or_default());
        Ok(())
    }

    /// Runs everything until these keys were handled, each once.
    async fn expect_keys(&self, expected: &[i64]) -> Result<()> {
        let (_dts, _worker) = (self.site.start_dts()?, self.site.start_worker()?);
        let path = self.site.path("events");
        let mut keys = Vec::new();
        wait_until("the events are handled", PATIENCE, async || {
            keys = keys_of(&path);
            keys == expected
        })
        .await
        .with_context(|| format!("{expected:?} expected: {keys:?}"))
    }

    fn remove(self) -> Result<()> {
        drop(self.mysql);
        self.site.remove()
    }
}

/// The keys in the bus, in its order: only one table, and one event for each.
fn keys_of(path: &Path) -> Vec<i64> {
    let recording = Recording::read(path).unwrap_or(Recording { calls: vec![], torn: 0 });
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
async fn without_gtids_a_file_that_is_gone_and_another_server_are_told_apart() -> Result<()> {
    let source = Source::start("history-file", &["--gtid-mode=OFF"]).await?;
    source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
    source.run_up_to(1).await?;
    source.execute(&["INSERT INTO shop.t VALUES (2)", "FLUSH BINARY LOGS"]).await?;
    source.execute(&["PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"]).await?;
    let remedy = "begin with what is left (`dts position set earliest`)";
    source.expect_refusal("purged file", &["has purged our binlog file", remedy]).await?;
    source.execute(&["RESET BINARY LOGS AND GTIDS"]).await?;
    let parts = ["ends at ", "before our position", "`dts position set earliest`"];
    source.expect_refusal("reset", &parts).await?;

    let folder = source.site.path("other");
    std::fs::create_dir_all(&folder)?;
    let other = Mysql::start_with("9.7", &folder, &["--gtid-mode=OFF"]).await?;
    let (here, there) = (source.mysql.address(), other.address());
    source.site.configure_dts(&there, "shop")?;
    let parts = ["this is server ", "without GTIDs it means nothing here", "the server of before"];
    source.expect_refusal("another server", &parts).await?;
    source.site.configure_hosts(&[&here, &there], "shop", "")?;
    let parts = ["source.hosts names 2 hosts", "gtid_mode is not ON", "or name one host"];
    source.expect_refusal("several hosts without GTIDs", &parts).await?;
    drop(other);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_host_has_purged_is_refused_and_errant_transactions_are_read() -> Result<()> {
    let source = Source::start("history-errant", &[]).await?;
    source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
    source.run_up_to(1).await?;
    let read = source.ask("SELECT @@GLOBAL.gtid_executed").await?;
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
    source.expect_refusal("purged GTIDs", &parts).await?;
    drop(other);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_in_a_gtid_set_are_kept_and_filled_later() -> Result<()> {
    const OTHER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let source = Source::start("history-gaps", &[]).await?;
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
    let set = source.status_of_checkpoint().await?;
    ensure!(set.contains(&format!("{OTHER}:2-3:9-10:21")), "{set}");
    for number in [5, 1] {
        let statements = insert(number);
        source.execute(&statements.each_ref().map(String::as_str)).await?;
    }
    source.expect_keys(&[2, 3, 9, 10, 21, 5, 1]).await?;
    source.run_up_to(7).await?;
    let set = source.status_of_checkpoint().await?;
    ensure!(set.contains(&format!("{OTHER}:1-3:5:9-10:21")), "{set}");
    source.remove()
}

impl Source {
    /// The GTID set in the checkpoint, as `dts position show` prints it.
    async fn status_of_checkpoint(&self) -> Result<String> {
        let program = e2e::programs::program("dts")?;
        let program = program.to_str().context("the path is not UTF-8")?;
        let command = [program, "position", "show", "--config", "dts.toml"];
        let mut show = self.site.run("show", &command)?;
        let before = show.output().len();
        show.ended().await?;
        let output = show.output().split_off(before);
        let line = output.lines().rfind(|line| line.starts_with('{')).context(output.clone())?;
        let position: Value = serde_json::from_str(line)?;
        Ok(position["gtidSet"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_loaded_from_a_dump_is_read_from_its_first_binlog_on() -> Result<()> {
    const DUMPED: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-1000:2000-2005";
    let source = Source::start("history-purged", &[]).await?;
    source.execute(&["RESET BINARY LOGS AND GTIDS"]).await?;
    source.execute(&[&format!("SET GLOBAL gtid_purged = '{DUMPED}'")]).await?;
    source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
    source.run_up_to(1).await?;
    let set = source.status_of_checkpoint().await?;
    ensure!(set.contains(DUMPED), "{set}");
    source.execute(&["INSERT INTO shop.t VALUES (2)"]).await?;
    source.expect_keys(&[1, 2]).await?;
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_and_gtid_transactions_in_one_binlog_are_all_read() -> Result<()> {
    let source = Source::start("history-mixed", &[]).await?;
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
    source.expect_keys(&(1..=10).collect::<Vec<_>>()).await?;
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_millionth_binlog_file_follows_the_one_before() -> Result<()> {
    for (name, options) in [("gtid", vec![]), ("file", vec!["--gtid-mode=OFF"])] {
        let mut source = Source::start(&format!("history-millionth-{name}"), &options).await?;
        source.mysql.kill().await?;
        std::fs::write(source.mysql.data().join("binlog.999998"), "")?;
        source.mysql.restart().await?;
        let statements = inserts(1..=3);
        source.execute(&[&statements[0]]).await?;
        source.run_up_to(1).await?;
        source.execute(&[&statements[1], "FLUSH BINARY LOGS", &statements[2]]).await?;
        let dts = source.site.start_dts()?;
        source.wait_for_published(3).await?;
        let status = source.status().await;
        ensure!(status["position"]["file"] == "binlog.1000000", "{status}");
        source.stop_at(dts, 3).await?;
        source.execute(&["FLUSH BINARY LOGS", "INSERT INTO shop.t VALUES (4)"]).await?;
        source.expect_keys(&[1, 2, 3, 4]).await?;
        source.remove()?;
    }
    Ok(())
}

/// So large a transaction takes minutes and 10 GB: only where the sizes are full.
#[tokio::test(flavor = "multi_thread")]
async fn positions_past_4_gib_are_gone_on_from_by_file() -> Result<()> {
    if e2e::programs::size(0, 1) == 0 {
        return small_transactions_are_passed_over().await;
    }
    let options = ["--gtid-mode=OFF", "--max-binlog-size=1G", "--max-allowed-packet=64M"];
    let source = Source::start("history-4-gib", &options).await?;
    // A table that stores nothing: only the binlog gets large.
    source
        .execute(&[
            "CREATE TABLE shop.big (id INT, content LONGTEXT) ENGINE = BLACKHOLE",
            "CREATE TABLE shop.n (i INT PRIMARY KEY)",
            "INSERT INTO shop.n WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n \
             WHERE i < 550) SELECT i FROM n",
            "INSERT INTO shop.big SELECT i, REPEAT('x', 8000000) FROM shop.n",
        ])
        .await?;
    let dts = source.site.start_dts()?;
    source.wait_for_published(1_100).await?;
    let status = source.status().await;
    println!("{}", status["position"]);
    source.stop_at(dts, 1_100).await?;
    source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
    source.run_up_to(1_101).await?;
    source.remove()
}

/// Without GTIDs a restart goes on at the exact place; the one past 4 GiB is proven with its
/// decision in `dts/src/binlog/file.rs`.
async fn small_transactions_are_passed_over() -> Result<()> {
    let source = Source::start("history-by-file", &["--gtid-mode=OFF"]).await?;
    for round in 0..3 {
        let statements = inserts(round * 10 + 1..=round * 10 + 10);
        let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
        source.execute(&statements).await?;
        source.run_up_to(u64::try_from(round + 1)? * 10).await?;
    }
    source.expect_keys(&(1..=30).collect::<Vec<_>>()).await?;
    source.remove()
}
