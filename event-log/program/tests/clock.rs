//! A server whose clock jumps.

use std::{path::Path, process::Command};

use service::clock::TEST_CLOCK_VARIABLE;

use crate::{
    http::get,
    process::{PROGRAM, STREAM, Sender, ServerProcess, read_all, record, write_config},
};

const YEAR_MS: i64 = 365 * 86_400_000;

fn start(directory: &Path) -> ServerProcess {
    let config = write_config(directory, "", "");
    let mut command = Command::new(PROGRAM);
    command.env(TEST_CLOCK_VARIABLE, directory.join("clock"));
    ServerProcess::start_by(command.arg("serve").arg("--config").arg(config))
}

fn set_clock(directory: &Path, ahead_ms: i64) {
    let fresh = directory.join("clock.new");
    std::fs::write(&fresh, ahead_ms.to_string()).unwrap();
    std::fs::rename(fresh, directory.join("clock")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_a_year_ahead_and_goes_back_is_told_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    set_clock(at, 0);
    let server = start(at);
    let sender = Sender::open(&server).await;
    let mut sequence = 0;
    for ahead_ms in [0, YEAR_MS, -86_400_000] {
        set_clock(at, ahead_ms);
        sequence += 1;
        let records = vec![record(format!("{sequence}").into())];
        sender.send(&server, sequence, records).await.unwrap();
    }
    server.says("the last record is later than the clock of this machine");
    let (_, metrics) = get(&server.http, "/metrics").await;
    let line = metrics.lines().find(|line| line.starts_with("event_log_stream_ahead_seconds{"));
    let seconds: u64 = line.unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    assert!(seconds > 365 * 86_400, "{seconds}");
    let mut days: Vec<_> = std::fs::read_dir(at.join("data").join(STREAM)).unwrap().collect();
    days.retain(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(days.len(), 2);
    drop(server);
    let server = start(at);
    // The first day may be older than what is kept.
    let texts = read_all(&server.client()).await;
    assert!(texts == ["1", "2", "3"] || texts == ["2", "3"], "{texts:?}");
    let verified = Command::new(PROGRAM).arg("verify").arg(at.join("data")).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
}
