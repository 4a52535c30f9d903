//! What the commands take and print: flags, JSON with the names of the API, and names of before.

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
