//! The marks around a chunk are right where other marks are wrong.
//!
//! Many sessions count up the versions of rows while the binlog is followed. A probe does what a
//! full sync does with one chunk. It notes how far the stream is, and reads the rows between two
//! marks. When the stream passes the high mark, it puts in the rows that have not changed since it
//! noted. Each of them must then have the version that the stream has at that place: an older
//! version would stay for good, and a newer one would be followed by older changes.

#![expect(clippy::print_stdout, reason = "figures for whoever runs it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use binlog::GtidSet;
use dts::{
    checkpoint::SourcePosition,
    config::{Config, SourceConfig},
    full_sync::{Marks, TableSource, Why},
    replica::{self, Conn, Server},
};
use e2e::{
    processes::wait_until,
    programs::{Site, seed, size},
    servers::{Mysql, execute},
};
use mysql_async::prelude::Queryable as _;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use source_table::session;
use tokio::task::JoinSet;

use super::follower::{Follower, Reach};

const SCHEMA: &str = "marks";
const TABLE: &str = "marks.row";
const SESSIONS: u64 = 24;
const ROWS: u32 = 2_000;

/// Wrong marks must be found within this many probes.
const MAX_WRONG_PROBES: u64 = 20_000;

/// How long writers wait for each other, so that many commit together.
const GROUP_COMMIT: [&str; 1] = ["--binlog-group-commit-sync-delay=2000"];
const GROUP_COMMIT_OF_MARIADB: [&str; 2] =
    ["--binlog-commit-wait-count=24", "--binlog-commit-wait-usec=2000"];

/// Which marks a probe takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Ours,
    /// The server has logged what the stream has passed, so we assume that a read shows this too.
    LowByLogged,
    /// We assume that `gtid_executed` has all that a read shows.
    HighByGtids,
}

/// What a probe has seen.
struct Probe {
    /// How many changes the stream had passed when the probe began.
    passed: usize,
    rows: Vec<(u32, u64)>,
    high: Reach,
}

/// A server under writers, whose binlog is followed.
struct Bench {
    follower: Follower,
    config: SourceConfig,
    conn: Conn,
    source: TableSource,
    stop: Arc<AtomicBool>,
    writers: JoinSet<Result<()>>,
}

impl Bench {
    /// Writes to the first server, and follows and reads the second.
    async fn start(site: &Site, written: &Mysql, read: &Mysql) -> Result<Self> {
        let mut server = written.connect().await?;
        server.query_drop(format!("CREATE DATABASE {SCHEMA}")).await?;
        server.query_drop(format!("CREATE TABLE {TABLE} (id INT PRIMARY KEY, v BIGINT)")).await?;
        let values: Vec<String> = (0..ROWS).map(|id| format!("({id},0)")).collect();
        server.query_drop(format!("INSERT INTO {TABLE} VALUES {}", values.join(","))).await?;
        site.configure_dts(&read.address(), SCHEMA)?;
        let config = Config::open(&site.path("dts.toml"))?;
        let follower = Follower::start(&config).await?;
        wait_until("the rows are there", Duration::from_secs(30), async || {
            follower.passed() >= ROWS as usize
        })
        .await?;
        let mut conn = replica::connect(&config.source).await?;
        session(&mut conn).await?;
        let server = Server::ask(&mut conn, &config.source).await?;
        let source = TableSource { config: config.source.clone(), server };
        let stop = Arc::new(AtomicBool::new(false));
        let writers = start_writers(&written.url(), &stop);
        Ok(Self { follower, config: config.source, conn, source, stop, writers })
    }

    async fn probe(&mut self, (way, marks): (Way, Marks)) -> Result<Probe> {
        let (asked, passed) = self.follower.now();
        if way != Way::LowByLogged {
            let named = (SCHEMA, "row");
            marks.low((&mut self.conn, &self.source), &asked, named).await?;
        }
        let select = format!("SELECT id, v FROM {TABLE}");
        let rows = self.conn.query(select).await?;
        let high = match way {
            Way::HighByGtids => {
                let text = "SELECT @@GLOBAL.gtid_executed";
                let text: String = self.conn.query_first(text).await?.context("no GTIDs")?;
                Reach::Gtids(text.parse::<GtidSet>()?)
            }
            Way::LowByLogged => {
                let server = &self.source.server;
                let SourcePosition { file, pos, .. } =
                    server.binlog_end(&mut self.conn, &self.config).await?;
                Reach::Place(file, pos)
            }
            Way::Ours => {
                let place = marks.high(&mut self.conn, &self.source).await?;
                Reach::Place(place.file, place.pos)
            }
        };
        marks.release(&mut self.conn, &self.source).await?;
        Ok(Probe { passed, rows, high })
    }

    /// Takes probes, and returns how many of their rows were put in, and how many went backwards.
    async fn judge(&mut self, taken: (Way, Marks), probes: u64) -> Result<(usize, usize)> {
        let mut seen = Vec::new();
        for _ in 0..probes {
            seen.push(self.probe(taken).await?);
        }
        let end = self.source.server.binlog_end(&mut self.conn, &self.config).await?;
        self.follower.reach(&end.file, end.pos).await?;
        let (mut put_in, mut wrong) = (0, 0);
        for Probe { passed, rows, high } in &seen {
            let history = self.follower.history();
            for (id, version) in rows {
                let (at_high, changed) = history.at(*id, *passed, high);
                if !changed {
                    put_in += 1;
                    wrong += usize::from(at_high != *version);
                }
            }
        }
        Ok((put_in, wrong))
    }

