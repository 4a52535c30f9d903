//! Changes that a MariaDB logs though they were never committed: transactions that it rolled back,
//! in whole or to a savepoint, and one that a crash cut off.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    rebuilt::Rebuilt,
    recording::Recording,
    running::{Running, Source, Victim},
    servers::execute,
};

const SCHEMA: &str = "shop";

/// With it a transaction is logged though it is rolled back.
const TEMPORARY: &str = "CREATE TEMPORARY TABLE tmp (a INT)";

/// Each in a session of its own. The tables are those of [`start`].
const SESSIONS: [&[&str]; 9] = [
    &["BEGIN", "UPDATE account SET balance = 0", "INSERT INTO account VALUES (2, 1)", TEMPORARY],
    &["BEGIN", "INSERT INTO account VALUES (3, 1)", "DROP TEMPORARY TABLE IF EXISTS x", "ROLLBACK"],
    &[
        "BEGIN",
        "INSERT INTO account VALUES (4, 4)",
        "SAVEPOINT a",
        "INSERT INTO account VALUES (5, 5)",
        TEMPORARY,
        "ROLLBACK TO A",
        "INSERT INTO account VALUES (6, 6)",
        "COMMIT",
    ],
    &[
        "BEGIN",
        "INSERT INTO account VALUES (7, 7)",
        "SAVEPOINT a",
        "INSERT INTO account VALUES (8, 8)",
        "INSERT INTO audit VALUES (1)",
        "ROLLBACK TO a",
        "COMMIT",
    ],
    &["BEGIN", "INSERT INTO account VALUES (9, 9)", "INSERT INTO audit VALUES (2)", "ROLLBACK"],
    &["BEGIN", "INSERT INTO other.t VALUES (1)", TEMPORARY, "ROLLBACK"],
    // XA transactions: one that is rolled back before it is prepared, and one in part.
    &[
        "XA START 'x'",
        "INSERT INTO account VALUES (10, 1)",
        TEMPORARY,
        "XA END 'x'",
        "XA ROLLBACK 'x'",
    ],
    &[
        "XA START 'y'",
        "INSERT INTO account VALUES (11, 1)",
        "SAVEPOINT a",
        "INSERT INTO account VALUES (12, 1)",
        TEMPORARY,
        "ROLLBACK TO a",
        "INSERT INTO account VALUES (13, 1)",
        "XA END 'y'",
        "XA PREPARE 'y'",
        "XA COMMIT 'y'",
    ],
    &["INSERT INTO account VALUES (14, 14)"],
];

/// The accounts that were never committed.
const ROLLED_BACK: [&str; 7] = [
    "{\"id\":2}",
    "{\"id\":3}",
    "{\"id\":5}",
    "{\"id\":8}",
    "{\"id\":9}",
    "{\"id\":10}",
    "{\"id\":12}",
];

/// So many rows are more than a batch.
const MANY: u32 = 12_000;

async fn start(flavor: &str) -> Result<Running> {
    let statements = [
        "CREATE DATABASE shop",
        "CREATE DATABASE other",
        "CREATE TABLE shop.account (id INT PRIMARY KEY, balance INT)",
        "CREATE TABLE shop.audit (id INT PRIMARY KEY) ENGINE = MyISAM",
        "CREATE TABLE other.t (id INT PRIMARY KEY)",
        "INSERT INTO shop.account VALUES (1, 100)",
    ];
    let source = Source::start_on(&format!("maria-rollback-{flavor}"), (flavor, &[])).await?;
    source.capture(SCHEMA, &statements).await?.run()
}

/// A session that ends after these.
async fn session(running: &Running, statements: &[&str]) -> Result<()> {
    let mut conn = running.mysql.connect().await?;
    execute(&mut conn, &["USE shop"]).await?;
    execute(&mut conn, statements).await?;
    Ok(conn.disconnect().await?)
}

/// Changes a row, and waits until what the handler received gives MariaDB's own tables. Rows with
/// other keys can be handled after this one.
async fn check(running: &mut Running, balance: u32) -> Result<Recording> {
    let last = format!("REPLACE INTO account VALUES (1000000, {balance})");
    session(running, &[&last]).await?;
    let mut compared = compare(running).await;
    wait_until("the tables are MariaDB's", PATIENCE * 4, async || {
        if compared.is_err() {
            compared = compare(running).await;
        }
        compared.is_ok()
    })
    .await
    .with_context(|| format!("{:?} {}", compared, running.dts.output()))?;
    let recording = compared?;
    recording.check_ids()?;
    let numbers = running.site.ask_dts("/api/v1/status").await?["accounting"].take();
    let number = |name: &str| numbers[name].as_u64().unwrap_or_default();
    let published = number("read") - number("filtered") + number("split");
    ensure!(number("published") == published, "{numbers}");
    ensure!(running.dts.is_running()?, "{}", running.dts.output());
    Ok(recording)
}

async fn compare(running: &Running) -> Result<Recording> {
    let recording = Recording::read(&running.site.recorded())?;
    let rebuilt = Rebuilt::from_recording(&recording)?;
    let mut conn = running.mysql.connect().await?;
    for table in ["account", "audit"] {
        rebuilt.check_table(&mut conn, SCHEMA, table).await?;
    }
    conn.disconnect().await?;
    Ok(recording)
}

