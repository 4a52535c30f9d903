//! Servers that are away, full, or no primary any more.

use handler::{Failure, Outcome};
use redis::AsyncCommands as _;

use super::server::{Server, cluster};
use crate::changes::{change, give, sink};

const SET: &str = "set = 'item:{{ PK.id }}'";

fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_killed_server_did_not_answer_comes_again() {
    let mut server = Server::start(&[]).await;
    let sink = sink("redis", &format!("url = '{}'\n{SET}", server.url()));
    let first = [change(1, "insert", 7, r#""n":1"#, None)];
    assert_eq!(give(&sink, &first).await, Outcome::Done);
    server.kill();
    let second = [change(2, "update", 7, r#""n":2"#, Some(r#""n":1"#))];
    let failed = failure(give(&sink, &second).await);
    assert!(failed.is_unclear && failed.reason.starts_with("127.0.0.1:"), "{failed:?}");
    let failed = failure(give(&sink, &second).await);
    assert!(failed.reason.contains("refused"), "{failed:?}");
    server.start_again().await;
    assert_eq!(give(&sink, &second).await, Outcome::Done);
    assert_eq!(give(&sink, &first).await, Outcome::Done);
    let row: String = server.admin().await.get("item:7").await.unwrap();
    assert_eq!(row, r#"{"id":7,"n":2}"#);
}

#[tokio::test]
async fn a_full_server_is_waited_for() {
    let server = Server::start(&[]).await;
    let sink = sink("redis", &format!("url = '{}'\n{SET}", server.url()));
    let mut admin = server.admin().await;
    let mut limit = async |bytes: u64| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes);
        set.exec_async(&mut admin).await.unwrap();
    };
    limit(1).await;
    let events = [change(1, "insert", 7, r#""n":1"#, None)];
    let failed = failure(give(&sink, &events).await);
    assert!(failed.is_unclear && failed.reason.contains("maxmemory"), "{failed:?}");
    limit(0).await;
    assert_eq!(give(&sink, &events).await, Outcome::Done);
}

#[tokio::test]
async fn after_a_failover_the_new_primary_is_found() {
    let (old, new) = (Server::start(&[]).await, Server::start(&[]).await);
    let urls = format!("url = ['{}', '{}']", old.url(), new.url());
    let sink = sink("redis", &format!("{urls}\n{SET}"));
    assert_eq!(give(&sink, &[change(1, "insert", 7, "", None)]).await, Outcome::Done);
    let mut demote = redis::cmd("REPLICAOF");
    demote.arg("127.0.0.1").arg(new.port);
    demote.exec_async(&mut old.admin().await).await.unwrap();
    let events = [change(2, "insert", 8, "", None)];
    let failed = failure(give(&sink, &events).await);
    assert!(failed.reason.contains("read-only replica"), "{failed:?}");
    assert_eq!(give(&sink, &events).await, Outcome::Done);
    assert!(new.admin().await.exists::<_, bool>("item:8").await.unwrap());
}

#[tokio::test]
async fn a_server_that_is_silent_is_given_up() {
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let toml = format!("url = 'redis://127.0.0.1:{port}'\ntimeout = '300ms'\n{SET}");
    let sink = sink("redis", &toml);
    let failed = failure(give(&sink, &[change(1, "insert", 7, "", None)]).await);
    assert!(failed.is_unclear && failed.reason.contains("in time"), "{failed:?}");
}

#[tokio::test]
async fn a_check_names_a_primary_of_a_cluster_that_is_down_without_a_replacement() {
    let mut servers = cluster().await;
    for server in &servers {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("cluster-node-timeout").arg(500);
        set.arg("cluster-require-full-coverage").arg("no");
        set.exec_async(&mut server.admin().await).await.unwrap();
    }
    // The first of them is the one that hangs or is down later: the next one is asked.
    let urls: Vec<String> = servers.iter().rev().map(|one| format!("'{}'", one.url())).collect();
    let toml = format!("url = [{}]\ncluster = true\n{SET}", urls.join(", "));
    let sink = sink("redis", &toml);
    let found = sink.check(&[]).await;
    assert!(found.iter().all(|one| !one.is_wrong && !one.is_doubtful), "{found:?}");
    let mut dead = servers.pop().unwrap();
    dead.kill();
    let node = format!("the node 127.0.0.1:{} of the cluster is down", dead.port);
    let mut found = Vec::new();
    for _ in 0..200 {
        found = sink.check(&[]).await;
        if found.iter().any(|one| one.is_wrong && one.what.contains(&node)) {
            return;
        }
        // Each look takes its time, and the others must agree that it is dead.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{found:?}");
}
