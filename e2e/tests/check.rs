//! `dts check`, and what `dts run` says of the server's binlog while it reads.

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::REFUSED,
    running::Source,
};
use mysql_async::prelude::Queryable;
use serde_json::Value;

/// A server with a table that `dts` captures.
async fn start(test: &str, flavor: &str, options: &[&str]) -> Result<Source> {
    let statements = ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"];
    Source::start_on(test, (flavor, options)).await?.capture("shop", &statements).await
}

/// What `dts check --json` says, and its exit code.
async fn check(source: &Source) -> Result<(Option<i32>, Value)> {
    let (code, output) = source.site.run_dts(&["check", "--json"]).await?;
    let report = output.find("{\n").map(|at| &output[at..]).context(output.clone())?;
    let report = serde_json::from_str(report).with_context(|| output.clone())?;
    Ok((code, report))
}

/// The finding of a name on the first host.
fn finding<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    let findings = report["hosts"][0]["findings"].as_array()?;
    findings.iter().find(|finding| finding["name"] == name)
}

fn expect(report: &Value, name: &str, severity: &str, parts: &[&str]) -> Result<()> {
    let finding = finding(report, name).with_context(|| format!("no {name} in {report:#}"))?;
    ensure!(finding["severity"] == severity, "{finding:#}");
    for part in parts {
        ensure!(finding.to_string().contains(part), "{part:?} is not in {finding:#}");
    }
    for field in ["what", "why", "remedy"] {
        ensure!(finding[field].as_str().is_some_and(|text| !text.is_empty()), "{finding:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_surprise_is_found_with_why_it_matters_and_what_fixes_it() -> Result<()> {
    let options = [
        "--sync-binlog=0",
        "--innodb-flush-log-at-trx-commit=2",
        "--binlog-expire-logs-seconds=3600",
    ];
    for flavor in ["9.7", "8.0"] {
        let source = start(&format!("check-findings-{flavor}"), flavor, &options).await?;
        source
            .execute(&[
                "CREATE TABLE shop.keyless (a INT, UNIQUE KEY (a))",
                "CREATE TABLE shop.keyless_text (a VARCHAR(50) NOT NULL, UNIQUE KEY (a(10)))",
                "CREATE TABLE shop.unique_one (a INT NOT NULL, UNIQUE KEY (a))",
                "CREATE TABLE shop.fleeting (id INT PRIMARY KEY) ENGINE = MEMORY",
                "CREATE TABLE shop.child (id INT PRIMARY KEY, t INT, \
                 FOREIGN KEY (t) REFERENCES shop.t (id) ON DELETE CASCADE)",
                "CREATE DATABASE elsewhere",
                "CREATE TABLE elsewhere.keyless_too (a INT)",
            ])
            .await?;
        let (code, report) = check(&source).await?;
        ensure!(code == Some(0) && report["good"] == true, "{code:?} {report:#}");
        expect(&report, "sync_binlog", "warn", &["SET PERSIST sync_binlog = 1"])?;
        expect(&report, "innodb_flush_log_at_trx_commit", "warn", &["is 2", "SET PERSIST"])?;
        let retention = ["after 1h", "SET PERSIST binlog_expire_logs_seconds = 604800"];
        expect(&report, "binlog_expire_logs_seconds", "warn", &retention)?;
        let keyless = ["shop.keyless, shop.keyless_text", "capture.keyColumns"];
        expect(&report, "primary_key", "warn", &keyless)?;
        ensure!(!report.to_string().contains("unique_one"), "it has a key: {report:#}");
        ensure!(!report.to_string().contains("keyless_too"), "not captured: {report:#}");
        expect(&report, "engine", "warn", &["shop.fleeting (MEMORY)", "ENGINE = InnoDB"])?;
        match flavor {
            // This one writes cascades into its binlog.
            "9.7" => ensure!(finding(&report, "foreign_key_cascade").is_none(), "{report:#}"),
            _ => {
                let parts = ["shop.child (of t, ON DELETE CASCADE)", "9.6"];
                expect(&report, "foreign_key_cascade", "warn", &parts)?;
            }
        }
        let hosts = &report["hosts"][0];
        ensure!(hosts["server"]["serverUuid"].as_str().map(str::len) == Some(36), "{hosts:#}");

        // The lag shows what is behind and soon deleted.
        let mut dts = source.site.start_dts()?;
        source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
        source.site.wait_for_published(1).await?;
        let said = dts.output();
        ensure!(said.contains("and without a unique key that is NOT NULL: shop.keyless"), "{said}");
        dts.kill().await?;
        source.execute(&["INSERT INTO shop.t VALUES (2)", "FLUSH BINARY LOGS"]).await?;
        let (_, report) = check(&source).await?;
        ensure!(finding(&report, "purge").is_none(), "an hour is left of an hour: {report:#}");
        source.execute(&["SET GLOBAL binlog_expire_logs_seconds = 1"]).await?;
        wait_until("the file is due", PATIENCE, async || {
            let report = check(&source).await.map(|(_, report)| report).unwrap_or_default();
            finding(&report, "purge").is_some_and(|finding| finding.to_string().contains("in 0s"))
        })
        .await?;
        source.remove()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_are_printed_are_enough_and_fewer_are_not() -> Result<()> {
    for flavor in ["9.7", "8.0", "mariadb-10.11", "mariadb-11.8"] {
        let source = start(&format!("check-rights-{flavor}"), flavor, &[]).await?;
        source.execute(&["CREATE USER 'lean'@'127.0.0.1' IDENTIFIED BY 'dts'"]).await?;
        let path = source.site.path("dts.toml");
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(&path, text.replace("user = \"dts\"", "user = \"lean\""))?;
        let is_mariadb = flavor.starts_with("mariadb");
        source
            .execute(&["CREATE TABLE shop.child (id INT PRIMARY KEY, t INT, \
                 FOREIGN KEY (t) REFERENCES shop.t (id) ON DELETE CASCADE)"])
            .await?;
        let (code, report) = check(&source).await?;
        ensure!(code == Some(REFUSED) && report["good"] == false, "{code:?} {report:#}");
        if !is_mariadb {
            expect(&report, "select", "warn", &["may not SELECT from all of `shop`.*"])?;
        }
        let grants: Vec<String> = serde_json::from_value(report["hosts"][0]["grants"].clone())?;
        println!("{grants:#?}");
        ensure!(grants[0].ends_with("ON *.* TO 'lean'@'127.0.0.1'"), "{grants:?}");
        ensure!(grants[1] == "GRANT SELECT ON `shop`.* TO 'lean'@'127.0.0.1'", "{grants:?}");
        for grant in &grants {
            source.execute(&[grant]).await?;
        }
        let (code, report) = check(&source).await?;
        ensure!(code == Some(0), "{code:?} {report:#}");
        ensure!(finding(&report, "privileges").is_none(), "{report:#}");
        ensure!(report["hosts"][0]["grants"] == serde_json::json!([]), "{report:#}");
        for name in ["select", "primary_key"] {
            ensure!(finding(&report, name).is_none(), "{report:#}");
        }
        if is_mariadb {
            let parts = ["shop.child (of t, ON DELETE CASCADE)"];
            expect(&report, "foreign_key_cascade", "warn", &parts)?;
        }
        let dts = source.site.start_dts()?;
        source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
        source.site.wait_for_published(1).await?;
        drop(dts);
        source.remove()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_logs_nothing_and_the_servers_own_id_stop_dts() -> Result<()> {
    let options = ["--log-replica-updates=OFF", "--binlog-ignore-db=ignored"];
    let source = start("check-replica", "9.7", &options).await?;
    let (code, report) = check(&source).await?;
    ensure!(code == Some(0), "it is no replica yet: {report:#}");
    source
        .execute(&["CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1"])
        .await?;
    let (code, report) = check(&source).await?;
    ensure!(code == Some(REFUSED), "{report:#}");
    expect(&report, "log_replica_updates", "stop", &["--log-replica-updates", "source.hosts"])?;
    source.execute(&["CHANGE REPLICATION FILTER REPLICATE_IGNORE_DB = (left_out)"]).await?;
    let (_, report) = check(&source).await?;
    let filter = ["Replicate_Ignore_DB = left_out", "source.hosts"];
    expect(&report, "replication_filter", "warn", &filter)?;
    let mut dts = source.site.start_dts()?;
    ensure!(dts.ended().await?.code() == Some(REFUSED), "{}", dts.output());
    ensure!(dts.output().contains("log_replica_updates is OFF"), "{}", dts.output());

    source.execute(&["RESET REPLICA ALL"]).await?;
    let id = format!("serverId = {}\n", source.mysql.port());
    source.site.configure_hosts(&[&source.mysql.address()], "shop", &id)?;
    let (code, report) = check(&source).await?;
    ensure!(code == Some(REFUSED), "{report:#}");
    expect(&report, "server_id", "stop", &["the server's own id"])?;
    ensure!(finding(&report, "binlog_filter").is_none(), "{report:#}");
    source.site.configure_dts(&source.mysql.address(), "ignored")?;
    let (code, report) = check(&source).await?;
    ensure!(code == Some(REFUSED), "{report:#}");
    expect(&report, "binlog_filter", "stop", &["does not log changes of ignored"])?;
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_beside_a_running_dts_does_not_cut_it_off() -> Result<()> {
    let source = start("check-beside", "9.7", &[]).await?;
    let _dts = source.site.start_dts()?;
    source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
    source.site.wait_for_published(1).await?;
    let (code, report) = check(&source).await?;
    ensure!(code == Some(0), "{report:#}");
    ensure!(finding(&report, "server_id_taken").is_none(), "it is ours: {report:#}");
    ensure!(report["local"]["findings"] == serde_json::json!([]), "{report:#}");
    source.execute(&["INSERT INTO shop.t VALUES (2)"]).await?;
    source.site.wait_for_published(2).await?;
    let status = source.site.status().await;
    ensure!(status["restarts"] == 0, "{status:#}");
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_until_the_server_deletes_our_binlog_file_is_counted_down() -> Result<()> {
    let never = "SET GLOBAL binlog_expire_logs_auto_purge = OFF";
    count_down("9.7", never).await?;
    // MariaDB has no other way to say it.
    count_down("mariadb-10.11", "SET GLOBAL binlog_expire_logs_seconds = 0").await?;
    count_down("mariadb-11.8", "SET GLOBAL binlog_expire_logs_seconds = 0").await
}

async fn count_down(flavor: &str, never: &str) -> Result<()> {
    let options = ["--binlog-expire-logs-seconds=7200"];
    let mut source = start(&format!("check-countdown-{flavor}"), flavor, &options).await?;
    let _dts = source.site.start_dts()?;
    source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
    source.site.wait_for_published(1).await?;
    let mut binlog = Value::Null;
    wait_until("the server was asked", PATIENCE, async || {
        binlog = source.site.status().await["binlog"].clone();
        binlog["bytesBehind"] == 0
    })
    .await?;
    println!("{binlog}");
    ensure!(binlog["purge"] == "in" && binlog["secondsBehindSource"] == 0.0, "{binlog}");
    ensure!((7100..=7200).contains(&binlog["purgeInSeconds"].as_u64().unwrap_or(0)), "{binlog}");
    let metrics = source.site.ask_dts_text("/metrics").await?;
    for (name, expected) in [
        ("dts_purge_countdown_seconds ", 7100.0..=7200.0),
        ("dts_binlog_behind_bytes ", 0.0..=0.0),
        ("dts_source_behind_seconds ", 0.0..=0.0),
    ] {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let value: f64 = line.with_context(|| format!("no {name}in {metrics}"))?.parse()?;
        ensure!(expected.contains(&value), "{name}{value}");
    }
    source.mysql.kill().await?;
    wait_until("dts has noticed", PATIENCE, async || {
        source.site.status().await["state"] == "waiting"
    })
    .await?;
    ensure!(
        source.site.status().await["binlog"]["purge"] == "in",
        "{}",
        source.site.status().await
    );
    source.mysql.restart().await?;
    source.execute(&[never]).await?;
    wait_until("the server was asked again", PATIENCE, async || {
        source.site.status().await["binlog"]["purge"] == "never"
    })
    .await?;
    let query = "SELECT CONCAT_WS(' ', ID, COMMAND, TIME, INFO) \
                 FROM information_schema.PROCESSLIST WHERE USER = 'dts'";
    let mut conn = source.mysql.connect().await?;
    let mut connections: Vec<String> = Vec::new();
    let two = wait_until("there are two connections", PATIENCE, async || {
        connections = conn.query(query).await.unwrap_or_default();
        connections.len() == 2
    });
    two.await.with_context(|| format!("the stream and the poll: {connections:?}"))?;
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_full_syncs_lack_is_found_with_the_grant_that_fixes_it() -> Result<()> {
    let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    let source = start("check-full-sync", "9.7", &options).await?;
    source
        .execute(&[
            "CREATE USER 'lean'@'127.0.0.1' IDENTIFIED BY 'dts'",
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'lean'@'127.0.0.1'",
            "GRANT INSERT ON shop.* TO 'lean'@'127.0.0.1'",
            "CREATE TABLE shop.keyless (a INT)",
            "CREATE TABLE shop.keyless_small (a INT)",
            "CREATE TABLE shop.unique_one (a INT NOT NULL, UNIQUE KEY (a))",
            "INSERT INTO shop.keyless VALUES (1), (2), (3), (4), (5)",
            "INSERT INTO shop.unique_one VALUES (1), (2), (3), (4), (5)",
            "ANALYZE TABLE shop.keyless, shop.unique_one",
        ])
        .await?;
    source.site.amend("dts.toml", "user = \"dts\"", "user = \"lean\"")?;
    source.site.amend("dts.toml", "[bus]", "[fullSync]\nmaxKeylessRows = 4\n[bus]")?;

    let (code, report) = check(&source).await?;
    ensure!(code == Some(0), "the stream works: {report:#}");
    let refused = ["LOCK TABLES on shop", "GRANT BACKUP_ADMIN ON *.* TO 'lean'@'127.0.0.1'"];
    expect(&report, "full_sync_privileges", "warn", &refused)?;
    let tables = ["shop.keyless, shop.keyless_small, shop.t, shop.unique_one", "refused"];
    expect(&report, "select", "warn", &tables)?;

    source.execute(&["GRANT SELECT, LOCK TABLES ON shop.* TO 'lean'@'127.0.0.1'"]).await?;
    let (_, report) = check(&source).await?;
    let locks = ["locks its table for each chunk", "without a key are refused", "log_status"];
    expect(&report, "full_sync_privileges", "warn", &locks)?;
    ensure!(finding(&report, "select").is_none(), "{report:#}");
    let keyless = ["shop.keyless (about 5 rows)", "fullSync.maxKeylessRows = 4"];
    expect(&report, "max_keyless_rows", "warn", &keyless)?;
    let said = finding(&report, "max_keyless_rows").map(Value::to_string).unwrap_or_default();
    ensure!(!said.contains("keyless_small") && !said.contains("unique_one"), "{said}");

    let remedy = finding(&report, "full_sync_privileges").map(|of| of["remedy"].clone());
    let remedy = remedy.as_ref().and_then(Value::as_str).context("no remedy")?;
    let grants: Vec<&str> = remedy.split("; ").filter(|part| part.starts_with("GRANT")).collect();
    ensure!(grants.len() == 2, "{remedy}");
    source.execute(&grants).await?;
    let (_, report) = check(&source).await?;
    ensure!(finding(&report, "full_sync_privileges").is_none(), "{report:#}");

    source
        .execute(&[
            "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
            "SET GLOBAL rpl_semi_sync_source_enabled = 1",
        ])
        .await?;
    let (_, report) = check(&source).await?;
    let locks = ["AFTER_SYNC", "locks its table for each chunk", "to AFTER_COMMIT"];
    expect(&report, "full_sync_privileges", "warn", &locks)?;
    source.execute(&["SET GLOBAL rpl_semi_sync_source_wait_point = AFTER_COMMIT"]).await?;
    let (_, report) = check(&source).await?;
    ensure!(finding(&report, "full_sync_privileges").is_none(), "{report:#}");
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_would_stop_dts_are_found_with_the_position_after_them() -> Result<()> {
    let source = start("check-events", "9.7", &[]).await?;
    source.execute(&["INSERT INTO shop.t VALUES (1)"]).await?;
    source.run_up_to(1).await?;
    source
        .execute(&[
            "SET GLOBAL binlog_row_metadata = MINIMAL",
            "INSERT INTO shop.t VALUES (2)",
            "INSERT INTO shop.t VALUES (3)",
            "SET GLOBAL binlog_row_metadata = FULL",
        ])
        .await?;
    let (file, pos) = source.mysql.binlog_end().await?;
    source.execute(&["INSERT INTO shop.t VALUES (4)"]).await?;
    let (code, report) = check(&source).await?;
    ensure!(code == Some(REFUSED), "{code:?} {report:#}");
    let command = format!("dts position set --file {file} --pos {pos}`");
    let parts = ["does not name the columns of this table", "docs/full-sync.md", &command];
    expect(&report, "events", "stop", &parts)?;
    let parts = ["does not name the columns of this table", "`dts check` names the command"];
    source.site.expect_refusal("MINIMAL for a moment", &parts).await?;
    let set = ["position", "set", "--file", &file, "--pos", &pos.to_string()];
    let (code, output) = source.site.run_dts(&set).await?;
    ensure!(code == Some(0), "{output}");
    let (_, report) = check(&source).await?;
    ensure!(finding(&report, "events").is_none(), "{report:#}");
    source.run_up_to(1).await?;
    // A first start would stop there, too.
    let (code, output) = source.site.run_dts(&["position", "reset"]).await?;
    ensure!(code == Some(0), "{output}");
    let (_, report) = check(&source).await?;
    expect(&report, "events", "stop", &[&command])?;
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_binlog_is_refused() -> Result<()> {
    let options = ["--skip-log-bin", "--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    let source = start("check-no-binlog", "9.7", &options).await?;
    // With these it is looked at where the binlog ends.
    source
        .execute(&[
            "GRANT BACKUP_ADMIN ON *.* TO 'dts'@'%'",
            "GRANT SELECT ON performance_schema.log_status TO 'dts'@'%'",
        ])
        .await?;
    let (code, report) = check(&source).await?;
    ensure!(code == Some(REFUSED), "{code:?} {report:#}");
    expect(&report, "log_bin", "stop", &["the binlog is off"])?;
    source.site.expect_refusal("run", &["the binlog is off"]).await?;
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn full_syncs_need_no_right_but_select_with_gtids_and_on_mariadb() -> Result<()> {
    for flavor in ["9.7", "8.0", "mariadb-10.11", "mariadb-11.8"] {
        let source = start(&format!("check-sync-{flavor}"), flavor, &[]).await?;
        source.execute(&["CREATE TABLE shop.long_one (a TEXT NOT NULL, b INT)"]).await?;
        source
            .execute(&["CREATE DATABASE `a.b`", "CREATE TABLE `a.b`.t (id INT PRIMARY KEY)"])
            .await?;
        let globs = "\"shop.*\", \"nowhere.*\", \"a.b.*\", \"a?b.*\"";
        source.site.amend("dts.toml", "\"shop.*\"", globs)?;
        if flavor.starts_with("mariadb") {
            source.execute(&["ALTER TABLE shop.long_one ADD UNIQUE KEY the_key (a)"]).await?;
        }
        let (code, report) = check(&source).await?;
        ensure!(code == Some(0), "{report:#}");
        for name in ["full_sync_privileges", "select", "max_keyless_rows"] {
            ensure!(finding(&report, name).is_none(), "{flavor}: {report:#}");
        }
        let unseen = ["nowhere.*, a.b.*\"", "SELECT", "write ? for a dot"];
        expect(&report, "capture.tables", "warn", &unseen)?;
        let said = finding(&report, "capture.tables").map(Value::to_string).unwrap_or_default();
        ensure!(!said.contains("shop.*"), "{said}");
        if flavor.starts_with("mariadb") {
            let parts = ["shop.long_one (the_key)", "refused", "ADD PRIMARY KEY"];
            expect(&report, "long_unique_key", "warn", &parts)?;
        }
        source.remove()?;
    }
    Ok(())
}
