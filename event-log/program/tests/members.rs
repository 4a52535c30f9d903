//! Groups over the network: who is the active member, and when another takes over.

use std::time::{Duration, Instant};

use event_log::{Error, Event, Start, Subscribe, proto::CommitRequest};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::process::{
    DEADLINE, PROGRAM, STREAM, Sender, ServerProcess, assigned, client, make_stream, record,
    subscribe,
};

/// A line to the server that can go dead while its sockets stay open, as to a stopped process.
struct Line {
    address: String,
    hang: watch::Sender<()>,
}

impl Line {
    async fn to(server: &ServerProcess) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (hang, hung) = watch::channel(());
        let target = server.address.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut hung, target) = (hung.clone(), target.clone());
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => return,
                        _ = hung.changed() => {}
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { address, hang }
    }
}

fn commit(member: u64, offset: u64) -> CommitRequest {
    CommitRequest { stream: STREAM.to_owned(), group: "g".to_owned(), member, offset }
}

async fn next_records(subscription: &mut event_log::RemoteSubscription) -> (usize, u64) {
    let event = tokio::time::timeout(DEADLINE, subscription.next()).await.unwrap().unwrap();
    let Event::Records { records, next_offset, .. } = event else { panic!("{event:?}") };
    (records.len(), next_offset)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_member_takes_over_when_one_goes_and_begins_where_it_committed() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    sender.send(&server, 1, vec![record(b"one".to_vec())]).await.unwrap();
    let client = server.client();
    let mut first = client.subscribe(STREAM, subscribe("g", "first")).await.unwrap();
    let (member, position) = assigned(&mut first).await.unwrap();
    assert_eq!(position, 0);
    let mut second = client.subscribe(STREAM, subscribe("g", "second")).await.unwrap();
    let (count, next_offset) = next_records(&mut first).await;
    assert_eq!(count, 1);
    client.commit(commit(member, next_offset)).await.unwrap();
    let group = client.info(STREAM).await.unwrap().groups.remove(0);
    assert_eq!((group.client.as_str(), group.waiting), ("first", 1));
    assert_eq!(group.committed, Some(next_offset));

    drop(first);
    let (taken, position) = assigned(&mut second).await.unwrap();
    assert_eq!(position, next_offset);
    let stale = client.commit(commit(member, next_offset)).await.unwrap_err();
    assert!(matches!(stale, Error::NotMember(_)), "{stale}");
    let beyond = client.commit(commit(taken, next_offset + 1)).await.unwrap_err();
    assert!(matches!(beyond, Error::Rejected(_)), "{beyond}");
    client.commit(commit(taken, 0)).await.unwrap();
    let held = client.remove_group(STREAM, "g").await.unwrap_err();
    assert!(matches!(held, Error::GroupActive { .. }), "{held}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_hangs_loses_its_place_within_fifteen_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    make_stream(&server.client()).await;
    let line = Line::to(&server).await;
    let mut hung =
        client(&line.address, None).subscribe(STREAM, subscribe("g", "hung")).await.unwrap();
    assigned(&mut hung).await.unwrap();
    let other = server.client();
    let mut waiting = other.subscribe(STREAM, subscribe("g", "other")).await.unwrap();
    line.hang.send_replace(());
    let began = Instant::now();
    tokio::time::timeout(DEADLINE, assigned(&mut waiting)).await.unwrap().unwrap();
    let took = began.elapsed();
    println!("took over after {took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    let noticed = loop {
        match tokio::time::timeout(DEADLINE, hung.next()).await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(noticed.is_transient(), "{noticed}");
    assert!(noticed.to_string().contains("gave no answer for 10 s"), "{noticed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    sender.send(&server, 1, vec![record(b"one".to_vec()), record(b"two".to_vec())]).await.unwrap();
    let mut subscription = server.client().subscribe(STREAM, subscribe("g", "a")).await.unwrap();
    let (member, _) = assigned(&mut subscription).await.unwrap();
    server.client().commit(commit(member, 2)).await.unwrap();
    server.kill();
    let server = ServerProcess::start(directory.path());
    let mut subscription = server.client().subscribe(STREAM, subscribe("g", "b")).await.unwrap();
    assert_eq!(assigned(&mut subscription).await.unwrap().1, 2);
    let stale = server.client().commit(commit(member, 2)).await.unwrap_err();
    assert!(matches!(stale, Error::NotMember(_)), "{stale}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_set_to_another_place_only_while_nobody_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    sender.send(&server, 1, vec![record(b"one".to_vec()), record(b"two".to_vec())]).await.unwrap();
    let client = server.client();
    let end = client.locate(STREAM, Start::Latest).await.unwrap();
    assert_eq!(client.locate(STREAM, Start::Earliest).await.unwrap(), 0);
    assert_eq!(client.locate(STREAM, Start::Offset(end + 7)).await.unwrap(), end);
    assert_eq!(client.locate(STREAM, Start::Time(u64::MAX)).await.unwrap(), end);

    let mut member = client.subscribe(STREAM, subscribe("g", "né")).await.unwrap();
    assigned(&mut member).await.unwrap();
    let refused = client.reset_group(STREAM, "g", 1).await.unwrap_err();
    assert!(matches!(&refused, Error::GroupActive { client, .. } if client == "né"), "{refused}");
    drop(member);
    let free = async {
        while client.reset_group(STREAM, "g", 1).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, free).await.unwrap();
    let mut member = client.subscribe(STREAM, subscribe("g", "again")).await.unwrap();
    assert_eq!(assigned(&mut member).await.unwrap().1, 1);

    client.reset_group(STREAM, "new", 1).await.unwrap();
    let mut member = client.subscribe(STREAM, subscribe("new", "a")).await.unwrap();
    assert_eq!(assigned(&mut member).await.unwrap().1, 1);
    for (group, offset) in [("beyond", end + 1), ("", 0)] {
        let refused = client.reset_group(STREAM, group, offset).await.unwrap_err();
        assert!(matches!(refused, Error::Rejected(_)), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_groups_and_forgets_those_without_members() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let client = server.client();
    make_stream(&client).await;
    let call = async |verb: &[&str]| {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(["groups"]).args(verb).args(["--stream", STREAM, "--config", "none"]);
        let output = command.args(["--address", &server.address]).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let wanted = Subscribe { start: Start::Latest, ..subscribe("g", "me") };
    let mut subscription = client.subscribe(STREAM, wanted).await.unwrap();
    assigned(&mut subscription).await.unwrap();
    let (code, text) = call(&["list"]).await;
    let row: Vec<&str> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!((code, row), (Some(0), vec!["g", "0", "0", "B", "me"]), "{text}");
    let (_, text) = call(&["list", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let group = json!({
        "name": "g", "committed": 2, "lag": { "records": 0 }, "heldBytes": 0, "members": ["me"]
    });
    assert_eq!(shown, json!({ "groups": [group] }));
    for verb in [&["forget", "g"][..], &["set", "g", "--to", "earliest"]] {
        let (code, text) = call(verb).await;
        assert!(code == Some(69) && text.contains("me"), "{code:?} {text}");
    }
    let (code, text) = call(&["forget", "g", "--dry-run"]).await;
    assert!(code == Some(0) && text.contains("would be refused"), "{code:?} {text}");
    drop(subscription);
    let is_free = async || call(&["forget", "g", "--dry-run"]).await.1.contains("be forgotten");
    while !is_free().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(call(&["list"]).await.1.lines().count(), 2, "nothing is changed");
    let (code, text) = call(&["forget", "other", "--dry-run"]).await;
    assert!(code == Some(64) && text.contains("no group other"), "{code:?} {text}");
    while call(&["forget", "g"]).await.0 != Some(0) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, text) = call(&["list"]).await;
    assert_eq!(text.lines().count(), 1, "{text}");
    let (code, text) = call(&["forget", "g"]).await;
    assert!(code == Some(64) && text.contains("no group g"), "{code:?} {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_sets_where_a_group_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let client = server.client();
    let (mut producer, _) = client.open_producer(STREAM, "p").await.unwrap();
    let records = (0..5).map(|_| record(b"x".to_vec())).collect();
    let end = producer.append(records, Vec::new()).await.unwrap().next_offset;
    let set = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(["groups", "set", "g", "--stream", STREAM, "--config", "none", "--to"]);
        let output = command.args(more).args(["--address", &server.address]).output();
        let output = output.await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let place = async || {
        let groups = client.info(STREAM).await.unwrap().groups;
        groups.first().and_then(|group| group.committed)
    };
    let (code, text) = set(&["latest", "--dry-run"]).await;
    assert!(code == Some(0) && text.contains(&format!("would go on with offset {end}")), "{text}");
    assert_eq!(place().await, None);
    for (to, expected) in [("latest", end), (&*(end - 2).to_string(), end - 2)] {
        let (code, text) = set(&[to]).await;
        assert!(code == Some(0), "{text}");
        assert_eq!(place().await, Some(expected), "{text}");
    }
    let (code, text) = set(&[&*(end + 9).to_string()]).await;
    assert!(code == Some(64) && text.contains(&end.to_string()), "{code:?} {text}");
    let (code, text) = set(&["soon"]).await;
    assert!(code == Some(64) && text.contains("write earliest, latest"), "{code:?} {text}");
    assert_eq!(place().await, Some(end - 2));
}
