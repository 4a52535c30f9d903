//! The supervisor, its processes and its API.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::Signal;
use serde_json::Value;

use crate::program::{Site, all_of, eventually, free_port, signal_process};

const FAST_RETRY: &str = "retry = { min = '10ms', max = '50ms' }\n";

fn listener(id: &str, handler: &str) -> String {
    format!("[listeners.{id}]\nstart = 'earliest'\nhandler = {{ {handler} }}\n{FAST_RETRY}")
}

#[tokio::test]
async fn the_supervisor_and_a_listener_may_be_killed_at_any_time_and_nothing_is_lost() {
    let mut site = Site::new().await;
    let recorder = site.recorder("seen", "echo true");
    site.configure(&(listener("a", &recorder) + "workers = 4\nbatchSize = 5\n"));
    let keys: Vec<String> = (0..10).map(|key| format!("k{key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut program = site.run();
    for round in 0..6 {
        for _ in 0..10 {
            site.append(&keys).await;
        }
        // Some are handled, some are not: then the kill.
        let met = 100 * round + 30;
        eventually("the handler goes on", async || site.handled("seen").len() > met).await;
        if round % 2 == 0 {
            signal_process(program.pid_of("a").await, Signal::KILL);
        } else {
            program.kill();
            program.ended().await;
            program = site.run();
        }
    }
    site.wait_until_committed("a").await;
    // The earlier listener may have done it all; then the last one may yet be starting.
    program.pid_of("a").await;
    assert_eq!(program.stop().await, Some(0));
    let handled = site.handled("seen");
    assert_eq!(all_of(&handled), (0..600).collect());
    in_order_per_key(&handled, |id| id % 10);
}

/// The first time that each event is seen, its key's earlier events have all been seen.
fn in_order_per_key(handled: &[u64], key_of: impl Fn(u64) -> u64) {
    let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
    let mut met = std::collections::BTreeSet::new();
    for id in handled.iter().copied().filter(|id| met.insert(*id)) {
        let before = newest.insert(key_of(id), id);
        assert!(before.is_none_or(|before| before < id), "{id} came after {before:?}");
    }
}

#[tokio::test]
async fn a_listener_that_always_fails_says_why_hurts_no_other_and_goes_on_where_it_was() {
    let mut site = Site::new().await;
    let good = site.recorder("good", "echo true");
    let bad = site.recorder("bad", "if [ -e fixed ]; then echo true; else echo false; fi");
    let bad = bad.replace("fixed", &site.path("fixed").display().to_string());
    site.configure(&(listener("good", &good) + &listener("bad", &bad)));
    let program = site.run();
    for _ in 0..20 {
        site.append(&["a", "b", "c"]).await;
    }
    site.wait_until_committed("good").await;
    let view = program.wait_for("bad", |view| view["state"] == "failing").await;
    assert!(view["error"]["message"].as_str().unwrap().contains("answered false"), "{view}");
    assert_eq!(view["failing"][0]["firstEvId"], "e0");
    let other = program.wait_for("good", |view| view["lag"]["records"] == 0).await;
    assert_eq!((&other["state"], &other["retries"]), (&"running".into(), &0.into()));
    assert_eq!(program.call("GET /readyz").await.0, 200);
    let (status, answer) = program.call("GET /api/v1/listeners/bad/ready").await;
    assert_eq!((status, &answer["error"]["code"]), (503, &"service_unavailable".into()));
    std::fs::write(site.path("fixed"), "").unwrap();
    site.wait_until_committed("bad").await;
    program.wait_for("bad", |view| view["state"] == "running").await;
    assert_eq!(all_of(&site.handled("bad")), (0..60).collect());
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_reload_restarts_only_what_changed_and_a_broken_config_changes_nothing() {
    let mut site = Site::new().await;
    let (a, b) = (site.recorder("a", "echo true"), site.recorder("b", "echo true"));
    site.configure(&(listener("same", &a) + &listener("changed", &b)));
    let mut program = site.run();
    let (same, changed) = (program.pid_of("same").await, program.pid_of("changed").await);

    site.configure("[listeners.same]\nworkers = 0\nhandlr = 'print'\n");
    let (status, answer) = program.call("POST /api/v1/reload").await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert_eq!(status, 400);
    assert!(message.contains("workers") && message.contains("handlr"), "{message}");
    assert_eq!(program.pid_of("changed").await, changed);
    // What runs is what was accepted, also after a crash.
    signal_process(changed, Signal::KILL);
    program.wait_for("changed", |view| view["restarts"] == 1 && view["state"] == "running").await;
    let changed = program.pid_of("changed").await;

    let new = listener("same", &a)
        + &listener("changed", &b)
        + "workers = 2\n"
        + &listener("fresh", &site.recorder("fresh", "echo true"));
    site.configure(&new);
    program.signal(Signal::HUP);
    program.logs(&["is reloaded", "fresh", "changed"]).await;
    let restarted = |view: &Value| view["state"] == "running" && view["pid"] != changed;
    program.wait_for("changed", restarted).await;
    assert_eq!(program.pid_of("same").await, same);
    site.append(&["x"]).await;
    for id in ["same", "changed", "fresh"] {
        site.wait_until_committed(id).await;
    }

    site.configure(&listener("same", &a));
    let (status, answer) = program.call("POST /api/v1/reload").await;
    assert_eq!((status, &answer["stopped"]), (200, &serde_json::json!(["changed", "fresh"])));
    assert_eq!(program.call("GET /api/v1/listeners/fresh").await.0, 404);
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_paused_listener_rests_over_restarts_until_it_is_resumed() {
    let mut site = Site::new().await;
    site.configure(&listener("a", &site.recorder("seen", "echo true")));
    let program = site.run();
    program.pid_of("a").await;
    let (status, view) = program.call("POST /api/v1/listeners/a/pause").await;
    assert_eq!((status, &view["paused"]), (200, &true.into()));
    program.wait_for("a", |view| view["state"] == "paused").await;
    assert_eq!(program.stop().await, Some(0));
    site.append(&["x", "y"]).await;

    let program = site.run();
    let view = program.wait_for("a", |view| view["state"] == "paused").await;
    assert_eq!(view["paused"], true);
    program.wait_for("a", |view| view["lag"]["records"].as_u64() >= Some(2)).await;
    assert_eq!(program.call("GET /api/v1/listeners/a/ready").await.0, 200);
    assert!(site.handled("seen").is_empty());
    assert_eq!(program.call("POST /api/v1/listeners/a/resume").await.0, 200);
    site.wait_until_committed("a").await;
    assert_eq!(site.handled("seen"), [0, 1]);
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn without_its_bus_it_waits_says_so_and_goes_on_when_it_is_back() {
    let mut site = Site::new().await;
    site.configure(&listener("a", &site.recorder("seen", "echo true")));
    site.stop_log().await;
    let program = site.run();
    program.wait_for("a", |view| view["state"] == "bus-away").await;
    assert_eq!(program.call("GET /readyz").await.0, 503);
    assert_eq!(program.call("GET /healthz").await.0, 200);
    site.start_log().await;
    site.append(&["x"]).await;
    site.wait_until_committed("a").await;
    site.stop_log().await;
    program.wait_for("a", |view| view["state"] == "bus-away").await;
    site.start_log().await;
    site.append(&["y"]).await;
    site.wait_until_committed("a").await;
    assert_eq!(all_of(&site.handled("seen")), all_of(&[0, 1]));
    eventually("it is ready", async || program.call("GET /readyz").await.0 == 200).await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn the_api_refuses_with_a_code_a_message_and_a_remedy() {
    let site = Site::new().await;
    site.configure(&listener("a", &site.recorder("seen", "echo true")));
    let program = site.run();
    program.pid_of("a").await;
    for (request, status, code) in [
        ("GET /", 400, "bad_request"),
        ("POST /?table=t", 400, "bad_request"),
        ("GET /nothing", 404, "not_found"),
        ("GET /api/v1/listeners/b", 404, "not_found"),
        ("POST /api/v1/listeners/b/pause", 404, "not_found"),
        ("GET /api/v1/listeners/a/pause", 405, "method_not_allowed"),
        ("DELETE /metrics", 405, "method_not_allowed"),
    ] {
        let (found, answer) = program.call(request).await;
        let error = &answer["error"];
        assert_eq!((found, &error["code"]), (status, &code.into()), "{request}: {answer}");
        assert!(error["message"].is_string() && error["remedy"].is_string(), "{request}");
    }
    program.wait_for("a", |view| view["lag"]["records"] == 0).await;
    let (_, metrics) = program.call("GET /metrics").await;
    let metrics = metrics.as_str().unwrap();
    for line in [
        "dbevent_listener_up{listener=\"a\"} 1.0",
        "dbevent_listener_done_total{listener=\"a\"} 0",
        "dbevent_listener_lag_records{listener=\"a\"} 0.0",
        "dbevent_listener_latency_seconds_bucket{le=\"0.001\",listener=\"a\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn status_shows_a_table_and_says_when_nothing_runs() {
    let site = Site::new().await;
    site.configure(&listener("orders", &site.recorder("seen", "echo true")));
    let output = site.command(&["status"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(69));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("no event-worker answers at 127.0.0.1"), "{error}");
    let program = site.run();
    program.pid_of("orders").await;
    let output = site.command(&["status"]).output().await.unwrap();
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..2], ["LISTENER", "STATE"]);
    assert_eq!(rows[1][..2], ["orders", "running"]);
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn what_cannot_start_says_why_and_exits_with_the_documented_code() {
    let site = Site::new().await;
    let ends = async |arguments: &[&str]| {
        let output = site.command(arguments).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, text) = ends(&["run"]).await;
    assert!(code == Some(64) && text.contains("cannot read the file"), "{code:?} {text}");

    site.configure("[listeners.a]\nworkers = 0\nstart = 'full'\n");
    for command in ["run", "check"] {
        let (code, text) = ends(&[command]).await;
        assert_eq!(code, Some(64), "{text}");
        for expected in ["3 mistakes", "listeners.a.workers", "listeners.a.start", "a.handler"] {
            assert!(text.contains(expected), "{command}: {expected} is not in {text}");
        }
    }

    site.configure("[listeners.a]\nhandler = { exec = ['/no/such/program'] }\n");
    let (code, text) = ends(&["listener", "-t", "b"]).await;
    assert!(code == Some(64) && text.contains("listener b is not in"), "{code:?} {text}");
    let (code, text) = ends(&["check"]).await;
    assert!(code == Some(69) && text.contains("\"/no/such/program\" is not an"), "{text}");
    let taken = std::net::TcpListener::bind(("127.0.0.1", site.api_port)).unwrap();
    let (code, text) = ends(&["run"]).await;
    assert!(code == Some(69) && text.contains(&site.api_port.to_string()), "{code:?} {text}");
    drop(taken);
}

#[tokio::test]
async fn a_second_supervisor_on_the_same_directory_is_refused() {
    let mut site = Site::new().await;
    site.configure(&listener("a", &site.recorder("seen", "echo true")));
    let program = site.run();
    program.pid_of("a").await;
    site.api_port = free_port();
    site.configure(&listener("a", &site.recorder("seen", "echo true")));
    let mut second = site.run();
    second.logs(&["another event-worker runs with the directory"]).await;
    assert_eq!(second.ended().await, Some(69));
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_listener_that_only_a_human_can_help_is_stopped_says_why_and_is_tried_rarely() {
    let mut site = Site::new().await;
    site.configure(&listener("a", &site.recorder("seen", "echo true")));
    site.append(&["x"]).await;
    site.append_rubbish().await;
    let mut program = site.run();
    let line = program.logs(&["restart_in", "listener=\"a\"", "ended: exit status: 70"]).await;
    assert!(line.contains("failures=1"), "{line}");
    let view = program.wait_for("a", |view| view["state"] == "stopped").await;
    let error = &view["error"];
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("is not an event that we understand"), "{view}");
    assert!(error["remedy"].as_str().unwrap().contains("is not skipped automatically"), "{view}");
    assert_eq!(program.call("GET /api/v1/listeners/a/ready").await.0, 503);
    program.logs(&["restart_in", "failures=2"]).await;
    assert_eq!(site.handled("seen"), [0], "what stands before it is done, once");
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_record_that_is_not_an_event_is_skipped_by_the_command_that_the_error_names() {
    let mut site = Site::new().await;
    site.configure(&listener("a", &site.recorder("seen", "echo true")));
    site.append(&["x"]).await;
    site.append_rubbish().await;
    site.append(&["y"]).await;
    let program = site.run();
    let view = program.wait_for("a", |view| view["state"] == "stopped").await;
    let remedy = view["error"]["remedy"].as_str().unwrap();
    let command = remedy.split('`').nth(1).unwrap().replace("-t ID", "-t a");
    let skip = async |command: &str| {
        let arguments: Vec<&str> = command.split(' ').skip(1).collect();
        let output = site.command(&arguments).output().await.unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = skip(&format!("{}9", command.trim_end())).await;
    assert!(code == Some(69) && text.contains("only the record that"), "{code:?} {text}");
    let (code, text) = skip(&command).await;
    assert_eq!(code, Some(0), "{text}");
    site.wait_until_committed("a").await;
    assert_eq!(site.handled("seen"), [0, 1], "{command}");
    let (code, text) = skip(&command).await;
    assert!(code == Some(69) && text.contains("only the record that"), "{code:?} {text}");
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_process_that_hangs_is_killed_told_and_replaced_also_when_a_reload_wants_it_to_stop() {
    let mut site = Site::new().await;
    let (a, b) = (site.recorder("a", "echo true"), site.recorder("b", "echo true"));
    site.configure(&(listener("a", &a) + &listener("b", &b)));
    let mut program = site.run();
    let hung = [program.pid_of("a").await, program.pid_of("b").await];
    hung.iter().for_each(|pid| signal_process(*pid, Signal::STOP));
    site.configure(&(listener("a", &a) + &listener("b", &b) + "workers = 2\n"));
    program.signal(Signal::HUP);
    site.append(&["x"]).await;
    program.logs(&["hung: it sent no report for seconds"]).await;
    program.logs(&["hung: it sent no report for seconds"]).await;
    for (id, pid) in ["a", "b"].into_iter().zip(hung) {
        program.wait_for(id, |view| view["state"] == "running" && view["pid"] != pid).await;
        site.wait_until_committed(id).await;
    }
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_listener_comes_back_also_when_the_programs_file_was_replaced() {
    let mut site = Site::new().await;
    let recorder = site.recorder("seen", "echo true");
    site.configure(&listener("a", &recorder));
    let copy = site.path("program");
    std::fs::copy(env!("CARGO_BIN_EXE_event-worker"), &copy).unwrap();
    let program = site.run_copy(&copy);
    let pid = program.pid_of("a").await;
    std::fs::write(site.path("new"), "not a program").unwrap();
    std::fs::rename(site.path("new"), &copy).unwrap();
    signal_process(pid, Signal::KILL);
    site.append(&["x"]).await;
    program.wait_for("a", |view| view["state"] == "running" && view["pid"] != pid).await;
    site.wait_until_committed("a").await;
    let name = std::fs::read_to_string(format!("/proc/{}/comm", program.pid_of("a").await));
    assert_eq!(name.unwrap(), "program\n", "not exe, as the system has it");
}

#[tokio::test]
async fn at_its_life_time_a_listener_is_followed_by_a_new_process() {
    let mut site = Site::new().await;
    let recorder = site.recorder("seen", "echo true");
    site.configure(&(listener("a", &recorder) + "lifeTime = '1100ms'\n"));
    let program = site.run();
    program.wait_for("a", |view| view["restarts"].as_u64() >= Some(2)).await;
    site.append(&["x"]).await;
    site.wait_until_committed("a").await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn the_api_takes_what_its_description_says_and_answers_so() {
    let site = Site::new().await;
    site.configure(&listener("a", &site.recorder("seen", "echo true")));
    let program = site.run();
    program.pid_of("a").await;
    let (status, document) = program.call("GET /api/v1/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (200, &"3.1.0".into()));
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let is_described = operations.get(method.to_lowercase()).is_some();
            let text = format!("{method} {}", path.replace("{id}", "nobody"));
            let (status, answer) = program.call(&text).await;
            assert_eq!(status != 405, is_described, "{text}: {status} {answer}");
        }
    }
    for (request, schema) in [
        ("GET /api/v1/listeners/a", "Listener"),
        ("GET /api/v1/listeners", "ListenerList"),
        ("POST /api/v1/reload", "Reloaded"),
        ("GET /api/v1/full-syncs", "FullSyncList"),
        ("GET /api/v1/listeners/nobody", "Refusal"),
    ] {
        let (_, answer) = program.call(request).await;
        let described = &document["components"]["schemas"][schema]["properties"];
        let names = |of: &Value| -> BTreeSet<String> {
            of.as_object().into_iter().flat_map(|of| of.keys().cloned()).collect()
        };
        assert_eq!(names(&answer), names(described), "{request}");
    }
    assert_eq!(program.stop().await, Some(0));
}