    /// Our marks are right, and each of the others is not.
    async fn check(&mut self, expected: Marks, others: &[Way]) -> Result<()> {
        let marks = Marks::choose(&mut self.conn, &self.source).await?;
        ensure!(marks == expected, "{marks:?} instead of {expected:?}");
        // Each probe waits for the table, and the writers wait after it.
        let probes = if matches!(marks, Marks::Lock(_)) { size(5, 20) } else { size(300, 3_000) };
        let (put_in, wrong) = self.judge((Way::Ours, marks), probes).await?;
        println!("{marks:?}: {wrong} of {put_in} rows of {probes} probes went backwards");
        ensure!(wrong == 0 && put_in > 0, "{marks:?}: {wrong} of {put_in} rows went backwards");
        for way in others {
            let mut probes = 0;
            let (put_in, wrong) = loop {
                let judged = self.judge((*way, marks), 200).await?;
                probes += 200;
                if judged.1 > 0 {
                    break judged;
                }
                ensure!(probes < MAX_WRONG_PROBES, "{way:?} did no harm: the probe shows nothing");
            };
            println!("{way:?}: {wrong} of {put_in} rows went backwards, in probes up to {probes}");
        }
        Ok(())
    }

    async fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended??;
        }
        Ok(())
    }
}

fn start_writers(url: &str, stop: &Arc<AtomicBool>) -> JoinSet<Result<()>> {
    let seed = seed();
    let mut writers = JoinSet::new();
    for number in 0..SESSIONS {
        let (url, stop) = (url.to_owned(), Arc::clone(stop));
        let mut random = SmallRng::seed_from_u64(seed ^ number);
        writers.spawn(async move {
            let mut conn = e2e::servers::connect(&url).await?;
            while !stop.load(Ordering::Relaxed) {
                let id = random.random_range(0..ROWS);
                let count = format!("UPDATE {TABLE} SET v = v + 1 WHERE id = {id}");
                conn.query_drop(count).await?;
            }
            Ok(())
        });
    }
    writers
}

async fn judge_one(
    test: &str,
    flavor: &str,
    options: &[&str],
    taken: (Marks, &[Way]),
) -> Result<()> {
    let site = Site::new(test)?;
    let mysql = Mysql::start_with(flavor, &site.path("mysql"), options).await?;
    let right = match taken.0 {
        Marks::LogStatus => Some("BACKUP_ADMIN"),
        Marks::Lock(_) => Some("LOCK TABLES"),
        Marks::Gtids | Marks::Snapshot => None,
    };
    if let Some(right) = right {
        let grant = format!("GRANT {right} ON *.* TO 'dts'@'%'");
        mysql.connect().await?.query_drop(grant).await?;
    }
    let mut bench = Bench::start(&site, &mysql, &mysql).await?;
    bench.check(taken.0, taken.1).await?;
    bench.stop().await?;
    drop(mysql);
    site.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn by_gtids_no_row_goes_backwards() -> Result<()> {
    let others = [Way::LowByLogged, Way::HighByGtids];
    judge_one("marks-gtids", "9.7", &GROUP_COMMIT, (Marks::Gtids, &others)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_log_status_no_row_goes_backwards() -> Result<()> {
    let options = [&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"], &GROUP_COMMIT[..]];
    let taken = (Marks::LogStatus, &[Way::LowByLogged][..]);
    judge_one("marks-log-status", "9.7", &options.concat(), taken).await
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_lock_of_the_table_no_row_goes_backwards() -> Result<()> {
    let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    judge_one("marks-lock", "9.7", &options, (Marks::Lock(Why::NoLogStatus), &[])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_snapshot_of_mariadb_no_row_goes_backwards() -> Result<()> {
    let taken = (Marks::Snapshot, &[Way::LowByLogged][..]);
    judge_one("marks-mariadb", "mariadb-11.8", &GROUP_COMMIT_OF_MARIADB, taken).await
}

/// The replica applies in parallel, and commits in another order than its source did.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_replica_with_parallel_appliers_no_row_goes_backwards() -> Result<()> {
    let site = Site::new("marks-replica")?;
    let source = Mysql::start_with("9.7", &site.path("mysql"), &GROUP_COMMIT).await?;
    std::fs::create_dir_all(site.path("replica"))?;
    let options = ["--replica-parallel-workers=8", "--replica-preserve-commit-order=OFF"];
    let options = [&options[..], &GROUP_COMMIT].concat();
    let replica = Mysql::start_with("9.7", &site.path("replica"), &options).await?;
    replicate(&source, &replica).await?;
    let mut bench = Bench::start(&site, &source, &replica).await?;
    bench.check(Marks::Gtids, &[Way::LowByLogged]).await?;
    bench.stop().await?;
    drop((source, replica));
    site.remove()
}

async fn replicate(source: &Mysql, replica: &Mysql) -> Result<()> {
    let mut server = replica.connect().await?;
    let change = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='dts', \
         SOURCE_PASSWORD='dts', GET_SOURCE_PUBLIC_KEY=1, SOURCE_AUTO_POSITION=1",
        source.port()
    );
    execute(&mut server, &["RESET BINARY LOGS AND GTIDS", &change, "START REPLICA"]).await
}
