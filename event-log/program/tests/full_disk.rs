//! A disk without room: a limit on the size of files, which the system answers like a full disk.

use std::process::Command;

use crate::http::get;
use crate::process::{PROGRAM, STREAM, Sender, ServerProcess, read_all, record, write_config};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_a_deleted_file_is_not_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    sender.send(&server, 1, vec![record(b"a".to_vec())]).await.unwrap();
    std::fs::remove_dir_all(directory.path().join("data").join(STREAM)).unwrap();
    let refused = sender.send(&server, 2, vec![record(b"b".to_vec())]).await.unwrap_err();
    assert!(refused.message().contains("somebody deleted this file"), "{refused}");
    let (ready, told) = get(&server.http, "/readyz").await;
    assert!(ready == 503 && told.contains("somebody deleted this file"), "{ready} {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_appends_keeps_the_rest_and_goes_on_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let config = write_config(directory.path(), "", "");
    // In blocks of 512 bytes or 1 KiB, as the shell likes.
    let script =
        format!("trap '' XFSZ; ulimit -S -f 500; exec {PROGRAM} serve --config {config:?}");
    let server = ServerProcess::start_by(Command::new("sh").args(["-c", &script]));
    let sender = Sender::open(&server).await;
    let payload = |sequence: u64| format!("{sequence}{}", "x".repeat(30_000));
    let batch = |sequence| vec![record(payload(sequence).into()), record(Vec::new())];

    let mut sequence = 1;
    let refused = loop {
        match sender.send(&server, sequence, batch(sequence)).await {
            Ok(_) => sequence += 1,
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    assert!(sequence > 5, "{sequence}");
    let again = sender.send(&server, sequence, batch(sequence)).await.unwrap_err();
    assert_eq!(again.code(), tonic::Code::ResourceExhausted, "{again}");
    let (ready, told) = get(&server.http, "/readyz").await;
    assert!(ready == 503 && told.contains("make room on that disk"), "{ready} {told}");
    let (_, metrics) = get(&server.http, "/metrics").await;
    assert!(metrics.contains("event_log_stream_full{stream=\"s\"} 1"), "{metrics}");
    let small = sender.send(&server, sequence, vec![record(b"small".to_vec())]).await;
    let kept = read_all(&server.client()).await;
    let batches = usize::try_from(sequence).unwrap();
    assert_eq!(kept.len(), 2 * (batches - 1) + usize::from(small.is_ok()));

    let pid = server.pid().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
    assert!(raised.unwrap().success());
    let first = if small.is_ok() { sequence + 1 } else { sequence };
    for sequence in first..first + 3 {
        sender.send(&server, sequence, batch(sequence)).await.unwrap();
    }
    assert_eq!(get(&server.http, "/readyz").await.0, 200);
    let all = read_all(&server.client()).await;
    assert_eq!(all.len(), kept.len() + 6);
    assert_eq!(all[..kept.len()], kept);

    drop(server);
    let server = ServerProcess::start(directory.path());
    assert_eq!(read_all(&server.client()).await, all);
}
