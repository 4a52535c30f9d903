//! Reporters of this process, and a real server that is killed, is away, or refuses.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use event_log::{
    AppLog, Error, Event, Reporter, ReporterConfig, SpoolConfig, Typed, WhenFull, proto::NewRecord,
    typed,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::process::{
    DEADLINE, PROGRAM, STREAM, ServerProcess, assigned, client, read_all, size, subscribe,
    write_config,
};

/// A reporter that finds the server at an address, or not.
async fn reporter(address: &str, spool: Option<&Path>) -> Reporter {
    let mut config = ReporterConfig::new(STREAM, "reporter");
    config.spool.directory = spool.map(Path::to_owned);
    let open = async {
        loop {
            match Reporter::open(client(address, None), config.clone()).await {
                // A process that another test starts has our files until it is another program.
                Err(Error::Held(_)) => tokio::task::yield_now().await,
                opened => return opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(DEADLINE, open).await.unwrap()
}

fn numbered(number: u64) -> NewRecord {
    typed::plain("t", format!("{number}"))
}

async fn flush(reporter: &Reporter) -> Result<(), Error> {
    tokio::time::timeout(DEADLINE, reporter.flush()).await.unwrap()
}

async fn has_all(server: &ServerProcess, count: u64) {
    let expected: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    let found = read_all(&server.client()).await;
    assert_eq!(found.len(), expected.len(), "{:?}", reporter_gap(&found));
    assert!(found == expected, "another order or content: {:?}", reporter_gap(&found));
}

/// The first records that do not follow each other.
fn reporter_gap(found: &[String]) -> Option<&[String]> {
    let number = |text: &String| text.parse::<u64>().unwrap_or_default();
    found.windows(2).find(|pair| number(&pair[0]) + 1 != number(&pair[1]))
}

/// Reports while the server is killed and started again; a spool on disk is opened again, too.
async fn survives_kills(seed: u64, on_disk: bool) {
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().join("spool");
    let spool = on_disk.then_some(&*spool);
    let mut server = ServerProcess::start(directory.path());
    let address = server.address.clone();
    let mut ours = Arc::new(reporter(&address, spool).await);
    let mut count = 0;
    for _ in 0..size(6, 60) {
        for _ in 0..random.random_range(1..2000) {
            // One by one each waits for the disk.
            let records: Vec<_> = (count..count + random.random_range(1..200)).collect();
            count += records.len() as u64;
            let records: Vec<_> = records.into_iter().map(numbered).collect();
            ours.report_all(&records).await.unwrap();
            if count % 10_000 < 200 {
                break;
            }
        }
        server.kill();
        if on_disk && random.random() {
            ours.report(numbered(count)).await.unwrap();
            count += 1;
            // As a crash would leave it: nothing is waited for.
            ours.close().await;
            drop(ours);
            ours = Arc::new(reporter(&address, spool).await);
        }
        server = ServerProcess::start_at(directory.path(), &address);
    }
    flush(&ours).await.unwrap();
    has_all(&server, count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_in_memory_comes_once_and_in_order_while_the_server_is_killed() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    survives_kills(seed, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_on_disk_comes_once_and_in_order_while_both_ends_start_again() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    survives_kills(seed, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spooled_without_a_server_is_sent_by_the_next_reporter() {
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().join("spool");
    let first = reporter("127.0.0.1:1", Some(&spool)).await;
    for number in 0..100 {
        first.report(numbered(number)).await.unwrap();
    }
    let state = first.state();
    assert!(state.spooled_bytes > 1000, "{state}");
    let again = Reporter::open(client("127.0.0.1:1", None), {
        let mut config = ReporterConfig::new(STREAM, "reporter");
        config.spool.directory = Some(spool.clone());
        config
    });
    assert!(matches!(again.await.unwrap_err(), Error::Held(_)));
    first.close().await;
    assert!(matches!(first.flush().await.unwrap_err(), Error::Unavailable(_)));
    drop(first);

    let server = ServerProcess::start(directory.path());
    let second = reporter(&server.address, Some(&spool)).await;
    flush(&second).await.unwrap();
    has_all(&server, 100).await;
    assert_eq!(second.state().spooled_bytes, 0);
    // A stream that another spool of this producer fills, too, has all of both.
    second.close().await;
    let other = reporter(&server.address, None).await;
    other.report(numbered(100)).await.unwrap();
    flush(&other).await.unwrap();
    other.close().await;
    drop(second);
    let third = reporter(&server.address, Some(&spool)).await;
    third.report(numbered(101)).await.unwrap();
    flush(&third).await.unwrap();
    has_all(&server, 102).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_blocks_or_fails_as_set_and_goes_on_when_the_server_is_back() {
    for directory in [None, Some(tempfile::tempdir().unwrap())] {
        let data = tempfile::tempdir().unwrap();
        let mut server = ServerProcess::start(data.path());
        let address = server.address.clone();
        server.kill();
        let open = async |when_full| {
            let mut config = ReporterConfig::new(STREAM, "reporter");
            let directory = directory.as_ref().map(|directory| directory.path().join("spool"));
            config.spool = SpoolConfig { directory, max_bytes: 1 << 20, when_full };
            Reporter::open(client(&address, None), config).await.unwrap()
        };
        let record = || typed::plain("t", vec![b'x'; 50_000]);
        let failing = open(WhenFull::Error).await;
        let mut reported = 0;
        let error = loop {
            match failing.report(record()).await {
                Ok(()) => reported += 1,
                Err(error) => break error,
            }
        };
        assert!(reported > 10, "{reported}");
        assert!(matches!(error, Error::Full(_)), "{error}");
        let said = error.to_string();
        assert!(said.contains("holds 1.0 MiB at the most"), "{said}");
        assert!(said.contains("wait in the spool; the server: waiting for"), "{said}");
        let too_large = failing.report(typed::plain("t", vec![0; 600 << 10])).await.unwrap_err();
        assert!(too_large.to_string().contains("more than half of the spool"), "{too_large}");
        failing.close().await;
        drop(failing);

        let blocking = Arc::new(open(WhenFull::Block).await);
        let ours = Arc::clone(&blocking);
        let all = 40;
        let reporting = tokio::spawn(async move {
            for _ in 0..all {
                ours.report(record()).await.unwrap();
            }
        });
        let full = async {
            while blocking.state().spooled_bytes < 900 << 10 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, full).await.unwrap();
        assert!(!reporting.is_finished());
        server = ServerProcess::start_at(data.path(), &address);
        tokio::time::timeout(DEADLINE, reporting).await.unwrap().unwrap();
        flush(&blocking).await.unwrap();
        // What waited in memory went with the first reporter.
        let kept = if directory.is_some() { reported } else { 0 };
        assert_eq!(read_all(&server.client()).await.len(), all + kept);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_keeps_a_reporter_waiting_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let config = write_config(directory.path(), "", "");
    // In blocks of 512 bytes or 1 KiB, as the shell likes.
    let script = format!("trap '' XFSZ; ulimit -S -f 40; exec {PROGRAM} serve --config {config:?}");
    let server = ServerProcess::start_by(Command::new("sh").args(["-c", &script]));
    let ours = reporter(&server.address, None).await;
    ours.log("t", &AppLog::now("info", "first")).await.unwrap();
    flush(&ours).await.unwrap();
    let mut subscription =
        server.client().subscribe(STREAM, subscribe("", "reader")).await.unwrap();
    assigned(&mut subscription).await.unwrap();
    let Event::Records { records, .. } = subscription.next().await.unwrap() else { panic!() };
    let Typed::AppLog(log) = Typed::of(&records[0]).unwrap() else { panic!("{records:?}") };
    assert_eq!((&*log.message, &*log.level), ("first", "info"));

    for number in 0..300 {
        ours.report(typed::plain("t", format!("{number}{}", "x".repeat(200)))).await.unwrap();
    }
    let waiting = async {
        while !ours.state().to_string().contains("the event log is full") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap();
    let pid = server.pid().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
    assert!(raised.unwrap().success());
    flush(&ours).await.unwrap();
    assert_eq!(read_all(&server.client()).await.len(), 301);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_was_put_back_to_an_older_state_loses_nothing_silently() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let [spool, older] = ["spool", "older"].map(|name| directory.path().join(name));
    let ours = reporter(&server.address, Some(&spool)).await;
    ours.report(numbered(0)).await.unwrap();
    flush(&ours).await.unwrap();
    ours.close().await;
    drop(ours);
    let copied = Command::new("cp").arg("-r").args([&spool, &older]).status();
    assert!(copied.unwrap().success());
    let ours = reporter(&server.address, Some(&spool)).await;
    ours.report_all(&(1..10).map(numbered).collect::<Vec<_>>()).await.unwrap();
    flush(&ours).await.unwrap();
    ours.close().await;
    drop(ours);

    // The server would take the next nine for those that it has.
    let back = reporter(&server.address, Some(&older)).await;
    back.report(numbered(10)).await.unwrap();
    let error = flush(&back).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert!(error.to_string().contains("Delete the file `origin` in it"), "{error}");
    back.close().await;
    drop(back);
    std::fs::remove_file(older.join("origin")).unwrap();
    let back = reporter(&server.address, Some(&older)).await;
    flush(&back).await.unwrap();
    has_all(&server, 11).await;
}
