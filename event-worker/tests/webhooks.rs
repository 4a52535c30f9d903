//! Requests that are made of events by templates.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpListener, sync::mpsc, time::timeout};

use crate::{
    bus::PATIENCE,
    http::{Request, read_request},
    program::Site,
};

const DONE: &str = "200 OK";
const FAST_RETRY: &str = "retry = { min = '10ms', max = '50ms' }\n";

/// A server that answers to the n-th request as `answer` says: a status and more headers. Gives its
/// port and the requests as they come.
async fn server(answer: impl Fn(usize) -> &'static str + Send + 'static) -> (u16, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, requests) = mpsc::channel(1000);
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(request) = read_request(&mut stream).await else { continue };
            let answer = answer(number);
            number += 1;
            if seen.send(request).await.is_err() {
                return;
            }
            let rest = "connection: close\r\ncontent-length: 8\r\n\r\nno stock";
            let answer = format!("HTTP/1.1 {answer}\r\n{rest}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, Requests(requests))
}

struct Requests(mpsc::Receiver<Request>);

impl Requests {
    async fn next(&mut self) -> Request {
        timeout(PATIENCE, self.0.recv()).await.expect("a request comes in time").unwrap()
    }

    /// The first lines of the next requests, without the version.
    async fn lines<const N: usize>(&mut self) -> [String; N] {
        let mut lines = std::array::from_fn(|_| String::new());
        for line in &mut lines {
            let head = self.next().await.head;
            *line = head.split(" http/1.1").next().unwrap().to_owned();
        }
        lines
    }
}

/// A site with the listener `a`, whose handler has these keys.
fn configure(site: &Site, port: u16, keys: &str) {
    site.configure(&format!(
        "[listeners.a]\nstart = 'earliest'\n{FAST_RETRY}\
         handler = {{ http = {{ url = 'http://127.0.0.1:{port}/{{table}}/{{{{ PK.id }}}}', \
         per = 'event', {keys} }} }}\n"
    ));
}

