//! MariaDB as the source: killed and started again, compressed or not, in several domains.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, wait_until},
    programs::{REFUSED, seed, size},
    rebuilt::Rebuilt,
    recording::{Event, Recording},
    running::{Running, Source, Victim},
    servers::execute,
    workload::{self, Workload},
};
use mysql_async::prelude::Queryable as _;
use rand::{SeedableRng as _, rngs::SmallRng};
use serde_json::Value;

const SCHEMA: &str = "maria";

async fn start_with_workload(flavor: &str) -> Result<Running> {
    let source = Source::start_on(&format!("maria-{flavor}"), (flavor, &[])).await?;
    let source = source.capture(SCHEMA, &[]).await?;
    workload::create_tables(&mut source.mysql.connect().await?, SCHEMA).await?;
    let addresses = "CREATE TABLE maria.address (id INT PRIMARY KEY AUTO_INCREMENT, owner UUID, \
                     host INET6, short INET4, note VARCHAR(300) COMPRESSED)";
    source.execute(&[addresses, "SET GLOBAL log_bin_compress_min_len = 10"]).await?;
    source.run()
}

/// A kill, between changes in two more domains; compression is switched each time.
async fn kill(running: &mut Running, victim: Victim, number: u32) -> Result<()> {
    change_elsewhere(running, number).await?;
    match victim {
        Victim::Dts => {
            running.dts.kill().await?;
            change_elsewhere(running, number).await?;
            running.dts = running.site.start_dts()?;
        }
        other => running.kill(other).await?,
    }
    let compress = number % 2;
    let switch =
        format!("SET GLOBAL log_bin_compress = {compress}, GLOBAL log_bin_compress_min_len = 10");
    running.execute(&[&switch]).await
}

