//! However sessions log their changes, the tables rebuilt from the events are those of MySQL.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::PATIENCE,
    programs::{seed, size},
    rebuilt::Rebuilt,
    recording::Event,
    running::{Running, Source, Victim},
    servers::execute,
    sessions::{self, Style, TABLE},
};
use mysql_async::{Conn, Row, prelude::Queryable as _};

const SCHEMA: &str = "styles";

async fn start(test: &str) -> Result<Running> {
    start_on(test, ("9.7", &[])).await
}

async fn start_on(test: &str, server: (&str, &[&str])) -> Result<Running> {
    let source = Source::start_on(test, server).await?.capture(SCHEMA, &[]).await?;
    sessions::create_table(&mut source.mysql.connect().await?, SCHEMA).await?;
    source.run()
}

/// Every change is handled, and the table is MySQL's.
async fn check(running: &Running) -> Result<usize> {
    let rebuilt = Rebuilt::from_recording(&running.all_handled(SCHEMA).await?)?;
    rebuilt.check_table(&mut running.mysql.connect().await?, SCHEMA, TABLE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_rebuilt_from_every_style_of_logging_while_dts_is_killed() -> Result<()> {
    rebuild_from("9.7", &Style::ALL).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as on MariaDB 11.8: scripts/test.sh --all"]
async fn tables_are_rebuilt_from_every_style_of_mariadb_1011() -> Result<()> {
    rebuild_from("mariadb-10.11", &Style::MARIADB).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_rebuilt_from_every_style_of_mariadb_118() -> Result<()> {
    rebuild_from("mariadb-11.8", &Style::MARIADB).await
}

async fn rebuild_from(flavor: &str, styles: &[Style]) -> Result<()> {
    let (seed, statements) = (seed(), size(600, 5_000));
    let mut running = start_on(&format!("styles-{flavor}"), (flavor, &[])).await?;
    let url = format!("{}/{SCHEMA}", running.mysql.url());
    for (number, style) in (0_u64..).zip(styles) {
        for (half, checksum) in [(0, "CRC32"), (1, "NONE")] {
            let mut server = running.mysql.connect().await?;
            server.query_drop(format!("SET GLOBAL binlog_checksum = {checksum}")).await?;
            let load = sessions::run(&url, (*style, statements / 2), seed + 10 * number + half);
            let (made, killed) = tokio::join!(load, running.kill(Victim::Dts));
            made.with_context(|| format!("{style:?}"))?;
            killed?;
        }
        let rows = check(&running).await.with_context(|| format!("{style:?}"))?;
        println!("{flavor} {style:?}: {statements} statements, {rows} rows");
        ensure!(rows > 0, "{style:?}: the table is empty, which proves nothing");
    }
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_xa_transaction_is_published_at_its_commit_with_the_ids_of_its_prepare() -> Result<()> {
    for gtid_mode in ["ON", "OFF_PERMISSIVE"] {
        let mut running = start(&format!("xa-{gtid_mode}")).await?;
        let mut server = running.mysql.connect().await?;
        if gtid_mode != "ON" {
            for mode in ["ON_PERMISSIVE", "OFF_PERMISSIVE"] {
                server.query_drop(format!("SET GLOBAL gtid_mode = {mode}")).await?;
            }
        }
        execute(
            &mut server,
            &[
                "USE styles",
                "XA START 'held'",
                "INSERT INTO doc (id, number) VALUES (1, 1), (2, 2)",
                "XA END 'held'",
                "XA PREPARE 'held'",
                "XA START 'dropped'",
                "INSERT INTO doc (id, number) VALUES (3, 3)",
                "XA END 'dropped'",
                "XA PREPARE 'dropped'",
                "INSERT INTO doc (id, number) VALUES (4, 4)",
            ],
        )
        .await?;
        running.site.wait_for_exactly(1).await?;
        running.kill(Victim::Dts).await?;
        execute(&mut server, &["XA ROLLBACK 'dropped'", "XA COMMIT 'held'"]).await?;
        running.site.wait_for_exactly(3).await?;
        running.kill(Victim::Dts).await?;
        execute(&mut server, &["INSERT INTO doc (id, number) VALUES (5, 5)"]).await?;
        running.site.wait_for_exactly(4).await?;
        ensure!(running.dts.is_running()?, "{}", running.dts.output());
        if gtid_mode == "ON" {
            ensure!(check(&running).await? == 4);
        }
        running.end().await?;
    }
    Ok(())
}

/// The status says what the targets keep, and what to do.
async fn removals_are_told(running: &Running) -> Result<()> {
    counts(running, "dts_removals_total", 2).await?;
    let status = running.site.status().await;
    let told =
        status["why"].as_str().is_some_and(|why| why.contains("removed rows of styles.copy"));
    let full_sync = "event-worker full-sync start -t LISTENER styles.copy";
    ensure!(told && status["removals"][0]["fullSync"] == full_sync, "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_group_is_read_and_what_is_not_known_stops_or_is_reported() -> Result<()> {
    let mut running = start("groups").await?;
    let mut server = running.mysql.connect().await?;
    let file = running.site.path("rows.csv");
    std::fs::write(&file, "10,1\n11,2\n12,3\n")?;
    let load = format!("LOAD DATA INFILE '{}' INTO TABLE doc", file.display());
    execute(
        &mut server,
        &[
            "USE styles",
            &format!("{load} FIELDS TERMINATED BY ',' (id, number)"),
            "CREATE TABLE copy (PRIMARY KEY (id)) AS SELECT id, number FROM doc",
            "BEGIN",
            "SAVEPOINT a",
            "INSERT INTO doc (id) VALUES (20)",
            "ROLLBACK TO a",
            "INSERT INTO doc (id) VALUES (21)",
            "SAVEPOINT b",
            "COMMIT",
            "TRUNCATE copy",
            "DROP TABLE copy",
            "CREATE DATABASE elsewhere",
            "CREATE TABLE elsewhere.t (id INT PRIMARY KEY)",
            "SET SESSION binlog_format = STATEMENT, SESSION binlog_rows_query_log_events = ON",
            "INSERT INTO elsewhere.t VALUES (1)",
            &format!("{load} FIELDS TERMINATED BY ',' (id, number)")
                .replace("TABLE doc", "TABLE elsewhere.t")
                .replace("(id, number)", "(id, @n)"),
            "SET SESSION binlog_format = ROW",
            "INSERT INTO doc (id) VALUES (22)",
        ],
    )
    .await?;
    running.site.wait_for_exactly(3 + 3 + 1 + 1).await?;
    let output = running.dts.output();
    let told = output.lines().filter(|line| line.contains("were removed without events"));
    let told: Vec<&str> = told.filter(|line| line.contains("styles.copy")).collect();
    ensure!(told.len() == 2, "TRUNCATE and DROP are not told: {output}");
    ensure!(told.iter().all(|line| line.contains("full-sync start -t LISTENER styles.copy")));
    removals_are_told(&running).await?;
    execute(
        &mut server,
        &["SET SESSION binlog_format = STATEMENT", "DELETE FROM doc WHERE id = 10"],
    )
    .await?;
    execute(&mut server, &["SET SESSION binlog_format = ROW", "INSERT INTO doc (id) VALUES (23)"])
        .await?;
    stops(&mut running, "a change of table styles.doc before binlog.").await?;
    running.site.amend("dts.toml", "tables = ", "statementFormat = \"warn\"\ntables = ")?;
    running.dts = running.site.start_dts()?;
    running.site.wait_for_exactly(9).await?;
    ensure!(running.dts.output().contains("a change was logged as a statement"), "not told");
    // Tables that are captured are changed by what the text does not show.
    execute(
        &mut server,
        &[
            "CREATE TABLE elsewhere.log (id INT PRIMARY KEY)",
            "CREATE TRIGGER elsewhere.copy AFTER INSERT ON elsewhere.log FOR EACH ROW \
             INSERT INTO styles.doc (id) VALUES (NEW.id)",
            "CREATE VIEW elsewhere.view AS SELECT id FROM styles.doc",
            "SET SESSION binlog_format = STATEMENT",
            "INSERT INTO elsewhere.log VALUES (50)",
            "INSERT INTO elsewhere.view VALUES (51)",
            "CREATE TABLE copy (PRIMARY KEY (id)) AS SELECT id FROM doc",
            "SET SESSION binlog_format = ROW",
            "INSERT INTO doc (id) VALUES (24)",
        ],
    )
    .await?;
    running.site.wait_for_exactly(10).await?;
    counts(&running, "dts_statements_passed_total", 1 + 3).await?;
    running.end().await
}

async fn counts(running: &Running, counter: &str, expected: u64) -> Result<()> {
    let metrics = running.site.ask_dts_text("/metrics").await?;
    let line = metrics.lines().find(|line| line.starts_with(counter)).unwrap_or_default();
    ensure!(line == format!("{counter} {expected}"), "{line:?} is not {expected}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_of_a_select_in_two_groups_is_read() -> Result<()> {
    // An engine without transactions makes the table in one group and fills it in another.
    let options: &[&str] = &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    let mut running = start_on("select-in-two", ("8.0", options)).await?;
    let mut server = running.mysql.connect().await?;
    let copy = "CREATE TABLE copy (PRIMARY KEY (id)) ENGINE = MyISAM AS SELECT id, number FROM doc";
    let insert = "INSERT INTO doc (id, number) VALUES (1, 1), (2, 2), (3, 3)";
    execute(&mut server, &["USE styles", insert]).await?;
    let groups = async |server: &mut Conn| -> Result<usize> {
        let events: Vec<Row> = server.query("SHOW BINLOG EVENTS").await?;
        let kinds = events.iter().filter_map(|row| row.get::<String, _>("Event_type"));
        Ok(kinds.filter(|kind| kind == "Anonymous_Gtid").count())
    };
    let before = groups(&mut server).await?;
    execute(&mut server, &[copy]).await?;
    ensure!(groups(&mut server).await? == before + 2, "not in two groups");
    running.site.wait_for_exactly(6).await?;
    running.kill(Victim::Dts).await?;
    execute(&mut server, &["INSERT INTO doc (id) VALUES (4)"]).await?;
    running.site.wait_for_exactly(7).await?;
    let recording = running.site.wait_for_handled(7).await?;
    let rebuilt = Rebuilt::from_recording(&recording)?;
    ensure!(rebuilt.check_table(&mut server, SCHEMA, "copy").await? == 3, "the copy differs");
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_key_that_cannot_be_null_stands_in_for_the_primary_one() -> Result<()> {
    for flavor in ["9.7", "8.0", "mariadb-10.11", "mariadb-11.8"] {
        let running = start_on(&format!("unique-{flavor}"), (flavor, &[])).await?;
        let mut server = running.mysql.connect().await?;
        let table = "CREATE TABLE keyed (note TEXT, a INT NOT NULL, b INT NOT NULL, c INT, \
                     UNIQUE KEY (c), UNIQUE KEY (b, a), UNIQUE KEY (a))";
        let insert = "INSERT INTO keyed VALUES ('one', 2, 3, NULL)";
        let update = "UPDATE keyed SET note = 'two'";
        let split = "UPDATE keyed SET a = 5";
        execute(&mut server, &["USE styles", table, insert, update, split]).await?;
        let recording = running.site.wait_for_handled(4).await?;
        // In the order of the bus: only that of each key is the handler's too.
        let events: BTreeMap<u64, &Event> =
            recording.done().map(|event| (event.bus.offset, event)).collect();
        let seen: Vec<(&str, &str)> =
            events.values().map(|event| (event.action.as_str(), event.pk.get())).collect();
        let (first, second) = (r#"{"b":3,"a":2}"#, r#"{"b":3,"a":5}"#);
        let expected =
            [("insert", first), ("update", first), ("delete", first), ("insert", second)];
        ensure!(seen == expected, "{flavor}: {seen:?}");
        running.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_known_of_a_partial_row_stops() -> Result<()> {
    for (statements, message) in [
        (
            vec![
                "INSERT INTO doc (id, data) VALUES (1, JSON_OBJECT('a', 1, 'b', REPEAT('x', 500)))",
                "SET SESSION binlog_row_image = MINIMAL, SESSION binlog_row_value_options = 'PARTIAL_JSON'",
                "UPDATE doc SET data = JSON_SET(data, '$.a', 2)",
            ],
            "a difference to a document that was not logged",
        ),
        (
            vec![
                "CREATE TABLE plain (a INT, b INT DEFAULT 7)",
                "SET SESSION binlog_row_image = MINIMAL",
                "INSERT INTO plain (a) VALUES (1)",
            ],
            "was logged without column",
        ),
    ] {
        let mut running = start("partial").await?;
        let mut server = running.mysql.connect().await?;
        server.query_drop("USE styles").await?;
        execute(&mut server, &statements).await?;
        stops(&mut running, message).await?;
        running.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_compressed_transaction_passes_in_bounded_memory() -> Result<()> {
    const MAX_RESIDENT_KIB: u64 = 64 * 1024;
    let running = start("huge-compressed").await?;
    let mut server = running.mysql.connect().await?;
    let rows = size(128, 1024) * 1024;
    let insert = format!(
        "INSERT INTO doc (id, body) WITH RECURSIVE n AS \
         (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT i, REPEAT(CHAR(65 + i % 26), 1000) FROM n"
    );
    let settings = "SET SESSION cte_max_recursion_depth = 10000000, \
                    SESSION binlog_transaction_compression = ON";
    execute(&mut server, &["USE styles", settings, &insert]).await?;
    running.site.wait_for_exactly(rows).await?;
    let kib = running.dts.peak_resident_kib()?;
    println!("{rows} rows; peak RSS of dts: {kib} KiB");
    ensure!(kib < MAX_RESIDENT_KIB, "dts took {kib} KiB");
    running.end().await
}

/// `dts` ends by itself, and says so.
async fn stops(running: &mut Running, message: &str) -> Result<()> {
    let status = tokio::time::timeout(PATIENCE, running.dts.ended()).await.context("it runs")??;
    let output = running.dts.output();
    ensure!(!status.success() && output.contains(message), "{message}: {status}\n{output}");
    Ok(())
}
