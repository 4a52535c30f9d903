//! What the commands take and print: flags, JSON with the names of the API, and old names.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::program::Site;

const LISTENER: &str = "[listeners.a]\nstart = 'earliest'\nhandler = 'print'\n";

/// Runs a command to its end; gives its exit code, what it printed and what it logged.
async fn told(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

async fn json_of(command: &mut Command) -> Value {
    let (code, shown, log) = told(command).await;
    serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{code:?} {shown} {log}"))
}

#[tokio::test]
async fn a_config_with_names_of_before_runs_and_is_told_of_once() {
    let site = Site::new().await;
    site.configure(LISTENER);
    let text = std::fs::read_to_string(site.config_file()).unwrap();
    let new = format!("address = '127.0.0.1:{}'", site.api_port);
    assert!(text.contains(&new), "{text}");
    let old = format!("ip = '127.0.0.1'\nport = {}", site.api_port);
    std::fs::write(site.config_file(), text.replace(&new, &old)).unwrap();
    let what = "listen.ip and port are old names that still work";
    let instead = format!("write address = \"127.0.0.1:{}\" instead", site.api_port);

    let mut program = site.run();
    let line = program.logs(&["WARN", what]).await;
    assert!(line.contains(&instead), "{line}");
    program.pid_of("a").await;
    let (code, shown, log) = told(&mut site.command(&["check"])).await;
    assert!(code == Some(0) && log.is_empty(), "{log}");
    assert!(shown.contains(&format!("warn  config: {what}; {instead}\n")), "{shown}");
    let report = json_of(&mut site.command(&["check", "--json"])).await;
    assert_eq!(report["good"], true);
    let warning = json!({ "severity": "warn", "name": "config", "what": what, "remedy": instead });
    assert_eq!(report["findings"][1], warning);
    assert_eq!(report["findings"][2]["name"], "listener a");
    assert_eq!(program.rest_of_log().await.matches(what).count(), 0, "once is enough");
}

#[tokio::test]
async fn json_has_the_names_of_the_api_and_the_config_is_named_before_or_behind_the_verb() {
    let mut site = Site::new().await;
    site.configure(LISTENER);
    site.append(&["x"]).await;
    let program = site.run();
    site.wait_until_committed("a").await;
    program.pid_of("a").await;
    let file = site.config_file();
    let mut before = Command::new(env!("CARGO_BIN_EXE_event-worker"));
    before.arg("-c").arg(&file).args(["status", "--json"]);
    for mut command in [before, site.command(&["status", "--json"])] {
        let shown = json_of(&mut command).await;
        let served = program.call("GET /api/v1/listeners").await.1;
        let names = |value: &Value| {
            let listener = value["listeners"][0].as_object().unwrap();
            listener.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(&shown), names(&served));
        assert_eq!(shown["listeners"][0]["id"], "a");
    }
    let mut shown = json_of(&mut site.command(&["groups", "list", "--json"])).await;
    let members = shown["groups"][0]["members"].take();
    assert!(members[0].as_str().unwrap().starts_with("event-worker a, pid "), "{members}");
    let expected = json!({ "groups": [{
        "name": "dbevents.listener.a", "listener": "a", "inConfig": true, "lag": { "records": 0 },
        "heldBytes": shown["groups"][0]["heldBytes"], "members": null, "waiting": 0,
    }] });
    assert_eq!(shown, expected);
    assert_eq!(program.stop().await, Some(0));
}