/// Changes in domains of their own, between statements that change definitions.
async fn change_elsewhere(running: &Running, kills: u32) -> Result<()> {
    let mut conn = running.mysql.connect().await?;
    let column = format!("ALTER TABLE {SCHEMA}.address COMMENT = 'kill {kills}'");
    let insert = format!(
        "INSERT INTO {SCHEMA}.address (owner, host, short, note) \
         SELECT UUID(), '2001:db8::', '10.0.0.0', REPEAT('long ', seq) \
         FROM {SCHEMA}.seq_1_to_40"
    );
    let update =
        format!("UPDATE {SCHEMA}.address SET host = '::1', note = 'short' WHERE id % 3 = 0");
    // FULL_NODUP came with 11.4: the row after lacks what did not change.
    let newest = if conn.server_version() >= (11, 4, 0) { "FULL_NODUP" } else { "FULL" };
    for (domain, image) in [(7, "MINIMAL"), (5, "NOBLOB"), (5, newest)] {
        let session =
            format!("SET SESSION gtid_domain_id = {domain}, SESSION binlog_row_image = {image}");
        execute(&mut conn, &[&session, &column, &insert, &update]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_mariadb_1011_is_handled_during_kills() -> Result<()> {
    during_kills("mariadb-10.11").await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_mariadb_118_is_handled_during_kills() -> Result<()> {
    during_kills("mariadb-11.8").await
}

async fn during_kills(flavor: &str) -> Result<()> {
    let (seed, changes) = (seed(), size(8_000, 50_000));
    let mut random = SmallRng::seed_from_u64(seed);
    let mut running = start_with_workload(flavor).await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, changes, seed);
    let victims =
        workload::shuffled(&[Victim::Dts, Victim::Mysql, Victim::Dts], size(1, 4), &mut random);
    let killed = (&*victims, Duration::from_millis(800));
    let mut kills = 0;
    let kill_one = async |victim| {
        kills += 1;
        kill(&mut running, victim, kills).await
    };
    load.finish_during_kills(killed, &mut random, kill_one).await?;
    change_elsewhere(&running, kills).await?;
    let recording = running.all_handled(SCHEMA).await?;
    let rebuilt = Rebuilt::from_recording(&recording)?;
    let mut conn = running.mysql.connect().await?;
    workload::check_tables(&rebuilt, &mut conn, SCHEMA).await?;
    ensure!(rebuilt.check_table(&mut conn, SCHEMA, "address").await? > 0, "no addresses");
    let end: String = conn.query_first("SELECT @@gtid_binlog_pos").await?.context("no GTIDs")?;
    let end = sorted(&end);
    ensure!(end.len() == 3, "three domains: {end:?}");
    wait_until("the checkpoint is at the end", PATIENCE, async || {
        let status = running.site.status().await;
        let read = status.pointer("/position/gtidSet").and_then(Value::as_str);
        sorted(read.unwrap_or_default()) == end
    })
    .await?;
    println!("{} events of {flavor}, up to {end:?}", recording.done_ids().len());
    running.end().await
}

/// The GTIDs of a position.
fn sorted(position: &str) -> Vec<&str> {
    let mut gtids: Vec<&str> = position.split(',').collect();
    gtids.sort_unstable();
    gtids
}

/// A MariaDB with a table, and the config of a `dts` that captures it.
async fn start(test: &str) -> Result<Source> {
    let statements = ["CREATE DATABASE maria", "CREATE TABLE maria.t (id INT PRIMARY KEY)"];
    let source = Source::start_on(test, ("mariadb-11.8", &[])).await?;
    source.capture(SCHEMA, &statements).await
}

async fn expect(source: &Source, words: &[&str], code: i32, parts: &[&str]) -> Result<()> {
    let (found, output) = source.site.run_dts(words).await?;
    ensure!(found == Some(code), "{words:?}: {found:?}\n{output}");
    for part in parts {
        ensure!(output.contains(part), "{words:?}: {part:?} is not in\n{output}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_that_does_not_fit_is_reported_with_the_statement_that_fixes_it() -> Result<()> {
    let source = start("maria-refused").await?;
    for (variable, wrong, right) in [
        ("binlog_row_metadata", "NO_LOG", "FULL"),
        ("binlog_row_metadata", "MINIMAL", "FULL"),
        ("binlog_format", "MIXED", "ROW"),
    ] {
        source.execute(&[&format!("SET GLOBAL {variable} = {wrong}")]).await?;
        let remedy = format!("SET GLOBAL {variable} = '{right}', and write it into");
        expect(&source, &["check"], 69, &[variable, wrong, &remedy]).await?;
        source.execute(&[&format!("SET GLOBAL {variable} = {right}")]).await?;
    }
    let unsafe_settings =
        ["SET GLOBAL gtid_strict_mode = OFF", "SET GLOBAL binlog_expire_logs_seconds = 7200"];
    source.execute(&unsafe_settings).await?;
    let made = "CREATE TABLE maria.made (id INT PRIMARY KEY, a INT, d INT AS (a) VIRTUAL)";
    source.execute(&[made]).await?;
    let told = [
        "logs in INSERT only: maria.made (d)",
        "MariaDB 11.8",
        "gtid_strict_mode is OFF",
        "deletes binlog files after 2h",
        "SET GLOBAL expire_logs_days = 7",
    ];
    expect(&source, &["check"], 0, &told).await?;
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mariadb_logs_without_rows_is_reported_and_other_statements_ask_for_nothing()
-> Result<()> {
    let source = start("maria-statements").await?;
    let (all, one) = ("tables = [\"maria.*\"]", "tables = [\"maria.t\"]");
    source.site.amend("dts.toml", all, &format!("{one}\nstatementFormat = \"warn\""))?;
    let dts = source.site.start_dts()?;
    let setup = [
        "CREATE DATABASE elsewhere",
        "CREATE TABLE elsewhere.log (id INT PRIMARY KEY)",
        "CREATE TRIGGER elsewhere.copy AFTER INSERT ON elsewhere.log FOR EACH ROW \
         INSERT INTO maria.t VALUES (NEW.id)",
        "CREATE VIEW elsewhere.view AS SELECT * FROM maria.t",
        "CREATE USER nobody",
        "SET GLOBAL log_output = 'TABLE', GLOBAL general_log = ON",
        "INSERT INTO maria.t VALUES (1)",
    ];
    source.execute(&setup).await?;
    source.site.wait_for_published(1).await?;
    let statements = [
        "USE elsewhere",
        "SET SESSION binlog_format = STATEMENT",
        "INSERT INTO view VALUES (2)",
        "INSERT INTO log VALUES (3)",
        "SET STATEMENT max_statement_time = 100 FOR INSERT INTO maria.t VALUES (4)",
        "ANALYZE INSERT INTO maria.t VALUES (5)",
        "UPDATE maria.t AS x SET id = 6 WHERE id = 5",
        "UPDATE maria.t x JOIN log l ON l.id = x.id SET x.id = 7",
        "DELETE FROM mysql.help_topic WHERE help_topic_id = 0",
        "SET SESSION binlog_format = ROW",
        "/*M!100101 CREATE TABLE log2 (id INT) */",
        "TRUNCATE TABLE maria.t",
        "CREATE OR REPLACE TABLE maria.t (id INT PRIMARY KEY)",
        "INSERT INTO maria.t VALUES (1)",
    ];
    source.execute(&statements).await?;
    source.site.wait_for_published(2).await?;
    let metrics = source.site.ask_dts_text("/metrics").await?;
    for counted in ["dts_statements_passed_total 6\n", "dts_removals_total 2\n"] {
        ensure!(metrics.contains(counted), "{counted} is not in {metrics}\n{}", dts.output());
    }

    let asked = "SELECT COUNT(*) FROM mysql.general_log WHERE argument LIKE \
                 'SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, %'";
    let before = source.mysql.ask(asked).await?;
    let harmless = [
        "GRANT SELECT ON *.* TO nobody",
        "CREATE OR REPLACE VIEW elsewhere.view AS SELECT 1",
        "DROP TABLE elsewhere.log2",
        "INSERT INTO maria.t VALUES (2)",
    ];
    source.execute(&harmless).await?;
    source.site.wait_for_published(3).await?;
    let after = source.mysql.ask(asked).await?;
    ensure!(before == after, "they make dts look at tables: {before} then {after}");
    source
        .execute(&["ALTER TABLE maria.t ADD u UUID", "INSERT INTO maria.t VALUES (3, NULL)"])
        .await?;
    source.site.wait_for_published(4).await?;
    ensure!(source.mysql.ask(asked).await? != after, "ALTER TABLE does not");
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_setting_or_a_table_of_mariadb_causes_ends_dts_with_what_to_do() -> Result<()> {
    let source = start("maria-causes").await?;
    let mut dts = source.site.start_dts()?;
    source.execute(&["INSERT INTO maria.t VALUES (1)"]).await?;
    source.site.wait_for_published(1).await?;
    let metadata = |level: &str| format!("SET GLOBAL binlog_row_metadata = {level}");
    source.execute(&[&metadata("NO_LOG"), "INSERT INTO maria.t VALUES (2)"]).await?;
    let told = ["table maria.t", "SET GLOBAL binlog_row_metadata = FULL, and write it into"];
    ends(&mut dts, &told).await?;
    ensure!(!dts.output().contains("SET PERSIST"), "MariaDB has none: {}", dts.output());

    source.execute(&[&metadata("FULL")]).await?;
    expect(&source, &["position", "set", "latest"], 0, &[]).await?;
    dts = source.site.start_dts()?;
    let history = "CREATE TABLE maria.past (id INT PRIMARY KEY, \
                   s BIGINT UNSIGNED GENERATED ALWAYS AS ROW START, \
                   e BIGINT UNSIGNED GENERATED ALWAYS AS ROW END, \
                   PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING";
    source.execute(&[history, "INSERT INTO maria.past (id) VALUES (1)"]).await?;
    let told = ["its history is kept by transaction", "capture.exclude = [\"maria.past\"]"];
    ends(&mut dts, &told).await?;
    source.site.amend("dts.toml", "[bus]", "exclude = [\"maria.past\"]\n[bus]")?;
    let _dts = source.site.start_dts()?;
    source.execute(&["INSERT INTO maria.t VALUES (3)"]).await?;
    source.site.wait_for_published(1).await?;
    source.remove()
}

async fn ends(dts: &mut Process, parts: &[&str]) -> Result<()> {
    let status = dts.ended().await?;
    let output = dts.output();
    ensure!(status.code() == Some(REFUSED), "{status} {output}");
    for part in parts {
        ensure!(output.contains(part), "{part:?} is not in {output}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_whose_types_mariadb_hides_are_read_as_before_when_they_are_gone() -> Result<()> {
    const UUID: &str = "123e4567-e89b-12d3-a456-426655440000";
    let source = start("maria-gone").await?;
    let insert = |id: u32| format!("INSERT INTO maria.u (id, u) VALUES ({id}, '{UUID}')");
    source.execute(&["CREATE TABLE maria.u (id INT PRIMARY KEY, u UUID, v UUID)"]).await?;
    let _worker = source.site.start_worker()?;
    let recorded = source.site.recorded();
    // So many records of each row, each with the UUID.
    let wait = async |counts: &[usize]| {
        let mut found = Vec::new();
        let outcome = wait_until("the rows are handled", PATIENCE, async || {
            let Ok(recording) = Recording::read(&recorded) else { return false };
            let row = |id: usize| {
                let key = format!("{{\"id\":{id}}}");
                let of_row = recording.done().filter(|event| event.pk.get() == key);
                // A record may be delivered twice, since its bus is killed.
                let by_record = of_row.map(|event| (event.bus.offset, event.data.get()));
                let by_record: BTreeMap<u64, &str> = by_record.collect();
                by_record.values().map(|data| data.contains(UUID)).collect::<Vec<bool>>()
            };
            found = (1..=counts.len()).map(row).collect();
            found.iter().map(Vec::len).eq(counts.iter().copied())
        })
        .await;
        outcome.with_context(|| format!("{found:?}"))?;
        ensure!(found.iter().flatten().all(|has_uuid| *has_uuid), "{found:?}");
        anyhow::Ok(())
    };
    let mut dts = source.site.start_dts()?;
    source.execute(&[&insert(1)]).await?;
    wait(&[1]).await?;
    dts.kill().await?;
    let gone = "ALTER TABLE maria.u RENAME COLUMN u TO w, DROP COLUMN v";
    let last = format!("INSERT INTO maria.u (id, w) VALUES (3, '{UUID}')");
    source.execute(&[&insert(2), gone, &last]).await?;
    dts = source.site.start_dts()?;
    wait(&[1, 1, 1]).await?;
    dts.kill().await?;
    expect(&source, &["position", "set", "earliest"], 0, &[]).await?;
    let dts = source.site.start_dts()?;
    wait(&[2, 2, 2]).await?;
    drop(dts);
    source.remove()
}

/// A table with a column for each type and each number of digits, and the statement that fills it
/// with a row for each column, in which the others are NULL.
fn every_old_fraction(table: &str) -> (String, String) {
    let types = ["TIME", "DATETIME", "TIMESTAMP"].iter().flat_map(|kind| {
        (1..=6).map(move |digits| (format!("{kind}({digits}) NULL"), *kind == "TIME"))
    });
    let types: Vec<(String, bool)> = types.collect();
    let columns = types.iter().enumerate().map(|(n, (kind, _))| format!("c{n} {kind}"));
    let row = |at: usize| {
        let value = |(n, (_, is_time)): (usize, &(String, bool))| match (n == at, is_time) {
            (false, _) => "NULL",
            (true, true) => "'-12:34:56.789012'",
            (true, false) => "'2026-01-02 03:04:05.678901'",
        };
        let values: Vec<&str> = types.iter().enumerate().map(value).collect();
        format!("({})", values.join(", "))
    };
    let (columns, rows): (Vec<String>, Vec<String>) =
        (columns.collect(), (0..types.len()).map(row).collect());
    let create = format!("CREATE TABLE {table} ({})", columns.join(", "));
    (create, format!("INSERT INTO {table} VALUES {}", rows.join(", ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn old_times_with_a_fraction_are_refused_with_the_statement_that_fixes_them() -> Result<()> {
    let source = start("maria-old-times").await?;
    let columns = "(id INT PRIMARY KEY, t TIME(1), d DATETIME(3), ts TIMESTAMP(5) NULL, \
                   plain DATETIME)";
    let insert = |table: &str| {
        format!(
            "INSERT INTO {table} VALUES (1, '12:34:56.7', '2026-01-02 03:04:05.678', \
             '2026-01-02 03:04:05.67891', '2026-01-02 03:04:05'), (2, NULL, NULL, NULL, NULL)"
        )
    };
    let (old_format, new_format) =
        ("SET GLOBAL mysql56_temporal_format = OFF", "SET GLOBAL mysql56_temporal_format = ON");
    // Rows of a table that is not captured are counted all the same.
    let (table, fill) = every_old_fraction("elsewhere.old");
    source.execute(&["CREATE DATABASE elsewhere", old_format, &table]).await?;
    source.execute(&["BEGIN", &fill, "INSERT INTO maria.t VALUES (7)", "COMMIT"]).await?;
    source.execute(&["CREATE TABLE maria.plain_old (id INT PRIMARY KEY, d DATETIME)"]).await?;
    source.execute(&["INSERT INTO maria.plain_old VALUES (1, '2026-01-02 03:04:05')"]).await?;
    expect(&source, &["check"], 0, &[]).await?;
    let mut dts = source.site.start_dts()?;
    let worker = source.site.start_worker()?;
    let recorded = source.site.recorded();
    // The server's own tool cannot read such a binlog.
    let mut ids = Vec::new();
    wait_until("two rows are handled", PATIENCE, async || {
        let recording = Recording::read(&recorded).ok();
        let done = recording.iter().flat_map(Recording::done_ids);
        ids = done.map(str::to_owned).collect();
        ids.len() == 2
    })
    .await?;
    ensure!(ids.iter().any(|id| id.ends_with("#18")), "{ids:?}");

    // A captured table that is made meanwhile stops dts at its first change.
    let old = "maria.old";
    source.execute(&[&format!("CREATE TABLE {old} {columns}"), new_format, &insert(old)]).await?;
    let status = dts.ended().await?;
    let output = dts.output();
    ensure!(status.code() == Some(REFUSED), "{status} {output}");
    for part in ["table maria.old, column t", "ALTER TABLE … FORCE"] {
        ensure!(output.contains(part), "{part:?} is not in {output}");
    }
    let told = ["mysql56_temporal_format", "maria.old (t,d,ts)", "ALTER TABLE … FORCE"];
    expect(&source, &["check"], 69, &told).await?;
    expect(&source, &["run"], 69, &told).await?;
    // The remedy: rebuild the table, and start after that.
    source.execute(&["ALTER TABLE maria.old FORCE"]).await?;
    expect(&source, &["position", "set", "latest"], 0, &[]).await?;
    dts = source.site.start_dts()?;
    source.execute(&["UPDATE maria.old SET d = '2026-01-02 03:04:05.999' WHERE id = 1"]).await?;
    wait_until("the new value is handled", PATIENCE, async || {
        let recording = Recording::read(&recorded);
        let is_it = |event: &Event| event.data.get().contains("\"2026-01-02 03:04:05.999\"");
        recording.is_ok_and(|recording| recording.done().any(is_it))
    })
    .await?;
    drop((worker, dts));
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_in_domains_is_set_and_refused_once_it_is_purged() -> Result<()> {
    let source = start("maria-position").await?;
    let domain = "SET SESSION gtid_domain_id = 3";
    source.execute(&[domain, "INSERT INTO maria.t VALUES (1), (2)"]).await?;
    let middle = source.mysql.ask("SELECT @@gtid_binlog_pos").await?;
    source.execute(&["FLUSH BINARY LOGS", domain, "DELETE FROM maria.t WHERE id = 1"]).await?;
    source.execute(&["INSERT INTO maria.t VALUES (7)"]).await?;
    let end = source.mysql.ask("SELECT @@gtid_binlog_pos").await?;
    let set = ["position", "set", "--dry-run"];
    let shown = |gtids: &str| sorted(gtids).join(",");
    for (words, gtids) in [
        (vec!["latest"], shown(&end)),
        (vec!["--gtid", &middle], shown(&middle)),
        (vec!["earliest"], String::new()),
        (vec!["--time", "2001-01-01T00:00:00Z"], String::new()),
    ] {
        let part = format!("\"gtidSet\":\"{gtids}\"");
        expect(&source, &[&set[..], &words].concat(), 0, &[&part]).await?;
    }
    expect(&source, &[&set[..], &["--gtid", "3-9-999"]].concat(), 69, &["3-9-999"]).await?;
    source.execute(&["FLUSH BINARY LOGS"]).await?;
    // A file stays until the server has noted that it does not need it after a crash.
    wait_until("the older files are purged", PATIENCE, async || {
        let purged = source.execute(&["PURGE BINARY LOGS TO 'binlog.000003'"]).await;
        let second = "SELECT IFNULL(BINLOG_GTID_POS('binlog.000002', 4), 'purged')";
        purged.is_ok() && source.mysql.ask(second).await.is_ok_and(|answer| answer == "purged")
    })
    .await?;
    let purged = ["purged transactions after the place to start"];
    expect(&source, &[&set[..], &["--gtid", &middle]].concat(), 69, &purged).await?;
    let part = format!("\"gtidSet\":\"{}\"", shown(&end));
    expect(&source, &[&set[..], &["earliest"]].concat(), 0, &[&part]).await?;
    source.remove()
}
