//! Relays of a config: calls over HTTP, and sinks.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::Command,
    sync::mpsc::{Receiver, channel},
};

use event_log::{AppLog, proto::NewRecord, typed};
use serde_json::{Value, json};

use super::runner::{RelayProcess, Site, wait_until};
use crate::process::{DEADLINE, PROGRAM};

/// A server that takes each POST: gives its head and its body.
fn web() -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let (to, requests) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = BufReader::new(connection.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if connection.read_line(&mut head).unwrap_or(0) == 0 {
                    break;
                }
            }
            let lower = head.to_lowercase();
            let Some((_, length)) = lower.split_once("content-length: ") else { continue };
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            let mut body = vec![0; length];
            connection.read_exact(&mut body).unwrap();
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            connection.get_mut().write_all(answer.as_bytes()).unwrap();
            let _ = to.send((lower, serde_json::from_slice(&body).unwrap()));
        }
    });
    (url, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_of_a_config_run_side_by_side_and_each_has_its_target() {
    let mut site = Site::start().await;
    let log = AppLog { system: "shop".into(), ..AppLog::now("warn", "slow") };
    let value = typed::json("app", &json!({ "n": 7, "nested": { "a": [1] } })).unwrap();
    let plain: NewRecord = typed::plain("app", "line");
    site.append(vec![log.record("app"), value, plain]).await;
    let (url, requests) = web();
    let config = site.directory.path().join("relay.toml");
    let text = format!(
        "[relay.web]\nfrom = {address:?}\nstream = 's'\ntypes = [1201]\nhandler = {{ http = {url:?} }}\n\
         [relay.lines]\ndirectory = {data:?}\nstream = 's'\nhandler = {{ file = {{ directory = 'out', \
         name = '{{schema}}-{{table}}' }} }}\n",
        address = site.server.address,
        data = site.data(),
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["relay", "--config"]).arg(&config).current_dir(site.directory.path());
    let mut relay = RelayProcess::start(&mut command);
    let (head, body) = match requests.recv_timeout(DEADLINE) {
        Ok(request) => request,
        Err(_) => {
            relay.says("nothing came");
            return;
        }
    };
    assert!(head.contains("dbevent-relay: web"), "{head}");
    assert_eq!((body[0]["payload"]["n"].clone(), body.as_array().unwrap().len()), (7.into(), 1));
    let out = site.directory.path().join("out");
    let mut rows: Vec<Value> = Vec::new();
    wait_until("the lines", || {
        let files = walk(&out);
        let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        rows = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        rows.len() == 3
    });
    relay.term();
    let (status, said) = relay.ends();
    assert!(status.success(), "{said}");
    assert!(rows[0].to_string().contains("\"slow\"") && rows[0].to_string().contains("\"shop\""));
    assert!(rows[2].to_string().contains("\"line\""), "{}", rows[2]);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect();
    files.sort();
    files
}
