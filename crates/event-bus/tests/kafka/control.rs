//! The topic of the control table, when somebody deletes it.

use std::time::Duration;

use bytes::Bytes;
use event_bus::{Control, ControlChange};

use super::{
    Admin, bus, config_at, new_prefix,
    proxy::{FETCH, Proxy},
};

const PATIENCE: Duration = Duration::from_mins(3);

fn entry(key: &str) -> ControlChange {
    (key.to_owned(), Some(Bytes::from_static(b"value")))
}

/// Listens until this comes. Trouble meanwhile passes.
async fn hear(control: &mut dyn Control, wanted: &ControlChange) {
    let heard = async {
        loop {
            match control.changes().await {
                Ok(changes) if changes.contains(wanted) => return,
                Ok(_) => {}
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("it comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_hears_on_after_the_topic_was_deleted_and_made_again() {
    let prefix = new_prefix();
    let bus = bus(&prefix, 1);
    let proxy = Proxy::start().await;
    let behind = event_bus::open(&config_at(proxy.address(), &prefix, 1)).unwrap();
    let mut control = behind.control().await.unwrap();
    for number in 0..3 {
        bus.put_control(&[entry(&format!("before-{number}"))]).await.unwrap();
    }
    hear(&mut *control, &entry("before-2")).await;
    proxy.hold(&[FETCH]);
    Admin::new().delete(&format!("{prefix}.control")).await;
    // The new topic grows past the place at which the old one was read.
    let after: Vec<ControlChange> =
        (0..30).map(|number| entry(&format!("after-{number}"))).collect();
    let again = async {
        while bus.put_control(&after).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("the topic is made again");
    proxy.hold(&[]);
    hear(&mut *control, &after[0]).await;
}
