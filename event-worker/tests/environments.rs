//! A node among nodes of another environment, which the test plays: it writes their entries.

use serde_json::{Value, json};

use crate::program::{Program, Site, eventually};

/// The entry of a node of gray with the listener `a`.
async fn gray_says(site: &Site, beat: u64, version: u64, holds: bool) {
    let offer = json!({ "version": version, "holds": holds, "leaves": false });
    let entry = json!({
        "environment": "gray", "rank": 1, "host": "other", "pid": 1, "life": 1, "beat": beat,
        "leaseMs": 600_000, "listeners": { "a": offer },
    });
    let entry = ("node/other.gray".to_owned(), Some(entry.to_string().into()));
    site.bus().put_control(&[entry]).await.unwrap();
}

/// What the program tells the others of the listener `a`, once it knows of gray.
async fn told(program: &Program) -> Value {
    let mut offer = Value::Null;
    eventually("it knows of gray", async || {
        let (_, view) = program.call("GET /api/v1/versions").await;
        let nodes = view["nodes"].as_array().cloned().unwrap_or_default();
        let ours = nodes.iter().find(|node| node["isThis"] == true).cloned();
        offer = ours.map_or(Value::Null, |ours| ours["listeners"][0].clone());
        nodes.len() == 2 && offer["id"] == "a"
    })
    .await;
    offer
}

fn configure(site: &Site, handler: &str, version: u64) {
    site.configure(&format!(
        "[environment]\nname = 'production'\n[listeners.a]\nstart = 'earliest'\n\
         version = {version}\nhandler = {{ {handler} }}\n"
    ));
}

#[tokio::test]
async fn what_a_killed_supervisor_left_behind_is_held_until_its_calls_have_ended() {
    let mut site = Site::new().await;
    let go = site.path("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done; echo true", go.display());
    configure(&site, &site.recorder("seen", &wait), 1);
    site.append(&["x"]).await;
    let mut program = site.run();
    eventually("the handler is in a call", async || site.handled("seen").len() == 1).await;
    program.kill();
    program.ended().await;
    gray_says(&site, 1, 2, false).await;
    let mut program = site.run();
    program.logs(&["the API is up"]).await;
    let offer = told(&program).await;
    assert_eq!(offer["holds"], true, "a call still runs: {offer}");
    let view = program.wait_for("a", |view| view["state"] == "elsewhere").await;
    let message = view["error"]["message"].as_str().unwrap();
    assert!(message.contains("gray has version 2, production has version 1"), "{message}");
    assert_eq!(program.call("GET /api/v1/listeners/a/ready").await.0, 200);
    std::fs::write(go, "").unwrap();
    eventually("the call has ended", async || told(&program).await["holds"] == false).await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_listener_begins_when_the_other_environment_says_that_it_has_ended() {
    let mut site = Site::new().await;
    configure(&site, &site.recorder("seen", "echo true"), 2);
    site.append(&["x"]).await;
    gray_says(&site, 1, 1, true).await;
    let mut program = site.run();
    program.logs(&["the API is up"]).await;
    let offer = told(&program).await;
    assert_eq!(offer["holds"], true, "it has the greater version: {offer}");
    let view = program.wait_for("a", |view| view["error"].is_object()).await;
    let message = view["error"]["message"].as_str().unwrap();
    assert!(message.contains("has ended at other.gray (gray)"), "{message}");
    assert!(site.handled("seen").is_empty(), "gray still runs it");
    gray_says(&site, 2, 1, false).await;
    site.wait_until_committed("a").await;
    assert_eq!(site.handled("seen"), [0]);
    let output = site.command(&["versions"]).output().await.unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    for part in ["production  2", "production has version 2, gray has version 1", "other.gray"] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    assert_eq!(program.stop().await, Some(0));
}
