//! Records that the server deleted before a relay got them.

use std::process::Command;

use event_log::proto::NewRecord;

use super::runner::Site;
use crate::process::{PROGRAM, ServerProcess, record, write_config};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_server_has_deleted_ends_a_relay_or_is_told_as_it_was_set() {
    let mut site = Site::start().await;
    let listen = format!("address = {:?}", site.server.address);
    site.server.kill();
    let storage = "maxBytes = '128MiB'\nonFull = 'drop-oldest'";
    let config = write_config(site.directory.path(), &listen, storage);
    site.server =
        ServerProcess::start_by(Command::new(PROGRAM).arg("serve").arg("--config").arg(config));
    site.say(&["1"]).await;
    let callback = site.callback("c");
    let small = ["--topic", "t"].map(str::to_owned);
    let flags = [site.reads_server(), small.to_vec()].concat();
    let relay = callback.relay("r", &flags);
    callback.gets("1");
    relay.term();
    assert!(relay.ends().0.success());
    site.say(&["2"]).await;
    for _ in 0..25 {
        let large = NewRecord { topic: "large".to_owned(), ..record(vec![b'x'; 8 << 20]) };
        site.append(vec![large]).await;
    }
    site.say(&["3"]).await;

    let (status, said) = callback.relay("r", &flags).ends();
    assert_eq!(status.code(), Some(69), "{said}");
    assert!(said.contains("gone") && said.contains("--on-gone"), "{said}");
    let earliest = ["--on-gone", "earliest"].map(str::to_owned);
    let mut relay = callback.relay("r", &[flags.clone(), earliest.to_vec()].concat());
    relay.says("it goes on with the oldest");
    callback.gets("3");
    assert_eq!(callback.texts(), ["1", "3"]);
    // Its place is past the gap now.
    relay.term();
    assert!(relay.ends().0.success());
    site.say(&["4"]).await;
    let _relay = callback.relay("r", &flags);
    callback.gets("4");
    assert_eq!(callback.texts(), ["1", "3", "4"]);
}
