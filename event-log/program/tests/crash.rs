//! `kill -9` at random moments.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::Mutex;

use crate::process::{DEADLINE, Sender, ServerProcess, read_all, record};

const KILLS: usize = 8;

/// What batch `sequence` holds; any size from nothing to about a megabyte.
fn batch(seed: u64, sequence: u64) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(seed ^ sequence);
    let records = random.random_range(0..200);
    (0..records)
        .map(|number| {
            let filler = "x".repeat(random.random_range(0..5000));
            format!("{sequence}.{number}.{filler}")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_that_was_acknowledged_and_repeats_nothing() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let directory = tempfile::tempdir().unwrap();
    let server = Arc::new(Mutex::new(ServerProcess::start(directory.path())));
    let sender = Sender::open(&*server.lock().await).await;
    let (killed, path) = (Arc::clone(&server), directory.path().to_owned());
    let killing = tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..KILLS {
            let pid = killed.lock().await.pid().to_string();
            tokio::time::sleep(Duration::from_millis(random.random_range(5..250))).await;
            std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
            let mut server = killed.lock().await;
            server.kill();
            *server = ServerProcess::start(&path);
        }
    });

    let (mut sequence, mut resent) = (0, 0);
    while !killing.is_finished() {
        sequence += 1;
        let records =
            || batch(seed, sequence).into_iter().map(|text| record(text.into())).collect();
        while let Err(status) = sender.send(&*server.lock().await, sequence, records()).await {
            let cut_off = [tonic::Code::Unavailable, tonic::Code::Unknown, tonic::Code::Cancelled];
            assert!(cut_off.contains(&status.code()), "{status}");
            resent += 1;
            tokio::task::yield_now().await;
        }
    }
    killing.await.unwrap();
    println!("{sequence} batches, {resent} sent again");

    let expected: Vec<String> = (1..=sequence).flat_map(|number| batch(seed, number)).collect();
    let client = server.lock().await.client();
    let found = tokio::time::timeout(DEADLINE, read_all(&client)).await.unwrap();
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "another order or content");
}