fn insert_many(first: u32) -> String {
    let last = first + MANY - 1;
    format!("INSERT INTO account SELECT seq, 1 FROM seq_{first}_to_{last}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mariadb_rolled_back_is_never_published() -> Result<()> {
    for flavor in ["mariadb-10.11", "mariadb-11.8"] {
        let mut running = start(flavor).await?;
        for statements in SESSIONS {
            session(&running, statements).await?;
        }
        let small = check(&mut running, 1).await?;
        let mut ids = small.done().filter(|event| event.table_name == "account");
        let invented = ids.find(|event| ROLLED_BACK.contains(&event.pk.get()));
        ensure!(invented.is_none(), "{invented:?}");

        // Larger than a batch, and read ahead; dts is killed somewhere in these.
        let large = [1000, 2000, 3000, 4000].map(|at| insert_many(at * 100));
        let [a, b, c, d] = large.each_ref().map(String::as_str);
        session(&running, &["BEGIN", a, TEMPORARY, "ROLLBACK"]).await?;
        let (file, pos) = running.mysql.binlog_end().await?;
        let parts = ["BEGIN", b, "SAVEPOINT s", c, "UPDATE account SET balance = 2 WHERE id = 1"];
        session(&running, &[&parts[..], &[TEMPORARY, "ROLLBACK TO s", d, "COMMIT"]].concat())
            .await?;
        running.kill(Victim::Dts).await?;
        check(&mut running, 2).await?;

        // dts can start at a place after a transaction that was rolled back.
        running.dts.signal("TERM").await?;
        running.dts.ended().await?;
        let place = ["--file", &file, "--pos", &pos.to_string(), "--dry-run"];
        let (code, output) =
            running.site.run_dts(&[&["position", "set"], &place[..]].concat()).await?;
        ensure!(code == Some(0), "{code:?} {output}");
        running.end().await?;
    }
    Ok(())
}

/// A group of the binlog, as it stands in the file.
struct Group(Vec<u8>);

impl Group {
    fn read(file: &Path, start: u64) -> Result<Self> {
        let bytes = std::fs::read(file)?;
        Ok(Self(bytes.get(start as usize..).context("too short")?.to_vec()))
    }

    /// The same as the server would write it next: with the number and the place that follow.
    fn next(mut self) -> Result<Self> {
        const LOG_POS: usize = 13;
        const SEQUENCE: usize = 19;
        let length = self.0.len() as u64;
        let number =
            self.0.get_mut(SEQUENCE..).and_then(<[u8]>::first_chunk_mut).context("number")?;
        *number = (u64::from_le_bytes(*number) + 1).to_le_bytes();
        let place = self.0.get_mut(LOG_POS..).and_then(<[u8]>::first_chunk_mut).context("place")?;
        *place = ((u64::from(u32::from_le_bytes(*place)) + length) as u32).to_le_bytes();
        Ok(self)
    }
}

/// How a crash tears a group: in the middle of an event, or between two.
#[derive(Clone, Copy, Debug)]
enum Tear {
    InEvent,
    Between,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_a_crash_tore_off_is_never_published() -> Result<()> {
    /// The commit, which is the last event.
    const XID: usize = 19 + 8;
    // A checksum would have to be computed again.
    let server = ("mariadb-11.8", &["--binlog-checksum=NONE"][..]);
    let statements = ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"];
    let source = Source::start_on("maria-torn", server).await?.capture(SCHEMA, &statements).await?;
    let Source { site, mysql: mut server, .. } = source;
    let mut published = 0;
    for (tear, first) in [(Tear::InEvent, 0), (Tear::Between, 10)] {
        let (file, start) = server.binlog_end().await?;
        let insert = format!("INSERT INTO shop.t SELECT seq + {first} FROM seq_1_to_5");
        server.execute(&["USE shop", &insert]).await?;
        server.kill().await?;
        let path = server.data().join(&file);
        let Group(torn) = Group::read(&path, start)?.next()?;
        let cut = match tear {
            Tear::InEvent => torn.len() - XID - 3,
            Tear::Between => torn.len() - XID,
        };
        let mut bytes = std::fs::read(&path)?;
        bytes.extend_from_slice(&torn[..cut]);
        std::fs::write(&path, bytes)?;
        server.restart().await?;
        let after = format!("INSERT INTO shop.t VALUES ({})", first + 6);
        server.execute(&[&after]).await?;
        published += 6;
        let (mut dts, worker) = (site.start_dts()?, site.start_worker()?);
        let outcome = site.wait_for_published(published).await;
        outcome.with_context(|| format!("{tear:?}: {}", dts.output()))?;
        let recording = site.wait_for_handled(usize::try_from(published)?).await?;
        recording.check_ids()?;
        ensure!(recording.done_ids().len() as u64 == published, "{tear:?}: {recording:?}");
        let rebuilt = Rebuilt::from_recording(&recording)?;
        rebuilt.check_table(&mut server.connect().await?, SCHEMA, "t").await?;
        let told = dts.output();
        ensure!(dts.is_running()?, "{tear:?}: {told}");
        let expected = match tear {
            Tear::InEvent => "ends in the middle of the event",
            Tear::Between => "a transaction breaks off",
        };
        ensure!(told.contains(expected), "{tear:?}: {told}");
        // dts can start at a place after it.
        dts.signal("TERM").await?;
        dts.ended().await?;
        drop(worker);
        let (code, output) = site.run_dts(&["position", "set", "earliest", "--dry-run"]).await?;
        ensure!(code == Some(0), "{code:?} {output}");
        let since = ["position", "set", "--time", "2001-01-01T00:00:00Z", "--dry-run"];
        let (code, output) = site.run_dts(&since).await?;
        ensure!(code == Some(0), "{code:?} {output}");
    }
    drop(server);
    site.remove()
}
