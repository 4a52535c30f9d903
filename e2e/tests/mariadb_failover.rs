//! Another host takes over from a MariaDB: two real servers that replicate, by GTID in a domain.

use anyhow::{Context as _, Result, ensure};
use e2e::{
    mysqlbinlog,
    pair::{Pair, SCHEMA, handled},
    processes::{PATIENCE, wait_until},
    programs::{REFUSED, seed, size},
    replication::{follow, gtids, promote, received, wait_for},
    servers::execute,
    workload::Workload,
};
use mysql_async::{Conn, prelude::Queryable as _};

/// Two servers, and `dts` with both as its hosts.
async fn start(test: &str, flavor: &str) -> Result<Pair> {
    Pair::start(&format!("{test}-{flavor}"), flavor, "").await
}

/// Ends the writers, which would continue once the tables are unlocked.
async fn end_other_sessions(conn: &mut Conn) -> Result<()> {
    const OTHERS: &str = "SELECT id FROM information_schema.processlist \
         WHERE user = 'root' AND id <> CONNECTION_ID()";
    wait_until("no other session is there", PATIENCE, async || {
        let others: Vec<u64> = conn.query(OTHERS).await.unwrap_or_default();
        for id in &others {
            // One that has ended meanwhile is fine, too.
            let _ = conn.query_drop(format!("KILL {id}")).await;
        }
        others.is_empty()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as on MySQL: scripts/test.sh --all"]
async fn a_planned_switch_of_mariadb_under_load_loses_and_repeats_nothing() -> Result<()> {
    for flavor in ["mariadb-10.11", "mariadb-11.8"] {
        switch(flavor).await.context(flavor)?;
    }
    Ok(())
}

async fn switch(flavor: &str) -> Result<()> {
    let mut pair = start("switch", flavor).await?;
    let seed = seed();
    let load = Workload::start(&pair.first.url(), SCHEMA, u64::MAX / 4, seed);
    load.allow(size(3_000, 30_000));
    wait_until("the load is under way", PATIENCE, async || load.made() > 1_500).await?;
    let mut old = pair.first.connect().await?;
    execute(&mut old, &["FLUSH TABLES WITH READ LOCK", "SET GLOBAL read_only = ON"]).await?;
    drop(load);
    end_other_sessions(&mut old).await?;
    pair.wait_for_replica().await?;
    promote(&pair.second).await?;
    // A transaction that only the new source has.
    let own = "INSERT INTO shop.account VALUES (9001, 1.5, NOW(3), 'own')";
    pair.second.execute(&[own]).await?;
    let load = Workload::start(&pair.second.url(), SCHEMA, u64::MAX / 4, seed + 1);
    load.allow(2_000);
    execute(&mut old, &["UNLOCK TABLES", "SET GLOBAL gtid_slave_pos = @@gtid_binlog_pos"]).await?;
    follow(&pair.first, &pair.second, "").await?;
    wait_until("the new source is written to", PATIENCE, async || load.made() > 1_000).await?;
    pair.first.kill().await?;
    wait_until("all is written", PATIENCE, async || load.made() >= 2_000).await?;
    load.stop().await?;

    let (recording, beyond) = pair.wait_for_second().await?;
    ensure!(beyond.is_empty(), "invented: {beyond:?}");
    let ids = recording.done_ids().len();
    pair.check_tables(&recording).await?;
    let status = pair.status().await;
    ensure!(status["source"]["address"] == pair.second.address(), "{status}");
    ensure!(status["lostTransactions"].is_null(), "{status}");
    println!("{flavor}: {ids} events over the switch");

    // And back: the old source comes again as a replica, and the new one goes.
    pair.first.restart().await?;
    wait_until("the old source has all", PATIENCE, async || {
        wait_for(&pair.first, &pair.second).await.is_ok()
    })
    .await?;
    pair.second.kill().await?;
    let mut old = pair.first.connect().await?;
    execute(&mut old, &["STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = OFF"]).await?;
    execute(&mut old, &["INSERT INTO shop.account VALUES (9002, 1.5, NOW(3), 'back')"]).await?;
    wait_until("the first host is read again", PATIENCE, async || {
        pair.site.recording().done_ids().len() == ids + 1
    })
    .await?;
    ensure!(pair.dts.is_running()?, "dts ended: {}", pair.dts.output());
    pair.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_transactions_of_mariadb_are_named_and_refused_or_accepted() -> Result<()> {
    // In the second case the new source has written under the same numbers, and more.
    for (flavor, own) in [("mariadb-10.11", 0), ("mariadb-11.8", 5)] {
        lose(flavor, own).await.context(flavor)?;
    }
    Ok(())
}

async fn lose(flavor: &str, own: u32) -> Result<()> {
    let mut pair = start("lost", flavor).await?;
    let seed = seed();
    Workload::start(&pair.first.url(), SCHEMA, 500, seed).finish().await?;
    pair.wait_for_replica().await?;
    pair.second.execute(&["STOP SLAVE IO_THREAD"]).await?;
    let kept = gtids(&pair.first).await?;
    let published = mysqlbinlog::event_ids(&pair.first, SCHEMA).await?.len() as u64;
    pair.site.wait_for_published(published).await?;
    let before = pair.status().await["accounting"]["published"].as_u64().unwrap_or_default();
    execute(
        &mut pair.first.connect().await?,
        &[
            "USE shop",
            "INSERT INTO account VALUES (9001, 1.5, NOW(3), 'lost')",
            "BEGIN",
            "INSERT INTO setting VALUES ('lost', 'lost', 1)",
            "INSERT INTO account VALUES (9002, 1.5, NOW(3), 'lost')",
            "COMMIT",
        ],
    )
    .await?;
    pair.site.wait_for_published(before + 3).await?;
    let named = gtids(&pair.first).await?;
    promote(&pair.second).await?;
    let mut second = pair.second.connect().await?;
    for n in 0..own {
        let insert = format!("INSERT INTO shop.account VALUES ({}, 1, NOW(3), 'own')", 9100 + n);
        execute(&mut second, &[&insert]).await?;
    }
    pair.first.kill().await?;

    let beyond = pair.accept_two_lost(&named, seed + 1).await?;
    let (server, last) = named.rsplit_once('-').context("no GTID")?;
    ensure!(kept == format!("{server}-{}", last.parse::<u64>()? - 2), "{kept} {named}");
    let mut expected = [
        format!("{server}-{}#0", last.parse::<u64>()? - 1),
        format!("{named}#0"),
        format!("{named}#1"),
    ];
    expected.sort();
    ensure!(beyond == expected, "only the lost ones are beyond: {beyond:?}");
    pair.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_mariadb_that_is_behind_is_waited_for() -> Result<()> {
    let mut pair = start("behind", "mariadb-11.8").await?;
    pair.wait_for_replica().await?;
    pair.second.execute(&["STOP SLAVE"]).await?;
    follow(&pair.second, &pair.first, ", MASTER_DELAY = 12").await?;
    let insert = "INSERT INTO shop.account VALUES (1, 1.5, NOW(3), 'late')";
    pair.first.execute(&[insert]).await?;
    pair.site.wait_for_published(1).await?;
    let has = gtids(&pair.first).await?;
    wait_until("the replica has received it", PATIENCE, async || {
        received(&pair.second).await.is_ok_and(|received| received == has)
    })
    .await?;
    pair.first.kill().await?;
    wait_until("dts waits", PATIENCE, async || {
        pair.dts.output().contains("behind what we have read")
    })
    .await?;
    wait_until("the replica takes over", PATIENCE, async || {
        pair.status().await["source"]["address"] == pair.second.address()
    })
    .await?;
    promote(&pair.second).await?;
    let insert = "INSERT INTO shop.account VALUES (2, 1.5, NOW(3), 'after')";
    pair.second.execute(&[insert]).await?;
    let (recording, beyond) = pair.wait_for_second().await?;
    ensure!(beyond.is_empty() && recording.done_ids().len() == 2, "{beyond:?}");
    ensure!(pair.dts.is_running()?, "dts ended: {}", pair.dts.output());
    pair.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_xa_transaction_prepared_on_the_earlier_server_stops_at_its_commit() -> Result<()> {
    let mut pair = start("xa-elsewhere", "mariadb-11.8").await?;
    let insert = |id: u32| format!("INSERT INTO shop.account VALUES ({id}, 1.5, NOW(3), 'row')");
    let mut first = pair.first.connect().await?;
    execute(&mut first, &[&insert(1)]).await?;
    let before = gtids(&pair.first).await?;
    let prepare = ["XA START 'held'", &insert(2), "XA END 'held'", "XA PREPARE 'held'"];
    execute(&mut first, &prepare).await?;
    first.disconnect().await?;
    pair.first.execute(&[&insert(3)]).await?;
    pair.site.wait_for_published(2).await?;
    pair.wait_for_replica().await?;
    pair.first.kill().await?;
    promote(&pair.second).await?;
    let mut second = pair.second.connect().await?;
    execute(&mut second, &[&insert(4)]).await?;
    pair.site.wait_for_published(3).await?;
    execute(&mut second, &["XA COMMIT 'held'"]).await?;
    let status = pair.dts.ended().await?;
    let output = pair.dts.output();
    ensure!(status.code() == Some(REFUSED), "{status}: {output}");
    for part in ["commits rows that dts does not have", "start before that XA PREPARE"] {
        ensure!(output.contains(part), "{part:?} is not in\n{output}");
    }
    let set = ["position", "set", "--gtid", &before];
    let (code, output) = pair.site.run_dts(&set).await?;
    ensure!(code == Some(0), "{code:?} {output}");
    pair.dts = pair.site.start_dts()?;
    // From there on all comes again, under the ids that it had.
    let expected = mysqlbinlog::event_ids(&pair.second, SCHEMA).await?;
    wait_until("every change is handled", PATIENCE, async || {
        handled(&pair.site.recording()) == expected
    })
    .await?;
    ensure!(expected.len() == 4, "{expected:?}");
    pair.remove()
}
