//! Relays on a server and on its files, while everything is killed at random.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::runner::{Callback, RelayProcess, Site};
use crate::process::size;

/// Each number came, first after the one before it; repetitions begin at one that had come.
fn assert_in_order(callback: &Callback, count: usize) {
    let mut next = 0;
    for text in callback.texts() {
        let number: usize = text.parse().unwrap();
        assert!(number <= next, "{number} came before {next}, at {}", callback.folder.display());
        next = next.max(number + 1);
    }
    assert_eq!(next, count, "{}", callback.folder.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_reaches_the_callback_in_order_whoever_is_killed() {
    let seed = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut site = Site::start().await;
    let small = |mut flags: Vec<String>| {
        flags.extend(["--batch".to_owned(), "7".to_owned()]);
        flags
    };
    let flags = [small(site.reads_server()), small(site.reads_files())];
    let callbacks = [site.callback("of-server"), site.callback("of-files")];
    // The stream is there once it has a record.
    site.say(&["0"]).await;
    let mut count = 1;
    let start = |at: usize| callbacks[at].relay("r", &flags[at]);
    let mut relays: [RelayProcess; 2] = [start(0), start(1)];
    for _ in 0..size(12, 100) {
        for _ in 0..random.random_range(1..20) {
            let texts: Vec<String> =
                (count..count + random.random_range(1..20)).map(|n| n.to_string()).collect();
            count += texts.len();
            site.say(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
        match random.random_range(0..3) {
            2 => site.restart_server(),
            at => {
                relays[at].kill();
                relays[at] = start(at);
            }
        }
    }
    let last = (count - 1).to_string();
    for (callback, relay) in callbacks.iter().zip(relays) {
        callback.gets(&last);
        relay.term();
        let (status, said) = relay.ends();
        assert!(status.success(), "{said}");
        assert_in_order(callback, count);
    }
}
