//! Several relays on one log, and several of one name.

use std::time::{Duration, Instant};

use super::runner::Site;
use crate::process::DEADLINE;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_relays_of_one_name_on_a_server_one_waits_and_takes_over() {
    let mut site = Site::start().await;
    site.say(&["1"]).await;
    let (first, second) = (site.callback("first"), site.callback("second"));
    let mut active = first.relay("one", &site.reads_server());
    first.gets("1");
    let mut waiting = second.relay("one", &site.reads_server());
    waiting.says("waits: another relay of this name is the active one");
    site.say(&["2"]).await;
    first.gets("2");
    active.kill();
    site.say(&["3"]).await;
    second.gets("3");
    // What the first had may come again when it was killed before its place was saved.
    assert!(second.texts().iter().all(|text| text == "2" || text == "3"), "{:?}", second.texts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_relay_with_the_file_of_a_running_one_is_refused_and_other_names_run_beside() {
    let mut site = Site::start().await;
    site.say(&["1"]).await;
    let callback = site.callback("c");
    let mut first = callback.relay("one", &site.reads_files());
    callback.gets("1");
    let (status, said) = callback.relay("one", &site.reads_files()).ends();
    assert_eq!(status.code(), Some(69), "{said}");
    assert!(said.contains("another process is the relay one already") && said.contains("--state"));
    let other = site.callback("other");
    let _other = other.relay("two", &site.reads_files());
    other.gets("1");
    // Where the docs say; it is saved after the callback.
    let (state, began) = (callback.folder.join("data/event-log-relay/one.json"), Instant::now());
    while !state.exists() {
        assert!(began.elapsed() < DEADLINE, "{} is not there", state.display());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.kill();
    let flags = [site.reads_files(), vec!["--state".into(), state.display().to_string()]].concat();
    let (status, said) = callback.relay("two", &flags).ends();
    assert_eq!(status.code(), Some(69), "{said}");
    assert!(said.contains("holds the place of the relay one on the stream s"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_waits_for_a_server_that_is_away_and_says_so_once() {
    let mut site = Site::start().await;
    site.say(&["1"]).await;
    let callback = site.callback("c");
    let mut relay = callback.relay("one", &site.reads_server());
    callback.gets("1");
    site.server.kill();
    relay.says("the server is away; it is asked again by itself");
    site.restart_server();
    relay.says("the server is there again");
    site.say(&["2"]).await;
    callback.gets("2");
    assert_eq!(relay.said.matches("the server is away").count(), 1, "{}", relay.said);
}
