//! What an operator does every day: new code of a handler, a retry, a look at the bus, a trial.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    time::timeout,
};

use crate::{
    bus::{PATIENCE, event},
    program::{Site, signal_process},
};

/// A listener whose handler, a shell script, is called for a line each.
fn listener(id: &str, exec: &[&str]) -> String {
    format!("[listeners.{id}]\nstart = 'earliest'\nhandler = {{ exec = {exec:?} }}\n")
}

fn lines(site: &Site, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(site.path(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn call(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let output = site.command(arguments).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn a_script_that_has_changed_is_started_again_before_the_next_batch() {
    let mut site = Site::new().await;
    let (script, out) = (site.path("handler.sh"), site.path("out"));
    let write = |word: &str| {
        let text = format!("while read -r _; do echo {word} >> {}; echo true; done", out.display());
        std::fs::write(&script, text).unwrap();
    };
    write("old");
    site.configure(&listener("a", &["sh", script.to_str().unwrap()]));
    let mut program = site.run();
    site.append(&["x"]).await;
    site.wait_until_committed("a").await;
    write("newer");
    site.append(&["x"]).await;
    site.wait_until_committed("a").await;
    assert_eq!(lines(&site, "out"), ["old", "newer"]);
    program.logs(&["the handler's code has changed", "handler.sh"]).await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn at_resume_and_at_restart_handlers_are_started_again() {
    let mut site = Site::new().await;
    // What it reads at its start is no file of the command.
    let (word, out) = (site.path("word"), site.path("out"));
    let script = format!(
        "word=$(cat {}); while read -r _; do echo $word >> {}; echo true; done",
        word.display(),
        out.display()
    );
    std::fs::write(&word, "one").unwrap();
    site.configure(&listener("a", &["sh", "-c", &script]));
    let program = site.run();
    site.append(&["x"]).await;
    site.wait_until_committed("a").await;

    std::fs::write(&word, "two").unwrap();
    site.append(&["x"]).await;
    site.wait_until_committed("a").await;
    assert_eq!(program.call("POST /api/v1/listeners/a/pause").await.0, 200);
    program.wait_for("a", |view| view["state"] == "paused").await;
    assert_eq!(program.call("POST /api/v1/listeners/a/resume").await.0, 200);
    site.append(&["x"]).await;
    site.wait_until_committed("a").await;
    assert_eq!(lines(&site, "out"), ["one", "one", "two"]);

    std::fs::write(&word, "three").unwrap();
    let first = program.pid_of("a").await;
    let (code, text) = call(&site, &["listener", "restart", "-t", "a"]).await;
    assert!(code == Some(0) && text.contains("restarts as soon as"), "{code:?} {text}");
    program.wait_for("a", |view| view["state"] == "running" && view["pid"] != first).await;
    site.append(&["x"]).await;
    site.wait_until_committed("a").await;
    assert_eq!(lines(&site, "out").last().unwrap(), "three");
    let (code, text) = call(&site, &["listener", "restart", "-t", "b"]).await;
    assert!(code == Some(64) && text.contains("listener b is not in"), "{code:?} {text}");
    assert_eq!(program.stop().await, Some(0));
    let (code, text) = call(&site, &["listener", "restart", "-t", "a"]).await;
    assert!(code == Some(69) && text.contains("no event-worker answers"), "{code:?} {text}");
}

#[tokio::test]
async fn what_waits_after_a_failure_is_tried_now_when_somebody_says_so() {
    let mut site = Site::new().await;
    let fixed = site.path("fixed");
    let script = format!(
        "while read -r _; do if [ -e {} ]; then echo true; else echo false; fi; done",
        fixed.display()
    );
    let retry = "retry = { min = '1h', max = '1h' }\n";
    site.configure(&(listener("a", &["sh", "-c", &script]) + retry));
    let program = site.run();
    site.append(&["x"]).await;
    program.wait_for("a", |view| view["state"] == "failing").await;
    std::fs::write(&fixed, "").unwrap();
    let (code, text) = call(&site, &["listener", "retry", "-t", "a"]).await;
    assert!(code == Some(0) && text.contains("it was failing"), "{code:?} {text}");
    site.wait_until_committed("a").await;
    let view = program.wait_for("a", |view| view["state"] == "running").await;
    assert_eq!((&view["failures"], &view["retries"]), (&1.into(), &1.into()));
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_tail_shows_what_was_and_what_comes_and_leaves_nothing_behind() {
    let mut site = Site::new().await;
    site.configure("");
    site.append(&["x", "y"]).await;
    let arguments = ["tail", "shop.orders", "--from", "earliest"];
    let mut tail = site.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = timeout(PATIENCE, shown.next_line()).await.expect("it shows it").unwrap();
        serde_json::from_str::<Value>(&line.expect("it goes on")).unwrap()
    };
    assert_eq!((&next().await["EvId"], &next().await["EvId"]), (&"e0".into(), &"e1".into()));
    site.append(&["z"]).await;
    let third = next().await;
    assert_eq!(
        (&third["EvId"], &third["Bus"]["topic"]),
        (&"e2".into(), &"dbevents.shop.orders".into())
    );
    assert!(site.bus().groups().await.unwrap().is_empty(), "no group is there");
    tail.kill().await.unwrap();

    let mut other = site.command(&["tail", "shop.other", "--from", "earliest"]);
    let mut other = other.stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = BufReader::new(other.stdout.take().unwrap()).lines();
    let nothing = timeout(std::time::Duration::from_millis(300), shown.next_line()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    other.kill().await.unwrap();
}

#[tokio::test]
async fn a_tail_ends_after_its_count_at_the_end_and_when_nobody_reads() {
    let mut site = Site::new().await;
    site.configure("");
    site.append(&["x", "y"]).await;
    let shown = async |more: &[&str]| {
        let arguments = [&["tail"], more].concat();
        let output = timeout(PATIENCE, site.command(&arguments).output()).await;
        let output = output.expect("it ends").unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    let all = ["--from", "earliest"];
    assert_eq!(shown(&[&all[..], &["--count", "1"]].concat()).await, 1);
    assert_eq!(shown(&[&all[..], &["--until-end"]].concat()).await, 2);
    assert_eq!(shown(&[&all[..], &["--until-end", "--count", "1"]].concat()).await, 1);
    assert_eq!(shown(&[&all[..], &["shop.other", "--until-end"]].concat()).await, 0);
    assert_eq!(shown(&["--until-end"]).await, 0);

    let mut tail = site.command(&["tail", "--from", "earliest"]);
    let mut tail = tail.stdout(Stdio::piped()).spawn().unwrap();
    let mut read = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert!(read.next_line().await.unwrap().is_some());
    drop(read);
    let ended = timeout(PATIENCE, tail.wait()).await.expect("it ends though nothing comes");
    assert_eq!(ended.unwrap().code(), Some(0));
}

#[tokio::test]
async fn commands_that_need_only_the_bus_need_no_secrets_of_handlers() {
    let mut site = Site::new().await;
    let secret = "env = 'DBEVENT_NOT_SET'";
    let hook = format!(
        "handler = {{ http = 'http://127.0.0.1:1', hmacSecret = {{ {secret} }}, proxy = {{ \
         {secret} }}, caFile = '/no/such.pem', headers = {{ a = {{ {secret} }} }} }}\n"
    );
    let program = listener("own", &["sh", "-c", "read -r _; echo true"]);
    site.configure(&format!("[listeners.a]\n{hook}[listeners.b]\n{hook}{program}"));
    site.append(&["x"]).await;
    for arguments in [
        &["tail", "--from", "earliest", "--count", "1"][..],
        &["groups", "list"],
        &["listener", "reset", "-t", "a", "--to", "earliest", "--dry-run"],
        &["listener", "reset", "-t", "a", "--to", "earliest"],
    ] {
        let (code, text) = call(&site, arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
    }
    let skip = ["skip", "-t", "a", "--topic", "dbevents", "--partition", "0", "--offset", "0"];
    let (code, text) = call(&site, &[&["listener"], &skip[..]].concat()).await;
    assert_eq!(code, Some(0), "{text}");
    let mut trial = site.command(&["try", "-t", "own"]);
    let mut trial =
        trial.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    trial.stdin.take().unwrap().write_all(event(0, "x", "insert").as_bytes()).await.unwrap();
    let output = trial.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (code, text) = call(&site, &["run"]).await;
    assert!(code == Some(64) && text.contains("DBEVENT_NOT_SET is not set"), "{code:?} {text}");

    site.configure(
        &format!("[listeners.a]\n{hook}[listeners.b]\n{hook}{program}")
            .replace("caFile = '/no/such.pem', ", ""),
    );
    let (code, text) = call(&site, &["check"]).await;
    assert_eq!(code, Some(69), "{text}");
    let missing: Vec<&str> = text.lines().filter(|line| line.contains("is not set")).collect();
    assert!(missing.len() == 1 && missing[0].contains("and 5 more"), "{text}");
    assert!(text.contains("ok    listener own: calls "), "it goes on with the rest: {text}");
}

#[tokio::test]
async fn a_program_outlives_whoever_reads_its_log() {
    let mut site = Site::new().await;
    site.configure(&listener("a", &["sh", "-c", "while read -r line; do echo true; done"]));
    let mut command = site.command(&["run"]);
    let mut program = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(program.stderr.take());
    site.append(&["x"]).await;
    site.wait_until_committed("a").await;
    signal_process(program.id().unwrap(), Signal::TERM);
    let ended = timeout(PATIENCE, program.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_trial_calls_the_handler_once_and_says_what_its_answer_means() {
    let mut site = Site::new().await;
    let seen = site.path("seen");
    let answer = r#"case "$line" in *e7*) echo '{"failed":["e7"]}';; *e8*) echo nonsense;; *) echo true;; esac"#;
    let script = format!(
        "while IFS= read -r line; do printf '%s\\n' \"$line\" >> {}; {answer}; done",
        seen.display()
    );
    site.configure(&listener("a", &["sh", "-c", &script]));
    let try_with = async |input: String| {
        let mut command = site.command(&["try", "-t", "a"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let one = |id| event(id, "k", "insert");
    let (code, text) = try_with(format!("[{},{}]", one(1), one(2))).await;
    assert!(code == Some(0) && text.contains("done: 2 events"), "{code:?} {text}");
    assert_eq!(site.handled("seen"), [1, 2]);
    let (code, text) = try_with(format!("{}\n{}\n", one(6), one(7))).await;
    assert!(code == Some(69) && text.contains(": e7; the others are done"), "{code:?} {text}");
    let (code, text) = try_with(one(8)).await;
    assert!(code == Some(69) && text.contains("failed: "), "{code:?} {text}");
    let (code, text) = try_with("[]".to_owned()).await;
    assert!(code == Some(64) && text.contains("no event in it"), "{code:?} {text}");
    let (code, text) = try_with("rubbish".to_owned()).await;
    assert!(code == Some(64) && text.contains("not a batch"), "{code:?} {text}");
    site.append(&["x"]).await;
    assert!(site.bus().groups().await.unwrap().is_empty(), "the bus was left alone");
}
