//! Callbacks that fail, that fail in part, and that are stopped; and what they are given.

use event_log::proto::{Header, NewRecord};

use super::runner::{Site, wait_until};
use crate::process::record;

#[tokio::test(flavor = "multi_thread")]
async fn no_relay_goes_past_a_callback_that_fails() {
    let mut site = Site::start().await;
    site.say(&["1", "2", "3"]).await;
    for (name, flags) in [("server", site.reads_server()), ("files", site.reads_files())] {
        let callback = site.callback(name);
        callback.write("answer", "false\n");
        let mut relay = callback.relay(name, &flags);
        relay.says("the callback failed; nothing after these records is given");
        wait_until("the second try", || callback.batches("refused").len() > 1);
        let refused = callback.batches("refused");
        assert!(refused.iter().all(|batch| batch[0]["payload"] == "1"), "{refused:?}");
        assert_eq!(callback.texts(), Vec::<String>::new());
        callback.remove("answer");
        callback.gets("3");
        relay.says("the callback works again");
        assert_eq!(callback.texts(), ["1", "2", "3"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_named_come_again_before_anything_later() {
    let mut site = Site::start().await;
    let keyed = |key: &'static str, text: &'static str| NewRecord {
        r#type: 1000,
        key: key.into(),
        ..record(text.into())
    };
    let first = site
        .append(vec![keyed("a", "a1"), keyed("b", "b1"), keyed("c", "c1"), keyed("b", "b2")])
        .await;
    let callback = site.callback("partly");
    callback.write("answer", &format!("{{\"failed\":[\"{}\"]}}\n", first + 1));
    let mut relay = callback.relay("partly", &site.reads_server());
    relay.says("the handler says that 1 of its events failed");
    site.say(&["later"]).await;
    wait_until("the second try", || callback.batches("refused").len() > 1);
    relay.kill();
    callback.remove("answer");
    // What was done before the first that failed is saved.
    let _relay = callback.relay("partly", &site.reads_server());
    callback.gets("later");
    let refused = callback.batches("refused");
    let texts = |at: usize| {
        let batch = refused[at].iter();
        batch.map(|event| event["payload"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((texts(0), texts(1)), (vec!["a1", "b1", "c1", "b2"], vec!["b1", "b2"]));
    assert_eq!(callback.texts(), ["b1", "c1", "b2", "later"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_the_running_call_and_its_place_is_kept() {
    let mut site = Site::start().await;
    site.say(&["1"]).await;
    for (name, flags) in [("server", site.reads_server()), ("files", site.reads_files())] {
        let callback = site.callback(name);
        callback.write("hold", "");
        let mut relay = callback.relay(name, &flags);
        wait_until("the call", || callback.has("begun"));
        relay.term();
        relay.says("stopping: work that has begun is finished first");
        callback.remove("hold");
        let (status, said) = relay.ends();
        assert!(status.success() && said.contains("stopped; its place is saved"), "{said}");
        assert_eq!(callback.texts(), ["1"]);
    }
    site.say(&["2"]).await;
    for (name, flags) in [("server", site.reads_server()), ("files", site.reads_files())] {
        let callback = site.callback(name);
        let _relay = callback.relay(name, &flags);
        callback.gets("2");
        assert_eq!(callback.texts(), ["1", "2"], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_gives_what_is_asked_for_from_where_it_is_told() {
    let mut site = Site::start().await;
    let kind = |kind: u32, topic: &str, text: &str| NewRecord {
        r#type: kind,
        topic: topic.to_owned(),
        headers: vec![Header { name: "h".into(), value: "v".into() }],
        ..record(text.to_owned().into())
    };
    let first = site
        .append(vec![kind(1000, "a.x", "1"), kind(1201, "a.y", "2"), kind(1000, "b", "3")])
        .await;
    let callback = site.callback("probe");
    let _relay = callback.relay("probe", &site.reads_server());
    callback.gets("3");
    let event = callback.batches("out")[0][0].clone();
    assert_eq!((&event["EvId"], &event["offset"]), (&first.to_string().into(), &first.into()));
    assert_eq!((&event["topic"], &event["headers"][0]["value"]), (&"a.x".into(), &"v".into()));
    let (origin, time) = (event["origin"].to_string(), event["time"].as_str().unwrap().to_owned());
    let third = (first + 2).to_string();
    let choices: [(&[&str], &[&str]); 9] = [
        (&["--topic", r"a\..*"], &["1", "2", "4"]),
        (&["--type", "1000"], &["1", "3", "4"]),
        (&["--topic", "b", "--topic", "a.y"], &["2", "3"]),
        (&["--origin", &origin], &["1", "2", "3", "4"]),
        (&["--not-origin", "1"], &["1", "2", "3", "4"]),
        (&["--start", &third], &["3", "4"]),
        (&["--start", &time], &["1", "2", "3", "4"]),
        (&["--start", &time[..10]], &["1", "2", "3", "4"]),
        (&["--start", "latest"], &["4"]),
    ];
    let mut running = Vec::new();
    for (source, flags) in [("server", site.reads_server()), ("files", site.reads_files())] {
        for (at, (choice, expected)) in choices.iter().enumerate() {
            let name = format!("{source}-{at}");
            let choice = choice.iter().map(|flag| (*flag).to_owned());
            let flags: Vec<String> = flags.iter().cloned().chain(choice).collect();
            let callback = site.callback(&name);
            let mut relay = callback.relay(&name, &flags);
            relay.says("relays");
            running.push((callback, relay, *expected));
        }
        let name = format!("{source}-without");
        let own = ["--not-origin".to_owned(), origin.clone()];
        let flags: Vec<String> = flags.iter().cloned().chain(own).collect();
        let callback = site.callback(&name);
        let mut relay = callback.relay(&name, &flags);
        relay.says("relays");
        running.push((callback, relay, &[]));
    }
    site.append(vec![kind(1000, "a.x", "4")]).await;
    for (callback, relay, expected) in running {
        if let Some(last) = expected.last() {
            callback.gets(last);
        }
        assert_eq!(callback.texts(), expected, "{}", callback.folder.display());
        drop(relay);
    }
}
