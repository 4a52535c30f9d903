//! Whatever sessions are set to by default, a full sync reads what is committed, at one moment.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use anyhow::{Result, ensure};
use e2e::{
    programs::{seed, size},
    servers::connect,
    writers::Writers,
};
use mysql_async::prelude::Queryable;

use super::{Kind, TABLE, start};

/// With fewer, a full sync would be over before many transactions are taken back.
fn rows() -> u64 {
    size(6_000, 20_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_that_is_rolled_back_or_comes_later_on_mysql() -> Result<()> {
    under_odd_sessions("full-sync-isolation-mysql", Kind::Log).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as on MySQL: scripts/test.sh --all"]
async fn nothing_is_read_that_is_rolled_back_or_comes_later_on_mariadb() -> Result<()> {
    under_odd_sessions("full-sync-isolation-mariadb", Kind::LogOfMariadb).await
}

async fn under_odd_sessions(test: &str, kind: Kind) -> Result<()> {
    let running = start(test, (kind, rows()), "chunkBytes = \"128KiB\"").await?;
    let writers = Writers::start(&running.mysql.url(), (TABLE, rows()), 1000, seed());
    let stop = Arc::new(AtomicBool::new(false));
    let undone = tokio::spawn(roll_back(running.mysql.url(), Arc::clone(&stop)));
    for level in ["READ-UNCOMMITTED", "READ-COMMITTED", "SERIALIZABLE"] {
        // Of all users but those with all rights.
        running
            .execute(&[&format!(
                "SET GLOBAL init_connect = 'SET autocommit = 0, completion_type = \"CHAIN\", \
                 SESSION transaction_isolation = \"{level}\"'"
            )])
            .await?;
        let id = running.sync("search", "").await?;
        running.done(&id).await?;
    }
    writers.stop().await?;
    stop.store(true, Relaxed);
    let undone = undone.await??;
    let picture = running.complete("search").await?;
    println!("{undone} transactions rolled back; {} rows synced", picture.synced);
    ensure!(undone > 10 && picture.synced >= 3 * rows() / 2, "{undone} {}", picture.synced);
    running.end().await
}

/// Changes rows and makes others, and takes it back.
async fn roll_back(url: String, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut server = connect(&url).await?;
    let mut undone = 0;
    while !stop.load(Relaxed) {
        undone += 1;
        let first = undone * 611 % rows();
        let (made, last) = (1_000_000 + undone, first + 20);
        for statement in [
            "START TRANSACTION".to_owned(),
            format!("INSERT INTO {TABLE} VALUES ({made}, 0, 'never')"),
            format!("UPDATE {TABLE} SET v = v + 1000000 WHERE id BETWEEN {first} AND {last}"),
            "DO SLEEP(0.02)".to_owned(),
            "ROLLBACK".to_owned(),
        ] {
            // In a deadlock with another session the server may choose us.
            let _ = server.query_drop(statement).await;
        }
    }
    Ok(undone)
}
