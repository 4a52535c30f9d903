//! What is in the server at the end.

use std::collections::BTreeMap;

use handler::{Event, Outcome};
use rand::{RngExt as _, rngs::StdRng, seq::SliceRandom as _};
use redis::{AsyncCommands, cluster::ClusterClient};
use sinks::Sink;

use super::server::{Server, cluster};
use crate::changes::{change, give, seeded, sink};

const ROWS: u64 = 20;

/// A history of some rows, and the rows at its end.
fn history(random: &mut StdRng) -> (Vec<Event>, BTreeMap<u64, u64>) {
    let (mut events, mut rows) = (Vec::new(), BTreeMap::new());
    for seq in 1..=400 {
        let id = random.random_range(0..ROWS);
        let event = match rows.get(&id) {
            None => {
                rows.insert(id, seq);
                change(seq, "insert", id, &format!(r#""n":{seq}"#), None)
            }
            Some(n) if random.random_ratio(1, 4) => {
                let event = change(seq, "delete", id, &format!(r#""n":{n}"#), None);
                rows.remove(&id);
                event
            }
            Some(n) => {
                let old = format!(r#""n":{n}"#);
                rows.insert(id, seq);
                change(seq, "update", id, &format!(r#""n":{seq}"#), Some(&old))
            }
        };
        events.push(event);
    }
    (events, rows)
}

/// Gives the history out of order and with repetitions, as no bus does.
async fn give_in_disorder(sink: &Sink, events: &[Event], random: &mut StdRng) {
    let mut given: Vec<Event> = events.iter().chain(events).cloned().collect();
    given.shuffle(random);
    for batch in given.chunks(50) {
        assert_eq!(give(sink, batch).await, Outcome::Done);
    }
}

/// The rows in the server, which has each as JSON and as a hash.
async fn rows_of(connection: &mut impl AsyncCommands) -> BTreeMap<u64, u64> {
    let mut rows = BTreeMap::new();
    for id in 0..ROWS {
        let json: Option<String> = connection.get(format!("item:{id}")).await.unwrap();
        let hash: BTreeMap<String, u64> = connection.hgetall(format!("hash:{id}")).await.unwrap();
        let n = json.map(|json| {
            let expected = hash.get("n").map(|n| format!(r#"{{"id":{id},"n":{n}}}"#));
            assert_eq!(Some(&json), expected.as_ref());
            hash["n"]
        });
        assert_eq!(n, hash.get("n").copied());
        rows.extend(n.map(|n| (id, n)));
    }
    rows
}

async fn length(connection: &mut impl AsyncCommands, stream: &str) -> u64 {
    redis::cmd("XLEN").arg(stream).query_async(connection).await.unwrap()
}

const WRITES: &str =
    "set = 'item:{{ PK.id }}'\nhset = 'hash:{{ PK.id }}'\nmaxRequestBytes = '1KiB'";

#[tokio::test]
async fn a_row_never_goes_backwards_whatever_comes_again_or_late() {
    let (server, mut random) = (Server::start(&[]).await, seeded());
    let sink = sink("redis", &format!("url = '{}'\n{WRITES}", server.url()));
    let (events, rows) = history(&mut random);
    give_in_disorder(&sink, &events, &mut random).await;
    assert_eq!(rows_of(&mut server.admin().await).await, rows);
    let figures = sink.figures();
    assert!(figures.conflicts >= 400 && figures.rows > 0 && figures.deletes > 0, "{figures:?}");
}

#[tokio::test]
async fn a_row_never_goes_backwards_in_a_cluster() {
    let (servers, mut random) = (cluster().await, seeded());
    let urls: Vec<String> = servers.iter().map(|server| format!("'{}'", server.url())).collect();
    let toml = format!("url = [{}]\ncluster = true\n{WRITES}", urls.join(","));
    let more = "delete = 'cache:{{ PK.id }}'\npublish = 'c'\nxadd = 'x:{{ PK.id }}'\nmaxLength = 3";
    let sink = sink("redis", &format!("{toml}\n{more}"));
    let client = ClusterClient::new([servers[0].url()]).unwrap();
    let mut cluster = client.get_async_connection().await.unwrap();
    for id in 0..ROWS {
        let _: () = cluster.set(format!("cache:{id}"), 1).await.unwrap();
    }
    let (events, rows) = history(&mut random);
    give_in_disorder(&sink, &events, &mut random).await;
    assert_eq!(rows_of(&mut cluster).await, rows);
    for id in 0..ROWS {
        assert!(!cluster.exists::<_, bool>(format!("cache:{id}")).await.unwrap());
        assert!(length(&mut cluster, &format!("x:{id}")).await > 0);
    }
}

#[tokio::test]
async fn an_update_with_some_columns_leaves_the_others_of_a_hash() {
    let server = Server::start(&[]).await;
    let sink = sink("redis", &format!("url = '{}'\nhset = 'h:{{{{ PK.id }}}}'", server.url()));
    let events = [
        change(1, "insert", 7, r#""a":"x","b":2,"c":3"#, None),
        change(2, "update", 7, r#""b":null"#, Some(r#""b":2"#)),
    ];
    assert_eq!(give(&sink, &events).await, Outcome::Done);
    let hash: BTreeMap<String, String> = server.admin().await.hgetall("h:7").await.unwrap();
    let expected = [("a", "x"), ("c", "3"), ("id", "7")];
    assert_eq!(hash, expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
}

#[tokio::test]
async fn cached_keys_go_away_for_the_row_before_and_the_row_now() {
    let server = Server::start(&[]).await;
    let delete = "delete = ['item:{{ PK.id }}', 'list:{{ Data.c }}']";
    let sink = sink("redis", &format!("url = '{}'\n{delete}", server.url()));
    let mut admin = server.admin().await;
    for key in ["item:7", "item:8", "list:a", "list:b", "list:c"] {
        let _: () = admin.set(key, 1).await.unwrap();
    }
    let moved = change(1, "update", 7, r#""c":"b""#, Some(r#""c":"a""#));
    assert_eq!(give(&sink, &[moved]).await, Outcome::Done);
    let mut left: Vec<String> = admin.keys("*").await.unwrap();
    left.sort();
    assert_eq!(left, ["item:8", "list:c"]);
    assert_eq!(sink.figures().deletes, 3);
}

#[tokio::test]
async fn a_row_ends_with_its_time_to_live_and_a_deleted_row_is_remembered() {
    let server = Server::start(&[]).await;
    let set = "set = 'item:{{ PK.id }}'\nttl = '1h'\nrememberDeletes = '2h'";
    let sink = sink("redis", &format!("url = '{}'\n{set}", server.url()));
    let row = change(5, "insert", 7, r#""a":1"#, None);
    let gone = change(6, "delete", 8, "", None);
    assert_eq!(give(&sink, &[row, gone]).await, Outcome::Done);
    let mut admin = server.admin().await;
    let mut within = async |key: &str, from: i64, to: i64| {
        let seconds: i64 = admin.ttl(key).await.unwrap();
        assert!((from..=to).contains(&seconds), "{key}: {seconds}");
    };
    within("item:7", 3500, 3600).await;
    within("{item:7}:seq", 7100, 7200).await;
    within("{item:8}:seq", 7100, 7200).await;
}

#[tokio::test]
async fn messages_tell_the_change_and_streams_are_trimmed() {
    let server = Server::start(&[]).await;
    let to = "publish = 'channel:{table}'\nxadd = 'stream:{table}'\nmaxLength = 100";
    let columns = "columns = { exclude = ['secret'] }";
    let sink = sink("redis", &format!("url = '{}'\n{to}\n{columns}", server.url()));
    let client = redis::Client::open(server.url()).unwrap();
    let mut messages = client.get_async_pubsub().await.unwrap();
    messages.subscribe("channel:item").await.unwrap();
    let events: Vec<Event> =
        (1..=1000).map(|seq| change(seq, "insert", seq, r#""secret":"s""#, None)).collect();
    assert_eq!(give(&sink, &events).await, Outcome::Done);
    let mut stream = messages.on_message();
    let first = futures_util::StreamExt::next(&mut stream).await.unwrap();
    let text: String = first.get_payload().unwrap();
    assert!(
        text.starts_with(r#"{"EvId":"g:1#0","#) && text.contains(r#""Data":{"id":1},"#),
        "{text}"
    );
    let kept = length(&mut server.admin().await, "stream:item").await;
    assert!((100..1000).contains(&kept), "{kept}");
}

#[tokio::test]
async fn a_row_that_does_not_fit_is_named_and_the_others_go_on() {
    let server = Server::start(&[]).await;
    let sink = sink("redis", &format!("url = '{}'\nhset = 'h:{{{{ PK.id }}}}'", server.url()));
    let mut admin = server.admin().await;
    let _: () = admin.set("h:2", "a text").await.unwrap();
    let events: Vec<Event> =
        (1..=3).map(|id| change(id, "update", id, "", Some(r#""n":1"#))).collect();
    let outcome = give(&sink, &events).await;
    let Outcome::Partly { failed, failure } = outcome else { panic!("{outcome:?}") };
    assert_eq!(failed, ["g:2#0"]);
    assert!(failure.said.unwrap().contains("WRONGTYPE"));
    assert!(admin.exists::<_, bool>("h:3").await.unwrap());
}
