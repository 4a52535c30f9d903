//! A subscriber that does not read.

use event_log::Event;

use crate::process::{STREAM, Sender, ServerProcess, assigned, record, subscribe};

const BATCHES: u64 = 100;
const RECORDS: usize = 1000;
const PAYLOAD_BYTES: usize = 2000;
/// Far below the 200 MB that are appended.
const MAX_GROWTH_KIB: u64 = 48 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_costs_the_server_no_memory_and_gets_everything() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    let batch = || (0..RECORDS).map(|_| record(vec![b'x'; PAYLOAD_BYTES])).collect();
    sender.send(&server, 1, batch()).await.unwrap();
    let before = server.resident_kib();
    let mut slow = Vec::new();
    for number in 0..4 {
        let wanted = subscribe("", &format!("slow {number}"));
        let mut subscription = server.client().subscribe(STREAM, wanted).await.unwrap();
        assigned(&mut subscription).await.unwrap();
        slow.push(subscription);
    }
    for sequence in 2..=BATCHES {
        sender.send(&server, sequence, batch()).await.unwrap();
    }
    let grown = server.resident_kib().saturating_sub(before);
    println!("{before} KiB before, grown by {grown} KiB");
    assert!(grown < MAX_GROWTH_KIB, "{grown} KiB");

    let expected = RECORDS * usize::try_from(BATCHES).unwrap();
    for mut subscription in slow {
        let mut count = 0;
        while count < expected {
            if let Event::Records { records, .. } = subscription.next().await.unwrap() {
                count += records.len();
            }
        }
        assert_eq!(count, expected);
    }
}
