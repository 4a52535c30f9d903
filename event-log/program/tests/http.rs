//! The HTTP port.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::process::{STREAM, ServerProcess, record};

pub(crate) async fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_groups_and_probes_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let client = server.client();
    let (mut producer, _) = client.open_producer(STREAM, "p").await.unwrap();
    let appended = producer.append(vec![record(b"x".to_vec())], Vec::new()).await.unwrap();
    client.reset_group(STREAM, "g", 0).await.unwrap();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(&server.http, path).await.0, 200, "{path}");
    }
    let (status, answer) = get(&server.http, "/api/v1/streams").await;
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let shown: serde_json::Value = serde_json::from_str(body).unwrap();
    let stream = &shown["streams"][0];
    assert_eq!((status, &stream["name"]), (200, &STREAM.into()), "{shown}");
    assert_eq!(stream["nextOffset"], appended.next_offset, "{shown}");
    assert_eq!(stream["groups"][0]["lag"]["records"], appended.next_offset, "{shown}");
    let (_, metrics) = get(&server.http, "/metrics").await;
    let next = appended.next_offset;
    for line in [
        format!("event_log_stream_next_offset{{stream=\"s\"}} {next}"),
        format!("event_log_group_lag_records{{stream=\"s\",group=\"g\"}} {next}"),
        "event_log_stream_failed{stream=\"s\"} 0".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    assert_eq!(get(&server.http, "/x").await.0, 404);
}
