//! Why a listener stands by, as the status shows it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stands_by_says_whether_others_have_all_or_there_is_no_topic() {
    let mut site = Site::with(1).await;
    let start = |name: &str| {
        let config = site.config(name, ":");
        let mut listener = Listener::new(&config, "test", Arc::new(site.bus.clone())).unwrap();
        // As on two machines.
        listener.subscription.client = format!("event-worker on {name}");
        let status = listener.status();
        (Member::start(|control| listener.run_configured(control)), status)
    };
    let says = async |status: &Status, words: &str| {
        eventually("it says why", async || {
            let report = status.report();
            let why = report.standby.unwrap_or_default();
            report.state == ListenerState::Standby && why.contains(words)
        })
        .await;
    };
    let (one, first) = start("one");
    says(&first, "none of its tables has a topic yet").await;
    let (two, second) = start("two");
    site.append("k", 1).await;
    let state = |status: &Status| status.report().state;
    let is_running = || [&first, &second].map(|status| state(status) == ListenerState::Running);
    eventually("one has it", async || is_running().contains(&true)).await;
    let other = if is_running()[0] { &second } else { &first };
    says(other, "other members of the group have all partitions").await;
    one.stop().await;
    two.stop().await;
}