#[tokio::test]
async fn an_event_that_is_refused_is_named_and_only_its_key_waits() {
    let mut site = Site::new().await;
    let refused = "422 No\r\nx: y";
    let (port, mut requests) = server(move |number| if number < 3 { refused } else { DONE }).await;
    let body = "body = { text = '{{ PK.id }} of {schema}', nested = [{ id = '{{ EvId }}' }] }";
    let headers = "headers = { Key = '{{ EvId }}', B = 'c' }";
    configure(&site, port, &format!("method = 'PUT', {headers}, {body}"));
    // They are there before the listener starts, and so come in one batch. The first three requests
    // are refused.
    site.append(&["x", "a/b", "y", "x", "z"]).await;
    let mut program = site.run();
    let request = requests.next().await;
    for expected in ["put /orders/x http/1.1", "key: e0", "b: c", "content-type: application/json"]
    {
        assert!(request.head.contains(expected), "{expected} is not in {}", request.head);
    }
    let expected = json!({ "text": "x of shop", "nested": [{ "id": "e0" }] });
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&request.body).unwrap(), expected);
    // The second event of the key x is not sent before the first one is done.
    let first: [String; 3] = requests.lines().await;
    assert_eq!(first, ["put /orders/a%2fb", "put /orders/y", "put /orders/z"]);
    let line = program.logs(&["the handler failed"]).await;
    for expected in [
        "the handler answered 422 Unprocessable Entity (and refused 2 more events)",
        "said=\"no stock\"",
        "first_event=\"e0\"",
        "correct the handler's templates",
    ] {
        assert!(line.contains(expected), "{expected} is not in {line}");
    }
    let again: [String; 4] = requests.lines().await;
    assert_eq!(again, ["put /orders/x", "put /orders/a%2fb", "put /orders/y", "put /orders/x"]);
    site.wait_until_committed("a").await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_server_that_asks_to_wait_gets_no_more_events_until_then() {
    let mut site = Site::new().await;
    let busy = "429 Wait\r\nretry-after: 2";
    let (port, mut requests) = server(move |number| if number == 1 { busy } else { DONE }).await;
    configure(&site, port, "method = { insert = 'PURGE' }");
    site.append(&["x", "y", "z"]).await;
    let mut program = site.run();
    let first: [String; 2] = requests.lines().await;
    assert_eq!(first, ["purge /orders/x", "purge /orders/y"]);
    let began = Instant::now();
    let line = program.logs(&["the handler failed"]).await;
    assert!(line.contains("the server asks for fewer calls"), "{line}");
    let then: [String; 2] = requests.lines().await;
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
    assert_eq!(then, ["purge /orders/y", "purge /orders/z"]);
    site.wait_until_committed("a").await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn an_event_of_which_no_request_can_be_made_says_what_it_lacks_and_can_be_skipped() {
    let mut site = Site::new().await;
    let (port, mut requests) = server(|_| DONE).await;
    let template = "{{ Data['id' if PK.id == 'y' else 'n'] }}";
    configure(&site, port, &format!("body = {{ n = \"{template}\" }}"));
    site.append(&["x", "y"]).await;
    let program = site.run();
    let view = program
        .wait_for("a", |view| {
            let remedy = view["error"]["remedy"].as_str().unwrap_or_default();
            remedy.contains("event-worker listener skip -t a")
        })
        .await;
    let failing = &view["failing"][0];
    assert_eq!(failing["error"], "no request can be made of the event");
    assert!(failing["said"].as_str().unwrap().starts_with("body.n: undefined value"), "{view}");
    // The other event was sent.
    assert_eq!(requests.lines::<1>().await, ["post /orders/y"]);
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_batch_becomes_one_request_and_its_status_alone_counts() {
    let mut site = Site::new().await;
    let (port, mut requests) = server(|_| "409 Known").await;
    let template = "{% for event in Events %}{\"id\":{{ event.PK.id }},\"by\":{{ Secrets.key }}}\n\
                    {% endfor %}";
    site.configure(&format!(
        "[listeners.a]\nstart = 'earliest'\n[listeners.a.handler]\n\
         http = 'http://127.0.0.1:{port}/x'\ncontentType = 'application/x-ndjson'\n\
         alsoDone = [409]\nsecrets = {{ key = 'k' }}\nhmacSecret = 's'\nbody = '''{template}'''\n"
    ));
    site.append(&["x", "y"]).await;
    let program = site.run();
    let request = requests.next().await;
    assert!(request.head.contains("content-type: application/x-ndjson"), "{}", request.head);
    assert!(request.head.contains("dbevent-signature: t="), "{}", request.head);
    let lines = "{\"id\":\"x\",\"by\":\"k\"}\n{\"id\":\"y\",\"by\":\"k\"}\n";
    assert_eq!(String::from_utf8(request.body).unwrap(), lines);
    site.wait_until_committed("a").await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_server_that_closes_connections_is_away_and_the_next_try_is_told() {
    let mut site = Site::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let closing = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(read_request(&mut stream).await);
        }
    });
    site.configure(&format!(
        "[listeners.a]\nstart = 'earliest'\nretry = {{ min = '10ms', max = '1h', factor = 60 }}\n\
         handler = {{ http = 'http://127.0.0.1:{port}/x' }}\n"
    ));
    site.append(&["x"]).await;
    let program = site.run();
    let view = program.wait_for("a", |view| view["failing"][0]["attempts"] == 3).await;
    let failing = &view["failing"][0];
    let error = failing["error"].as_str().unwrap();
    assert!(error.contains("closed the connection without a whole answer"), "{view}");
    let remedy = failing["remedy"].as_str().unwrap();
    assert!(remedy.contains("why it closes the connection") && !remedy.contains("skip"), "{view}");
    let wait = failing["nextTryMs"].as_u64().unwrap() - failing["sinceMs"].as_u64().unwrap();
    assert!(wait > 10_000, "{view}");
    let status = site.command(&["status"]).output().await.unwrap();
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(text.contains("; next try in ") && !text.contains("listener skip"), "{text}");
    closing.abort();
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_check_says_that_a_server_does_not_let_us_in() {
    for (answer, is_good) in [("401 No", false), ("405 No", true)] {
        let site = Site::new().await;
        let (port, mut requests) = server(move |_| answer).await;
        configure(&site, port, "headers = { Authorization = 'wrong' }");
        let checked = site.command(&["check"]).output().await.unwrap();
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        let says = text.contains("401 Unauthorized, when it is asked with HEAD");
        assert_eq!(says, !is_good, "{text}");
        assert!(is_good || text.contains("correct `headers` of the handler"), "{text}");
        let request = requests.next().await;
        let asks =
            request.head.starts_with("head /") && request.head.contains("authorization: wrong");
        assert!(asks && request.body.is_empty(), "{}", request.head);
    }
}
