//! Past events beside live ones, on a bus in memory. A part has few rows here.

use super::*;
use crate::{
    full_sync::Target,
    replay::{ReplayCalls, ReplayView, WantedEvents},
};

/// Asks for the events between two offsets.
async fn replay(site: &Site, config: &Config, (from, to): (u64, u64)) -> (ReplayCalls, String) {
    let calls = ReplayCalls::new(Arc::new(site.bus.clone()));
    let (id, group) = ("test".to_owned(), GROUP.to_owned());
    let target = Target { id, group, subscribe: Vec::new(), takes_full_syncs: true };
    let subscription = config.listener("test").unwrap().subscription("test", &config.bus);
    let wanted = WantedEvents {
        from: from.to_string().parse().unwrap(),
        to: Some(to.to_string().parse().unwrap()),
        table: None,
        key: None,
        force: false,
    };
    let known = calls.start((target, subscription), wanted).await.unwrap();
    (calls, known.replay.id)
}

/// Waits for the end of a replay.
async fn done((calls, id): &(ReplayCalls, String)) -> ReplayView {
    let now = async || ReplayView::from(calls.one(id).await.unwrap());
    eventually("the replay is done", async || now().await.state.word() == "done").await;
    now().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_many_rows_comes_in_parts_without_the_rows_that_have_newer_events() {
    let mut site = Site::with(1).await;
    for key in ["a", "b", "c", "d", "e", "f", "g"] {
        site.append(key, 0).await;
    }
    for key in ["b", "f"] {
        site.append(key, 1).await;
    }
    let config = site.config("one", ":");
    let one = site.start_with(&config);
    eventually("all is committed", async || site.behind().await == 0).await;
    let before = site.handled("one").len();
    let view = done(&replay(&site, &config, (0, 7)).await).await;
    assert_eq!((view.replayed, view.left_out, view.percent), (5, 2, 100.0));
    let mut came = site.handled("one").split_off(before);
    came.sort();
    assert_eq!(came, ["a-0", "c-0", "d-0", "e-0", "g-0"]);
    let text = site.read("one").unwrap();
    assert_eq!(text.matches(r#""Origin":"replay""#).count(), 5);
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_events_that_have_not_gone_out_are_left_out_when_a_live_one_comes() {
    let mut site = Site::with(1).await;
    for number in 0..9 {
        site.append("k", number).await;
    }
    let wait = r#"case "$line" in *'"replay"'*) while ! [ -e go ]; do sleep 0.01; done;; esac"#;
    let mut config = site.config("one", wait);
    config.listeners.get_mut("test").unwrap().workers = 1;
    let listener = Listener::new(&config, "test", Arc::new(site.bus.clone())).unwrap();
    let status = listener.status();
    let one = Member::start(|control| listener.run_configured(control));
    eventually("all is committed", async || site.behind().await == 0).await;
    let before = site.handled("one").len();
    let asked = replay(&site, &config, (0, 9)).await;
    eventually("a past event is out", async || status.report().buffered_events == 1).await;
    site.append("k", 9).await;
    eventually("a live one waits", async || status.report().buffered_events == 2).await;
    fs::write(site.directory.path().join("go"), "").unwrap();
    let view = done(&asked).await;
    assert_eq!((view.replayed, view.left_out), (1, 8));
    assert_eq!(site.handled("one").split_off(before), ["k-0", "k-9"]);
    let counters = status.report().counters;
    assert_eq!((counters.done, counters.replayed, counters.replay_left_out), (10, 1, 8));
    one.stop().await;
}
