//! Handlers that fail, as the status shows them.

use super::*;

/// Of two members the first has the partitions of even numbers, the second the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_does_not_fail_any_more_once_what_failed_has_gone_to_another() {
    let mut site = Site::new().await;
    let keys = site.keys().await;
    let goes = &keys[1];
    let fail = format!(r#"case "$line" in *{goes}-7*) echo false; continue;; esac"#);
    let config = site.config("one", &fail);
    let listener = Listener::new(&config, "test", Arc::new(site.bus.clone())).unwrap();
    let status = listener.status();
    let one = Member::start(|control| listener.run_configured(control));
    eventually("all is committed", async || site.behind().await == 0).await;
    site.append(goes, 7).await;
    eventually("it fails", async || status.report().state == ListenerState::Failing).await;
    let two = site.start("two", ":");
    eventually("the other has done it", async || site.behind().await == 0).await;
    eventually("it is well", async || status.report().state == ListenerState::Running).await;
    assert!(status.report().failing.is_empty());
    two.stop().await;
    one.stop().await;
}
