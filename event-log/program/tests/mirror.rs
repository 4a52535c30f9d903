//! A server, a mirror and a mirror of the mirror as programs, killed at random.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use event_log::{Client, Error, Start};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use crate::process::{
    DEADLINE, PROGRAM, STREAM, Sender, ServerProcess, client, read_all, record, write_config,
};

/// A program of the chain, that comes back at the same address.
struct Node {
    directory: PathBuf,
    port: u16,
    /// The one that it copies.
    from: Option<u16>,
    process: Option<ServerProcess>,
}

impl Node {
    fn start(directory: &Path, from: Option<&Self>) -> Self {
        fs::create_dir(directory).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let (directory, from) = (directory.to_owned(), from.map(|node| node.port));
        let mut node = Self { directory, port, from, process: None };
        node.come();
        node
    }

    fn come(&mut self) {
        let listen = format!("address = '127.0.0.1:{}'", self.port);
        let config = write_config(&self.directory, &listen, "");
        let mut command = Command::new(PROGRAM);
        match self.from {
            None => command.arg("serve"),
            Some(port) => command
                .args(["mirror", "--stream", STREAM, "--from"])
                .arg(format!("127.0.0.1:{port}")),
        };
        self.process = Some(ServerProcess::start_by(command.arg("--config").arg(config)));
    }

    fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
    }

    fn client(&self) -> Client {
        client(&format!("127.0.0.1:{}", self.port), None)
    }

    /// Every file of every day, with its content.
    fn days(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let days = fs::read_dir(self.directory.join("data").join(STREAM)).unwrap();
        let days = days.map(|day| day.unwrap().path()).filter(|day| day.is_dir());
        let files = days.flat_map(|day| fs::read_dir(day).unwrap());
        let files = files.map(|file| file.unwrap().path());
        let short = |path: &Path| path.components().rev().take(2).collect();
        files.map(|path| (short(&path), fs::read(path).unwrap())).collect()
    }
}

