//! Keys that the server takes for one are on one partition, and handled in order.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    recording::{Event, Recording},
    running::Source,
};

const ROWS: usize = 40;

/// Each row: what its key is one after the other, all equal to the server.
fn keys(row: usize) -> [String; 4] {
    [format!("kéy{row}"), format!("KEY{row}"), format!("key{row}"), format!("KÉY{row}")]
}

/// Of all events, those of each row in the order in which they were handled.
fn by_row(recording: Recording) -> BTreeMap<usize, Vec<Event>> {
    let mut rows: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
    for event in recording.calls.into_iter().flat_map(|call| call.events) {
        let digits = event.pk.get().chars().filter(char::is_ascii_digit);
        let row = digits.collect::<String>().parse().unwrap_or(ROWS);
        rows.entry(row).or_default().push(event);
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_differ_in_case_or_accents_keep_their_order() -> Result<()> {
    let source = Source::start("kafka-equal-keys").await?.over_kafka("").await?;
    let mut statements = vec![
        "CREATE DATABASE same".to_owned(),
        "CREATE TABLE same.t (code VARCHAR(40) PRIMARY KEY, n INT) CHARSET utf8mb4".to_owned(),
    ];
    for row in 0..ROWS {
        let [first, second, third, fourth] = keys(row);
        statements.extend([
            format!("INSERT INTO same.t VALUES ('{first}', 1)"),
            format!("DELETE FROM same.t WHERE code = '{first}'"),
            format!("INSERT INTO same.t VALUES ('{second}', 2)"),
            format!("UPDATE same.t SET code = '{third}' WHERE code = '{second}'"),
            format!("REPLACE INTO same.t VALUES ('{fourth}', 3)"),
        ]);
    }
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let running = source.capture("same", &statements).await?.run()?;
    let mut rows = BTreeMap::new();
    wait_until("all is handled", PATIENCE, async || {
        rows = by_row(running.site.recording());
        let last = |events: &Vec<Event>| events.iter().any(|event| event.data.get().contains(":3"));
        rows.len() == ROWS && rows.values().all(last)
    })
    .await?;
    for (row, events) in rows {
        let told: Vec<_> =
            events.iter().map(|event| (event.seq, &event.action, event.pk.get())).collect();
        ensure!(told.is_sorted_by_key(|(seq, ..)| *seq), "{row}: out of order: {told:?}");
        let partition = events[0].bus.partition;
        ensure!(events.iter().all(|event| event.bus.partition == partition), "{row}: {told:?}");
    }
    running.end().await
}
