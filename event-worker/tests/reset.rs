//! `event-worker listener reset`, with and without a supervisor.

use crate::program::{Site, eventually};

fn listener(id: &str, recorder: &str) -> String {
    format!("[listeners.{id}]\nstart = 'earliest'\nhandler = {{ {recorder} }}\n")
}

/// Runs a reset; gives the exit code and all that it printed.
async fn reset(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments = [&["listener", "reset"], arguments].concat();
    let output = site.command(&arguments).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// The row that a reset printed, without the partition's name.
fn row(text: &str) -> Vec<String> {
    let row = text.lines().find(|line| line.starts_with("dbevents ")).unwrap_or_default();
    row.split_whitespace().skip(1).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_running_listener_is_reset_by_its_supervisor_while_the_others_go_on() {
    let mut site = Site::new().await;
    let (a, b) = (site.recorder("a", "echo true"), site.recorder("b", "echo true"));
    site.configure(&(listener("a", &a) + &listener("b", &b)));
    let program = site.run();
    let (first, other) = (program.pid_of("a").await, program.pid_of("b").await);
    site.append(&["x", "y"]).await;
    site.wait_until_committed("a").await;
    site.wait_until_committed("b").await;
    let end = site.end_of("a").await.to_string();

    let (code, text) = reset(&site, &["-t", "a", "--to", "earliest", "--dry-run"]).await;
    assert!(code == Some(0) && text.contains("nothing is changed"), "{code:?} {text}");
    assert_eq!(row(&text), ["0", &end, "0"], "{text}");
    assert_eq!(program.pid_of("a").await, first, "a dry run stops nothing");

    let (code, text) = reset(&site, &["-t", "a", "--to", "earliest"]).await;
    assert_eq!((code, row(&text)), (Some(0), vec!["0".into(), end, "0".into()]), "{text}");
    eventually("all is handled again", async || site.handled("a").len() == 4).await;
    assert_eq!(site.handled("a"), [0, 1, 0, 1]);
    assert_ne!(program.pid_of("a").await, first);
    assert_eq!((program.pid_of("b").await, site.handled("b")), (other, vec![0, 1]));

    let (status, answer) = program.call("POST /api/v1/listeners/none/reset").await;
    assert_eq!((status, &answer["error"]["code"]), (404, &"not_found".into()));
    let (status, answer) = program.call("POST /api/v1/listeners/a/reset").await;
    assert_eq!(status, 400, "{answer}");
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_paused_listener_skips_what_waits_when_it_is_reset_to_the_latest() {
    let mut site = Site::new().await;
    site.configure(&listener("a", &site.recorder("a", "echo true")));
    let program = site.run();
    program.pid_of("a").await;
    program.call("POST /api/v1/listeners/a/pause").await;
    site.append(&["x", "y"]).await;
    let (code, text) = reset(&site, &["-t", "a", "--to", "latest"]).await;
    assert_eq!(code, Some(0), "{text}");
    let view = program.wait_for("a", |view| view["state"] == "paused").await;
    assert_eq!(view["paused"], true);
    program.call("POST /api/v1/listeners/a/resume").await;
    site.append(&["z"]).await;
    site.wait_until_committed("a").await;
    assert_eq!(site.handled("a"), [2]);
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn without_a_supervisor_the_bus_is_asked_and_refuses_while_a_member_is_active() {
    let mut site = Site::new().await;
    site.configure(&listener("a", &site.recorder("a", "echo true")));
    site.append(&["x", "y"]).await;
    let (code, text) = reset(&site, &["-t", "a", "--to", "99"]).await;
    let end = site.end_of("a").await.to_string();
    assert_eq!((code, row(&text)), (Some(0), vec!["0".into(), "-".into(), end.clone()]), "{text}");

    let mut alone = site.command(&["listener", "-t", "a"]).spawn().unwrap();
    site.append(&["z"]).await;
    site.wait_until_committed("a").await;
    assert_eq!(site.handled("a"), [2]);
    let (code, text) = reset(&site, &["-t", "a", "--to", "0"]).await;
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains("members of group") && text.contains("stop it wherever"), "{text}");
    assert_eq!(site.behind("a").await, 0);
    alone.kill().await.unwrap();

    let (code, text) = reset(&site, &["-t", "a", "--to", "0"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(row(&text)[2], "0");
    let (code, text) = reset(&site, &["-t", "b", "--to", "0"]).await;
    assert!(code == Some(64) && text.contains("listener b is not in"), "{text}");
    let (code, text) = reset(&site, &["-t", "a", "--to", "then"]).await;
    assert!(code == Some(64) && text.contains("earliest, latest"), "{text}");
}
