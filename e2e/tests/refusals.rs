//! What `dts` says, and exits with, when it cannot work: each names the thing and the remedy.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, wait_until},
    programs::{REFUSED, Site},
    proxy::Proxy,
    running::Source,
    servers::execute,
};
use mysql_async::{BinlogStreamRequest, prelude::Queryable};
use serde_json::Value;

const SCHEMA: &str = "refused";

async fn start(test: &str) -> Result<Source> {
    let statements = [
        "CREATE DATABASE refused",
        "CREATE TABLE refused.t (id INT PRIMARY KEY, text VARCHAR(100))",
        "INSERT INTO refused.t VALUES (1, 'one')",
    ];
    Source::start(test).await?.capture(SCHEMA, &statements).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_fit_ends_dts_with_the_statement_that_fixes_it() -> Result<()> {
    let source = start("refused-settings").await?;
    for (variable, wrong, right) in
        [("binlog_row_metadata", "MINIMAL", "FULL"), ("binlog_format", "STATEMENT", "ROW")]
    {
        source.execute(&[&format!("SET GLOBAL {variable} = {wrong}")]).await?;
        let remedy = format!("SET PERSIST {variable} = '{right}'");
        source.site.expect_refusal(variable, &[variable, wrong, &remedy]).await?;
        source.execute(&[&format!("SET GLOBAL {variable} = {right}")]).await?;
    }
    source.run_up_to(1).await?;
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_not_replicate_ends_dts_with_the_grant_to_run() -> Result<()> {
    let source = start("refused-user").await?;
    source.execute(&["CREATE USER 'weak' IDENTIFIED BY 'weak'"]).await?;
    source.site.amend("dts.toml", "password = \"dts\"", "password = \"wrong\"")?;
    source.site.expect_refusal("wrong password", &["source.password", "1045"]).await?;
    source.site.amend(
        "dts.toml",
        "user = \"dts\"\npassword = \"wrong\"",
        "user = \"weak\"\npassword = \"weak\"",
    )?;
    source
        .site
        .expect_refusal("no privilege", &["GRANT REPLICATION SLAVE, REPLICATION CLIENT"])
        .await?;
    source.execute(&["GRANT REPLICATION CLIENT ON *.* TO 'weak'"]).await?;
    source
        .site
        .expect_refusal("half of it", &["GRANT REPLICATION SLAVE, REPLICATION CLIENT"])
        .await?;
    source.execute(&["GRANT REPLICATION SLAVE ON *.* TO 'weak'"]).await?;
    source.run_up_to(1).await?;
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_needs_a_person_ends_dts_with_what_to_do() -> Result<()> {
    let source = start("refused-account").await?;
    // With TLS demanded no other connection of ours comes in.
    let mut server = source.mysql.connect().await?;
    execute(
        &mut server,
        &[
            "CREATE USER 'who' IDENTIFIED BY 'who'",
            "GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'who'",
        ],
    )
    .await?;
    source.site.amend(
        "dts.toml",
        "user = \"dts\"\npassword = \"dts\"",
        "user = \"who\"\npassword = { file = \"password\" }",
    )?;
    std::fs::write(source.site.path("password"), "who\n")?;
    for (statement, undo, parts) in [
        (
            "ALTER USER 'who' ACCOUNT LOCK",
            "ALTER USER 'who' ACCOUNT UNLOCK",
            ["(3118)", "run ALTER USER 'who'@'…' ACCOUNT UNLOCK"],
        ),
        (
            "ALTER USER 'who' PASSWORD EXPIRE",
            "ALTER USER 'who' IDENTIFIED BY 'who'",
            ["(1862)", "the password has expired: run ALTER USER"],
        ),
        (
            "SET GLOBAL require_secure_transport = ON",
            "SET GLOBAL require_secure_transport = OFF",
            ["(3159)", "set source.tls"],
        ),
    ] {
        execute(&mut server, &[statement]).await?;
        source.site.expect_refusal(statement, &parts).await?;
        let (code, output) = source.site.run_dts(&["check"]).await?;
        ensure!(code == Some(REFUSED), "{statement}: {code:?} {output}");
        ensure!(parts.iter().all(|part| output.contains(part)), "{statement}: {output}");
        execute(&mut server, &[undo]).await?;
    }
    // A password that is changed while dts runs is read again.
    let mut dts = source.site.start_dts()?;
    source.site.wait_for_published(1).await?;
    execute(&mut server, &["ALTER USER 'who' IDENTIFIED BY 'changed'"]).await?;
    let connections = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'who'";
    let connections: Vec<u64> = server.query(connections).await?;
    for id in connections {
        // One may have ended by itself.
        let _ = server.query_drop(format!("KILL {id}")).await;
    }
    execute(&mut server, &["INSERT INTO refused.t VALUES (2, 'two')"]).await?;
    // Its file follows later: until then dts waits, and says for what.
    let mut said = Value::Null;
    wait_until("dts says that it is not let in any more", PATIENCE, async || {
        said = source.site.status().await["why"].clone();
        said.as_str().is_some_and(|why| why.contains("its user at MySQL") && why.contains("1045"))
    })
    .await
    .with_context(|| format!("{said}\n{}", dts.output()))?;
    std::fs::write(source.site.path("password"), "changed\n")?;
    source.site.wait_for_published(2).await?;
    ensure!(dts.is_running()?, "dts ended: {}", dts.output());
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_with_our_id_is_waited_out() -> Result<()> {
    let source = start("refused-id").await?;
    source.site.configure_hosts(&[&source.mysql.address()], SCHEMA, "serverId = 4711\n")?;
    let mut dts = source.site.start_dts()?;
    source.site.wait_for_published(1).await?;
    let request = BinlogStreamRequest::new(4711).with_filename(b"binlog.000001").with_pos(4);
    let other = source.mysql.connect().await?.get_binlog_stream(request).await?;
    let mut said = Value::Null;
    wait_until("dts says what ended its stream", PATIENCE, async || {
        said = source.site.status().await["lastError"].clone();
        !said.is_null()
    })
    .await?;
    let parts = ["another replica connected with our id, 4711", "set source.serverId"];
    ensure!(parts.iter().all(|part| said.to_string().contains(part)), "{said}");
    drop(other);
    source.execute(&["INSERT INTO refused.t VALUES (2, 'two')"]).await?;
    source.site.wait_for_published(2).await?;
    ensure!(dts.is_running()?, "dts ended: {}", dts.output());
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_silent_after_its_log_in_is_named_and_the_next_one_is_read() -> Result<()> {
    let source = start("silent").await?;
    let proxy = Proxy::start(source.mysql.address()).await?;
    // Enough for the log-in, too little for the server's variables.
    proxy.silence_after(700);
    let (silent, sound) = (proxy.address(), source.mysql.address());
    source.site.configure_hosts(&[&silent, &sound], SCHEMA, "")?;
    let dts = source.site.start_dts()?;
    let check = source.site.run_dts(&["check"]);
    // A question has half a minute, and the silent host may be asked more than one.
    let read = wait_until("the next host is read", PATIENCE * 3, async || {
        let status = source.site.status().await;
        status["accounting"]["published"].as_u64() >= Some(1)
    });
    let (checked, read) = tokio::join!(tokio::time::timeout(PATIENCE * 3, check), read);
    read?;
    let (code, output) = checked??;
    ensure!(code == Some(REFUSED), "{code:?} {output}");
    ensure!(output.contains(&silent) && output.contains("does not answer within"), "{output}");
    let said = dts.output();
    ensure!(said.contains("another host takes over") && said.contains("does not answer"), "{said}");
    let status = source.site.ask_dts("/api/v1/status").await?;
    ensure!(status["source"]["address"] == sound.as_str(), "{status:#}");
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_the_server_has_no_more_ends_dts() -> Result<()> {
    let source = start("refused-position").await?;
    source.run_up_to(1).await?;
    source.execute(&["INSERT INTO refused.t VALUES (2, 'missed')", "FLUSH BINARY LOGS"]).await?;
    source.execute(&["PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"]).await?;
    source
        .site
        .expect_refusal("purged", &["purged transactions that we have not read", ":4"])
        .await?;
    source.execute(&["RESET BINARY LOGS AND GTIDS"]).await?;
    let parts = ["does not have 3 transactions that we have read", "restored backup"];
    source.site.expect_refusal("another history", &parts).await?;
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_does_not_exist_ends_dts_with_what_there_is() -> Result<()> {
    let source = start("refused-start").await?;
    for (start, part) in [
        ("{ file = \"binlog.000077\", pos = 4 }", "SHOW BINARY LOGS"),
        ("{ file = \"binlog.000001\", pos = 200 }", "the first boundary after it is"),
        ("{ gtid = \"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5\" }", "gtid_executed"),
    ] {
        source.site.amend("dts.toml", "start = \"earliest\"", &format!("start = {start}"))?;
        source.site.expect_refusal(start, &[part]).await?;
        source.site.amend("dts.toml", &format!("start = {start}"), "start = \"earliest\"")?;
    }
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_tells_all_its_mistakes_and_what_is_taken_is_named() -> Result<()> {
    let source = start("refused-config").await?;
    source.site.amend("dts.toml", "name = \"e2e\"", "name = \"a b\"\nnmae = 1")?;
    source.site.amend("dts.toml", "user = \"dts\"", "uesr = \"dts\"")?;
    let (status, output) = source.site.start_dts()?.told().await?;
    ensure!(status.code() == Some(64), "{status}\n{output}");
    for part in ["dts.toml: 4 mistakes", "name: ", "nmae: ", "did you mean user?", "source.user"] {
        ensure!(output.contains(part), "{part:?} is not in\n{output}");
    }
    source.site.configure_dts(&source.mysql.address(), SCHEMA)?;
    let dts = source.site.start_dts()?;
    source.site.wait_for_published(1).await?;
    source.site.expect_refusal("port taken", &["cannot listen on", "listen.address"]).await?;
    drop::<Process>(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_waited_for_and_check_does_not_wait() -> Result<()> {
    let mut source = start("down").await?;
    source.mysql.kill().await?;
    let check = source.site.run_dts(&["check"]);
    let (code, output) = tokio::time::timeout(Duration::from_secs(15), check).await??;
    ensure!(code == Some(REFUSED) && output.contains("source.hosts"), "{code:?}\n{output}");

    let mut dts = source.site.start_dts()?;
    wait_until("dts has tried a few times", PATIENCE, async || {
        dts.output().matches("still interrupted").count() >= 2
    })
    .await?;
    ensure!(dts.output().matches("ERROR").count() == 1, "one ERROR, then WARN: {}", dts.output());
    source.mysql.restart().await?;
    source.site.wait_for_published(1).await?;
    ensure!(dts.is_running()?, "dts ended: {}", dts.output());
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_event_ends_dts_with_its_position() -> Result<()> {
    let source = start("damaged").await?;
    source.execute(&["INSERT INTO refused.t VALUES (3, 'intact')"]).await?;
    let proxy = Proxy::start(source.mysql.address()).await?;
    proxy.damage(b"intact", b"broken");
    source.site.configure_dts(&proxy.address(), SCHEMA)?;
    let (status, output) = source.site.start_dts()?.told().await?;
    ensure!(status.code() == Some(REFUSED), "{status}\n{output}");
    ensure!(output.contains("is damaged: its CRC32 is wrong"), "{output}");
    ensure!(output.contains("over two connections"), "{output}");
    ensure!(output.contains("the binlog event after binlog.0000"), "{output}");
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_directory_that_is_held_or_is_a_file_ends_dts_and_is_named() -> Result<()> {
    let mut source = start("refused-directory").await?;
    let mut dts = source.site.start_dts()?;
    source.site.wait_for_published(1).await?;

    // A second dts, with ports of its own.
    let first = std::mem::replace(&mut source.site, Site::new("refused-directory-second")?);
    source.site.configure_dts(&source.mysql.address(), SCHEMA)?;
    let held = first.path("data/event-log").display().to_string();
    let setting = |directory: &str| format!("[bus]\ndirectory = {directory:?}");
    source.site.amend("dts.toml", "[bus]", &setting(&held))?;
    let remedy = "in use by another process: stop that, or name another directory";
    source.site.expect_refusal("held", &[&held, remedy]).await?;
    ensure!(dts.is_running()?, "the first dts ended: {}", dts.output());
    dts.kill().await?;
    source.run_up_to(1).await?;

    for wrong in ["dts.toml", "dts.toml/below"] {
        let file = source.site.path(wrong).display().to_string();
        source.site.amend("dts.toml", &setting(&held), &setting(&file))?;
        source
            .site
            .expect_refusal(wrong, &[&file, "make it a directory that this user may"])
            .await?;
        source.site.amend("dts.toml", &setting(&file), &setting(&held))?;
    }
    source.remove()?;
    first.remove()
}
