//! Handlers that misbehave: each time a retry, never a loss.

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt, net::TcpListener, sync::mpsc, time::timeout};

use crate::{
    bus::PATIENCE,
    http::{Request, read_request},
    program::{Program, Site, all_of},
};

const FAST_RETRY: &str = "retry = { min = '10ms', max = '50ms' }\n";

/// Runs a listener whose handler does `then` with its first batch, and answers `true` afterwards;
/// gives what the log said about it.
async fn exec_that_first(then: &str, reason: &str) {
    let mut site = Site::new().await;
    let once = site.path("once").display().to_string();
    let act = format!("if [ -e {once} ]; then echo true; else touch {once}; {then}; fi");
    let recorder = site.recorder("seen", &act);
    site.configure(&format!(
        "[listeners.a]\nstart = 'earliest'\n{FAST_RETRY}\
         handler = {{ {recorder}, timeout = '700ms' }}\n"
    ));
    site.append(&["x", "y"]).await;
    let mut program = site.run();
    program.logs(&["the handler failed", reason, "first_event=\"e0\""]).await;
    site.append(&["z"]).await;
    site.wait_until_committed("a").await;
    let handled = site.handled("seen");
    assert_eq!(all_of(&handled), (0..3).collect(), "{then}");
    let again = handled.iter().filter(|id| **id == 1).count();
    assert!(again > 1, "nothing of the first batch counts as done: {then}, {handled:?}");
    program.wait_for("a", |view| view["state"] == "running").await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_process_that_says_false_is_asked_again() {
    exec_that_first("echo false", "answered false").await;
}

#[tokio::test]
async fn a_process_that_says_that_its_own_service_is_away_is_asked_again() {
    let away = r#"echo "{\"unavailable\":\"mail is down\"}""#;
    exec_that_first(away, "works on is away\" said=\"mail is down\"").await;
}

#[tokio::test]
async fn a_process_gets_the_events_that_its_condition_chooses() {
    let mut site = Site::new().await;
    let recorder = site.recorder("seen", "echo true");
    site.configure(&format!(
        "[listeners.a]\nstart = 'earliest'\n\
         handler = {{ {recorder}, where = \"Data.id != 'y'\", actions = ['insert'] }}\n"
    ));
    site.append(&["x", "y", "z"]).await;
    let program = site.run();
    site.wait_until_committed("a").await;
    assert_eq!(site.handled("seen"), [0, 2]);
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_process_that_prints_rubbish_is_started_again() {
    exec_that_first("echo got it; echo true; echo true", "that is no answer").await;
    exec_that_first("echo null", "that is no answer").await;
}

#[tokio::test]
async fn a_line_for_each_event_does_not_acknowledge_the_batch_with_the_first_one() {
    exec_that_first("echo true; sleep 0.2; echo true", "more than one line for a batch").await;
}

#[tokio::test]
async fn a_process_that_fails_or_hangs_after_its_answer_has_not_done_its_batch() {
    exec_that_first("echo true; exit 3", "ended with a failure after its answer").await;
    exec_that_first("echo true; sleep 1000", "did not read on within 700ms").await;
}

#[tokio::test]
async fn a_process_that_hangs_is_killed_with_all_that_it_started() {
    exec_that_first("sleep 1000; echo true", "did not answer within 700ms").await;
}

#[tokio::test]
async fn a_process_that_dies_is_started_again() {
    exec_that_first("echo reason >&2; exit 3", "exit status: 3").await;
}

#[tokio::test]
async fn a_process_that_closes_its_output_is_started_again() {
    exec_that_first("exec >&-; sleep 1000", "closed its standard output").await;
}

#[tokio::test]
async fn what_a_process_writes_to_standard_error_is_in_the_log_with_its_listener() {
    let mut site = Site::new().await;
    let recorder = site.recorder("seen", "echo line >&2; printf last >&2; echo true; exit 0");
    site.configure(&format!("[listeners.a]\nstart = 'earliest'\nhandler = {{ {recorder} }}\n"));
    site.append(&["x"]).await;
    let mut program = site.run();
    program.logs(&["INFO", "listener{id=\"a\"}", "line"]).await;
    program.logs(&["INFO", "listener{id=\"a\"}", "last"]).await;
    site.wait_until_committed("a").await;
    assert_eq!(program.stop().await, Some(0));
}

/// Runs a listener with this script on a large batch until the log says that it wrote too early.
async fn exec_that_writes_early(script: &str) -> (Site, Program) {
    let mut site = Site::new().await;
    let key = "k".repeat(2000);
    let keys = vec![key.as_str(); 1000];
    site.configure(&format!(
        "[listeners.a]\nstart = 'earliest'\nbatchSize = 1000\n{FAST_RETRY}\
         handler = {{ exec = ['sh', '-c', '''{script}'''] }}\n"
    ));
    site.append(&keys).await;
    let mut program = site.run();
    program.logs(&["the handler failed", "before it had read its batch", "said=\"true\""]).await;
    (site, program)
}

#[tokio::test]
async fn a_process_that_writes_before_it_has_read_a_large_batch_does_not_lock_up() {
    let script = "head -c 1 > /dev/null; echo true; head -c 300000 > /dev/null; read -r line";
    let (_site, program) = exec_that_writes_early(script).await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_line_that_a_process_writes_at_its_start_acknowledges_nothing() {
    let script = "echo true; while read -r line; do sleep 1000; done";
    let (site, program) = exec_that_writes_early(script).await;
    let view = program.wait_for("a", |view| view["failures"].as_u64() > Some(12)).await;
    assert_eq!(view["done"], 0);
    assert!(site.behind("a").await >= 1000);
    assert_eq!(program.stop().await, Some(0));
}

/// The API's view of a listener whose handler fails so, with these settings.
async fn view_of_failing(act: &str, settings: &str) -> (Site, Program, serde_json::Value) {
    let mut site = Site::new().await;
    let recorder = site.recorder("seen", act);
    site.configure(&format!(
        "[listeners.a]\nstart = 'earliest'\n{settings}{FAST_RETRY}handler = {{ {recorder} }}\n"
    ));
    site.append(&["x", "y"]).await;
    let program = site.run();
    let is_alone = |view: &serde_json::Value| view["failing"][0]["events"] == 1;
    let view = program.wait_for("a", is_alone).await;
    (site, program, view)
}

#[tokio::test]
async fn why_a_handler_fails_and_for_which_event_is_in_log_and_api() {
    let (_site, mut program, view) = view_of_failing("echo trace back >&2; exit 3", "").await;
    program.logs(&["WARN", "handler: ", "trace back"]).await;
    let failing = &view["failing"][0];
    assert_eq!(
        (&failing["said"], &view["error"]["said"]),
        (&"trace back".into(), &failing["said"])
    );
    assert_eq!((&failing["firstEvId"], &failing["topic"]), (&"e0".into(), &"dbevents".into()));
    // Its place is what `skip` takes: then the next one fails.
    let place =
        ["topic", "partition", "offset"].map(|name| (name.to_owned(), failing[name].clone()));
    let body = serde_json::Value::Object(place.into_iter().collect()).to_string();
    let skipped = program.call_with("POST /api/v1/listeners/a/skip", |call| call.body(body)).await;
    assert_eq!((skipped.0, &skipped.1["resets"][0]["from"]), (200, &failing["offset"]));
    program.wait_for("a", |view| view["failing"][0]["firstEvId"] == "e1").await;

    let answer = r#"echo "{\"failed\":true,\"error\":\"no stock\"}""#;
    let (_site, _program, view) = view_of_failing(answer, "").await;
    assert_eq!(view["error"]["said"], "no stock");
}

/// The command to skip an event that an error names, without the program's name.
fn skip_command(of: &serde_json::Value) -> Option<Vec<&str>> {
    let (_, command) = of["remedy"].as_str().unwrap().split_once("event-worker listener skip")?;
    Some(["listener", "skip"].into_iter().chain(command.split_whitespace()).collect())
}

#[tokio::test]
async fn of_several_failing_lanes_only_the_event_that_can_be_skipped_has_the_command() {
    let mut site = Site::new().await;
    site.configure(&format!(
        "[listeners.a]\nstart = 'earliest'\nworkers = 4\n{FAST_RETRY}handler = {{ {} }}\n",
        site.recorder("seen", "echo false")
    ));
    site.append(&["a", "b", "c", "d", "e", "f", "g", "h"]).await;
    let program = site.run();
    let failing = |view: &serde_json::Value| view["failing"].as_array().unwrap().clone();
    for id in ["e0", "e1"] {
        let view = program
            .wait_for("a", |view| {
                let lanes = failing(view);
                let are_alone = lanes.iter().all(|lane| lane["events"] == 1);
                let front = lanes.iter().find(|lane| lane["firstEvId"] == id);
                let is_told = front.is_some_and(|front| skip_command(front).is_some());
                lanes.len() > 1 && are_alone && is_told
            })
            .await;
        let lanes = failing(&view);
        assert_eq!(lanes.iter().filter_map(skip_command).count(), 1, "{view}");
        let command = skip_command(&view["error"]).unwrap_or_else(|| panic!("{view}"));
        let skipped = site.command(&command).output().await.unwrap();
        assert_eq!(skipped.status.code(), Some(0), "{command:?}: {skipped:?}");
    }
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_failure_that_is_not_about_an_event_names_no_command_to_skip_one() {
    for act in ["echo debug", "echo true; echo true"] {
        let (_site, program, _) = view_of_failing(act, "").await;
        let view = program.wait_for("a", |view| view["failures"].as_u64() > Some(9)).await;
        let (lane, error) = (&view["failing"][0], &view["error"]);
        assert_eq!(lane["events"], 1, "{view}");
        assert_eq!((skip_command(lane), skip_command(error)), (None, None), "{view}");
    }
}

#[tokio::test]
async fn the_example_in_shell_keeps_lines_whole_also_with_several_workers() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/handlers/append_changes.sh");
    let mut site = Site::new().await;
    site.configure(&format!(
        "[listeners.a]\nstart = 'earliest'\nworkers = 16\nbatchSize = 1\n\
         handler = {{ exec = ['sh', {example:?}, {:?}], timeout = '60s' }}\n",
        site.path("changes")
    ));
    let keys: Vec<String> = (0..48).map(|key| format!("{key}").repeat(50_000)).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    site.append(&keys).await;
    let program = site.run();
    site.wait_until_committed("a").await;
    assert_eq!(all_of(&site.handled("changes")), (0..48).collect());
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn what_a_handler_says_is_not_shown_where_it_may_hold_rows() {
    let act = "echo secret row >&2; echo other row";
    let (_site, _program, view) = view_of_failing(act, "showOutput = false\n").await;
    assert!(view["error"]["message"].as_str().unwrap().contains("is no answer"), "{view}");
    assert!(!view.to_string().contains("row"), "{view}");
}

#[tokio::test]
async fn a_process_does_not_inherit_our_secrets_and_is_told_what_it_is_for() {
    let mut site = Site::new().await;
    let recorder =
        site.recorder("seen", &format!("env > {}; echo true", site.path("env").display()));
    site.configure(&format!(
        "[listeners.a]\nstart = 'earliest'\nfullSync = false\n\
         handler = {{ {recorder}, env = {{ GIVEN = {{ env = 'SECRET_OF_A' }} }} }}\n\
         [listeners.b]\nhandler = {{ http = 'http://127.0.0.1:1', hmacSecret = {{ env = 'SECRET_OF_B' }} }}\n"
    ));
    site.append(&["x"]).await;
    let secrets = [("SECRET_OF_A", "1"), ("SECRET_OF_B", "2"), ("PLAIN", "3")];
    let program = site.run_with(&secrets);
    site.wait_until_committed("a").await;
    let text = std::fs::read_to_string(site.path("env")).unwrap();
    let has = |line: &str| text.lines().any(|other| other == line);
    assert!(has("PLAIN=3") && has("GIVEN=1") && has("DBEVENT_LISTENER=a"), "{text}");
    assert!(has("DBEVENT_FULL_SYNC=false") && !text.contains("SECRET_OF"), "{text}");
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_proxy_for_the_outside_is_not_asked_for_a_handler_on_this_machine_but_a_named_one_is() {
    let mut site = Site::new().await;
    let done = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let (direct, mut called) = server(done).await;
    let (proxy, mut asked) = server(done).await;
    site.configure(&format!(
        "[listeners.a]\nstart = 'earliest'\nhandler = {{ http = 'http://127.0.0.1:{direct}/a' }}\n\
         [listeners.b]\nstart = 'earliest'\n\
         handler = {{ http = 'http://handler.invalid/b', proxy = 'http://127.0.0.1:{proxy}' }}\n"
    ));
    site.append(&["x"]).await;
    let program =
        site.run_with(&[("HTTP_PROXY", "http://127.0.0.1:1"), ("http_proxy", "http://[::1]:1")]);
    let call = timeout(PATIENCE, called.recv()).await.expect("the handler is called").unwrap();
    assert!(call.head.starts_with("post /a "), "{}", call.head);
    let call = timeout(PATIENCE, asked.recv()).await.expect("the proxy is asked").unwrap();
    assert!(call.head.starts_with("post http://handler.invalid/b "), "{}", call.head);
    site.wait_until_committed("a").await;
    site.wait_until_committed("b").await;
    assert_eq!(program.stop().await, Some(0));
}

/// A server that gives `first` to its first request, byte by byte as written, then closes; all
/// others get 200. Gives its port and the requests as they come.
async fn server(first: &'static str) -> (u16, mpsc::Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, requests) = mpsc::channel(1000);
    tokio::spawn(async move {
        let mut answer = first;
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(request) = read_request(&mut stream).await else { continue };
            if seen.send(request).await.is_err() {
                return;
            }
            if answer == "hang" {
                let late = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    let _ = stream.write_all(late.as_bytes()).await;
                });
            } else {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        }
    });
    (port, requests)
}

/// Runs a listener against a server that first answers so; the log must give the reason.
async fn http_that_first(answer: &'static str, reason: &str) -> Duration {
    let mut site = Site::new().await;
    let (port, mut requests) = server(answer).await;
    site.configure(&format!(
        "[listeners.a]\nstart = 'earliest'\n{FAST_RETRY}\
         handler = {{ http = 'http://127.0.0.1:{port}/events', timeout = '700ms', \
         headers = {{ x-team = 'search' }}, hmacSecret = 'key' }}\n"
    ));
    site.append(&["x"]).await;
    let mut program = site.run();
    let first = requests.recv().await.unwrap();
    let began = Instant::now();
    program.logs(&["the handler failed", reason]).await;
    let second = requests.recv().await.unwrap();
    let waited = began.elapsed();
    assert_eq!(first.body, second.body, "the same batch comes again");
    for (request, attempt) in [(&first, 1), (&second, 2)] {
        for expected in [
            "post /events http/1.1",
            "content-type: application/json",
            "x-team: search",
            "dbevent-listener: a",
            "dbevent-full-sync-rows: 0",
            "dbevent-signature: t=",
        ] {
            assert!(request.head.contains(expected), "{expected} is not in {}", request.head);
        }
        assert!(request.head.contains(&format!("dbevent-attempt: {attempt}")), "{}", request.head);
    }
    let events: Vec<serde_json::Value> = serde_json::from_slice(&first.body).unwrap();
    assert_eq!((events.len(), &events[0]["EvId"]), (1, &"e0".into()));
    assert_eq!(events[0]["Bus"]["topic"], crate::bus::TOPIC);
    site.wait_until_committed("a").await;
    assert_eq!(program.stop().await, Some(0));
    waited
}

#[tokio::test]
async fn a_server_that_answers_500_or_400_is_called_again() {
    let answer = "HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nno  stock";
    http_that_first(answer, "500 Internal Server Error\" said=\"no  stock\"").await;
    http_that_first("HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n", "400 Bad Request").await;
}

#[tokio::test]
async fn a_server_that_answers_false_is_called_again() {
    http_that_first("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfalse", "answered false").await;
}

#[tokio::test]
async fn a_server_that_says_with_200_that_its_own_service_is_away_is_called_again() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 25\r\n\r\n{\"unavailable\":\"no mail\"}";
    http_that_first(answer, "works on is away\" said=\"no mail\"").await;
}

#[tokio::test]
async fn a_server_that_answers_200_with_the_text_of_its_framework_has_done_it() {
    let mut site = Site::new().await;
    let (port, mut requests) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK").await;
    let handler = format!("handler = {{ http = 'http://127.0.0.1:{port}/' }}\n");
    site.configure(&format!("[listeners.a]\nstart = 'earliest'\n{handler}"));
    site.append(&["x"]).await;
    let program = site.run();
    site.wait_until_committed("a").await;
    assert!(requests.recv().await.is_some() && requests.try_recv().is_err(), "one call");
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_redirect_is_a_failure_that_says_what_to_do() {
    let answer = "HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n";
    http_that_first(answer, "redirects are not followed").await;
}

#[tokio::test]
async fn a_server_that_closes_half_way_is_called_again() {
    http_that_first("", "without a whole answer").await;
    http_that_first("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ntrue", "without a whole answer")
        .await;
}

#[tokio::test]
async fn a_server_that_answers_too_late_is_called_again() {
    http_that_first("hang", "did not answer in time").await;
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_given_the_time() {
    let answer = "HTTP/1.1 503 No\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n";
    let waited = http_that_first(answer, "503").await;
    assert!(waited >= Duration::from_millis(1900), "{waited:?}");
}