/// Waits until the stream of a node ends there.
async fn until_end(node: &Node, end: u64) {
    let (client, began) = (node.client(), Instant::now());
    loop {
        let seen = match client.info(STREAM).await {
            Ok(info) if info.next_offset == end => return,
            Ok(info) => format!("{} of {end}, {:?}", info.next_offset, info.copy),
            Err(error) => error.to_string(),
        };
        assert!(began.elapsed() < DEADLINE, "{seen}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_mirrors_is_the_same_byte_for_byte_whoever_is_killed() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let server = Node::start(&at("server"), None);
    let sender = Sender::open(server.process.as_ref().unwrap()).await;
    let first = Node::start(&at("first"), Some(&server));
    let second = Node::start(&at("second"), Some(&first));
    let mut chain = [server, first, second];
    let (mut sequence, mut expected) = (0, Vec::new());
    for _ in 0..12 {
        for _ in 0..random.random_range(1..20) {
            sequence += 1;
            let filler = "x".repeat(random.random_range(0..20_000));
            let texts: Vec<String> = (0..random.random_range(0..10))
                .map(|n| format!("{sequence}.{n}.{filler}"))
                .collect();
            let records = texts.iter().map(|text| record(text.clone().into())).collect();
            sender.send(chain[0].process.as_ref().unwrap(), sequence, records).await.unwrap();
            expected.extend(texts);
        }
        let victim = random.random_range(0..chain.len());
        chain[victim].kill();
        sleep(Duration::from_millis(random.random_range(0..100))).await;
        chain[victim].come();
    }
    let end = chain[0].client().info(STREAM).await.unwrap().next_offset;
    for node in &chain {
        until_end(node, end).await;
    }
    let found = tokio::time::timeout(DEADLINE, read_all(&chain[2].client())).await.unwrap();
    assert!(found == expected, "{} records of {}", found.len(), expected.len());
    let days = chain[0].days();
    assert!(days == chain[1].days() && days == chain[2].days(), "the copies differ");

    let refused = chain[2].client().open_producer(STREAM, "q").await.unwrap_err();
    assert!(matches!(&refused, Error::Rejected(text) if text.contains("is a copy")), "{refused}");
    promoted(&mut chain).await;
}

/// The server is gone; the first mirror is made the original.
async fn promoted([server, first, second]: &mut [Node; 3]) {
    server.kill();
    let at = format!("127.0.0.1:{}", first.port);
    // The second time it has nothing to do.
    for _ in 0..2 {
        let mut command = Command::new(PROGRAM);
        command.args(["promote", "--stream", STREAM, "--address", &at]);
        command.arg("--config").arg(first.directory.join("event-log.toml"));
        let said = command.output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success() && text.contains("in epoch 2"), "{said:?}");
    }
    let (mut producer, _) = first.client().open_producer(STREAM, "q").await.unwrap();
    producer.append(vec![record(b"late".to_vec())], Vec::new()).await.unwrap();
    let end = first.client().locate(STREAM, Start::Latest).await.unwrap();
    until_end(second, end).await;
    assert!(first.days() == second.days(), "the copy differs");

    // Started as the mirror that it was, it serves what was promoted.
    first.kill();
    first.come();
    let (mut producer, _) = first.client().open_producer(STREAM, "q").await.unwrap();
    producer.append(vec![record(b"later".to_vec())], Vec::new()).await.unwrap();
    until_end(second, first.client().locate(STREAM, Start::Latest).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_serves_nothing_copies() {
    let directory = tempfile::tempdir().unwrap();
    let server = Node::start(&directory.path().join("server"), None);
    let sender = Sender::open(server.process.as_ref().unwrap()).await;
    let records = vec![record(b"x".to_vec())];
    sender.send(server.process.as_ref().unwrap(), 1, records).await.unwrap();
    let copy = directory.path().join("copy");
    let mut command = Command::new(PROGRAM);
    command.args(["mirror", "--stream", STREAM, "--config", "none", "--from"]);
    command.arg(format!("127.0.0.1:{}", server.port)).arg("--directory").arg(&copy);
    let mut mirror = command.spawn().unwrap();
    let began = Instant::now();
    let printed = loop {
        let mut cat = Command::new(PROGRAM);
        let said = cat.arg("cat").arg(&copy).args(["--stream", STREAM]).output().unwrap();
        if said.status.success() && !said.stdout.is_empty() || began.elapsed() > DEADLINE {
            break String::from_utf8_lossy(&said.stdout).into_owned();
        }
        sleep(Duration::from_millis(50)).await;
    };
    mirror.kill().unwrap();
    mirror.wait().unwrap();
    assert!(printed.contains(r#""payload":"x""#), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_there_is_told_and_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let server = Node::start(&directory.path().join("server"), None);
    drop(server.client().open_producer("other", "p").await.unwrap());
    let copy = Node::start(&directory.path().join("copy"), Some(&server));
    let (client, began) = (copy.client(), Instant::now());
    let told = loop {
        let told = client.info(STREAM).await.unwrap().copy.unwrap().problem;
        if told.contains("there is no stream") {
            break told;
        }
        assert!(began.elapsed() < DEADLINE, "{told}");
        sleep(Duration::from_millis(20)).await;
    };
    assert!(told.contains("there are: other"), "{told}");
    assert!(!server.directory.join("data").join(STREAM).exists(), "it was made");
    let sender = Sender::open(server.process.as_ref().unwrap()).await;
    let records = vec![record(b"x".to_vec())];
    sender.send(server.process.as_ref().unwrap(), 1, records).await.unwrap();
    until_end(&copy, server.client().info(STREAM).await.unwrap().next_offset).await;
}

#[test]
fn what_a_mirror_lacks_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let config = write_config(directory.path(), "", "[mirror]\nonGone = \"later\"\nfrm = \"x\"");
    let run = |words: &[&str]| {
        let said = Command::new(PROGRAM).args(words).output().unwrap();
        (said.status.code(), String::from_utf8_lossy(&said.stderr).into_owned())
    };
    let config = config.to_str().unwrap();
    let (code, said) = run(&["mirror", "--config", config]);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("onGone") && said.contains("frm"), "{said}");
    write_config(directory.path(), "", "");
    let (code, said) = run(&["mirror", "--config", config]);
    assert!(code == Some(64) && said.contains("give --from HOST:PORT"), "{said}");
    let itself = "[mirror]\nfrom = '127.0.0.1:0'\n";
    write_config(directory.path(), "", itself);
    let (code, said) = run(&["mirror", "--config", config]);
    assert!(code == Some(64) && said.contains("a server cannot copy itself"), "{said}");
    write_config(directory.path(), "", "[mirror]\nfrom = 'x:1'\nstreams = []\n");
    let (code, said) = run(&["mirror", "--config", config]);
    assert!(code == Some(64) && said.contains("names no stream"), "{said}");
    let (code, said) = run(&["promote", "--directory", "/dev/null/x", "--stream", "s"]);
    assert!(code == Some(64) && said.contains("no directory /dev/null/x"), "{said}");
}

#[test]
fn a_mirror_that_cannot_serve_its_copies_ends_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = write_config(directory.path(), &format!("address = '{address}'"), "");
    let mut command = Command::new("timeout");
    command.args(["60", PROGRAM, "mirror", "--from", "127.0.0.1:1", "--stream", STREAM]);
    let said = command.arg("--config").arg(config).output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.code() == Some(69) && text.contains(&address), "{said:?}");
}
