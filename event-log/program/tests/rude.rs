//! Clients that misbehave: thousands that say nothing, half a request, answers that nobody reads.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use event_log::proto::AppendRequest;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use crate::process::{
    DEADLINE, PROGRAM, STREAM, Sender, ServerProcess, read_all, record, size, write_config,
};

/// Far below what a buffer for each connection, or for each answer, would take.
const MAX_GROWTH_KIB: u64 = 200 << 10;

/// A server that may have so many files open.
fn start(directory: &std::path::Path, open_files: usize) -> ServerProcess {
    let config = write_config(directory, "", "");
    let script = format!("ulimit -S -n {open_files}; exec {PROGRAM} serve --config {config:?}");
    ServerProcess::start_by(Command::new("sh").args(["-c", &script]))
}

async fn appends(server: &ServerProcess, sender: &Sender, sequence: u64) {
    let records = vec![record(format!("{sequence}").into())];
    let sent = tokio::time::timeout(DEADLINE, sender.send(server, sequence, records));
    sent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_hold_up_nobody() {
    let count = size(1000, 10_000);
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), count + 1000);
    let sender = Sender::open(&server).await;
    appends(&server, &sender, 1).await;
    let before = server.resident_kib();
    let idle: Vec<TcpStream> =
        (0..count).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    appends(&server, &sender, 2).await;
    assert_eq!(read_all(&server.client()).await, ["1", "2"]);
    let grown = server.resident_kib().saturating_sub(before);
    println!("{} connections: grown by {grown} KiB", idle.len());
    assert!(grown < MAX_GROWTH_KIB, "{grown} KiB");
    drop(idle);
    appends(&server, &sender, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_free_descriptors_says_so_and_goes_on_when_some_are_free() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), 64);
    let sender = Sender::open(&server).await;
    appends(&server, &sender, 1).await;
    let idle: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    server.says("Too many open files");
    drop(idle);
    let again = async {
        while sender.send(&server, 2, vec![record(b"2".to_vec())]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.unwrap();
    assert_eq!(read_all(&server.client()).await, ["1", "2"]);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

/// A header without compression.
fn header(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// The beginning of a call of Append, and half of its message.
fn half_request() -> Vec<u8> {
    let headers = [
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", "/dbevent.eventlog.v1.EventLog/Append"),
        header(":authority", "x"),
        header("te", "trailers"),
        header("content-type", "application/grpc"),
    ];
    // 100 bytes are announced, and 10 come.
    let message = [&[0, 0, 0, 0, 100][..], &[0x0a; 10]].concat();
    let frames = [frame(4, 0, 0, &[]), frame(1, 4, 1, &headers.concat()), frame(0, 0, 1, &message)];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frames.concat()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_holds_up_nobody_and_leaves_no_record() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    let request = half_request();
    let cuts = [1, 10, 24, 30, 40, 100, request.len() - 5, request.len()];
    let half: Vec<TcpStream> = cuts
        .into_iter()
        .map(|cut| {
            let mut stream = TcpStream::connect(&server.address).unwrap();
            stream.write_all(&request[..cut]).unwrap();
            stream
        })
        .collect();
    appends(&server, &sender, 1).await;
    // The last one has begun its call: the server has answered its settings.
    let mut last = half.last().unwrap();
    last.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(last.read(&mut [0; 100]).unwrap() > 0);
    drop(half);
    // What is no HTTP/2 at all.
    let mut other = TcpStream::connect(&server.address).unwrap();
    other.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    other.set_read_timeout(Some(DEADLINE)).unwrap();
    let _closed = other.read_to_end(&mut Vec::new());
    appends(&server, &sender, 2).await;
    assert_eq!(read_all(&server.client()).await, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_reads_no_answers_costs_little_and_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    appends(&server, &sender, 1).await;
    let before = server.resident_kib();
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    let request = AppendRequest {
        stream: STREAM.to_owned(),
        records: vec![record(vec![b'x'; 10_000])],
        ..AppendRequest::default()
    };
    let mut service = server.raw().await.unwrap();
    let call = tokio::spawn(async move { service.append(ReceiverStream::new(receiver)).await });
    let mut sent = 0;
    // Until the server takes no more, or has taken enough.
    while sent < 20_000 {
        let sending = requests.send(request.clone());
        if tokio::time::timeout(Duration::from_secs(2), sending).await.is_err() {
            break;
        }
        sent += 1;
    }
    appends(&server, &sender, 2).await;
    let grown = server.resident_kib().saturating_sub(before);
    println!("{sent} requests: grown by {grown} KiB");
    assert!(grown < MAX_GROWTH_KIB, "{grown} KiB");
    drop(requests);
    let answers = call.await.unwrap().unwrap().into_inner();
    let answers: Vec<_> =
        tokio::time::timeout(DEADLINE, answers.collect::<Vec<_>>()).await.unwrap();
    assert!(answers.iter().all(Result::is_ok) && answers.len() >= sent, "{}", answers.len());
    assert_eq!(read_all(&server.client()).await.len(), answers.len() + 2);
}
