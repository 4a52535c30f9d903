//! How fast rows are written, beside a bare client that copies the same rows.

use std::{fmt::Write as _, time::Instant};

use futures_util::SinkExt as _;
use handler::{Batch, Event, Outcome};

use super::{Target, change, connect, give};

const COLUMNS: &[(&str, &str)] = &[
    ("id", "bigint"),
    ("a", "int"),
    ("b", "varchar(64)"),
    ("c", "datetime(3)"),
    ("d", "decimal(12,2)"),
    ("e", "json"),
    ("f", "double"),
];

const BATCH: usize = 1000;
const LANES: usize = 4;

fn event_of(id: u64) -> Event {
    let name = format!("the name of the row {id}, as it is");
    let time = "2026-01-02 03:04:05.678";
    let data = format!(
        r#""a":{id},"b":"{name}","c":"{time}","d":"{id}.90","e":{{"k":[{id},2.5]}},"f":{id}.5"#
    );
    change(id + 1, "insert", id, &data, None)
}

/// The same rows, as COPY reads them.
fn copied(ids: std::ops::Range<u64>) -> String {
    let mut text = String::new();
    for id in ids {
        let _ = writeln!(
            text,
            "{id}\t{id}\tthe name of the row {id}, as it is\t2026-01-02 03:04:05.678\t{id}.90\t\
             {{\"k\": [{id}, 2.5]}}\t{id}.5"
        );
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_written_as_fast_as_a_copy_of_them() {
    let is_full = std::env::var("DBEVENT_TEST_SIZE").is_ok_and(|size| size == "full");
    let count: u64 = if is_full { 100_000 } else { 4_000 };
    let target = Target::new(COLUMNS).await;
    let events: Vec<Event> = (0..count).map(event_of).collect();
    // Makes the table.
    let sink = target.sink("create = true");
    assert_eq!(give(&sink, &events[..1]).await, Outcome::Done);
    target.run("CREATE TABLE S.copied (LIKE S.item INCLUDING ALL)").await;
    let by_sink = by_sink(&target, &events).await;
    let by_copy = by_copy(&target, count).await;
    let different = "SELECT count(*) FROM S.item FULL JOIN S.copied USING (id, a, b, c, d, e, f) \
                     WHERE item.ctid IS NULL OR copied.ctid IS NULL";
    assert_eq!(target.rows(different).await, ["(0)"]);
    let again = by_sink_again(&sink, &events).await;
    eprintln!(
        "rows/s: sink {by_sink:.0}, COPY {by_copy:.0} ({:.2}), the same again {again:.0}",
        by_sink / by_copy
    );
    // COPY is the fastest that the server knows; a machine may be busy.
    assert!(by_sink > by_copy / 5.0, "{by_sink} {by_copy}");
    target.end().await;
}

async fn by_sink(target: &Target, events: &[Event]) -> f64 {
    target.run("TRUNCATE S.item").await;
    let sink = target.sink("");
    by_sink_again(&sink, events).await
}

async fn by_sink_again(sink: &sinks::Sink, events: &[Event]) -> f64 {
    let began = Instant::now();
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let batches: Vec<Vec<Event>> =
                events.chunks(BATCH).skip(lane).step_by(LANES).map(<[Event]>::to_vec).collect();
            let mut handler = sink.handler();
            tokio::spawn(async move {
                for batch in batches {
                    let events: Vec<&Event> = batch.iter().collect();
                    let outcome = handler.handle(Batch { events: &events, attempt: 1 }).await;
                    assert_eq!(outcome, Outcome::Done);
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    events.len() as f64 / began.elapsed().as_secs_f64()
}

async fn by_copy(target: &Target, count: u64) -> f64 {
    let mut clients = Vec::new();
    for _ in 0..LANES {
        clients.push(connect("user=postgres").await);
    }
    let began = Instant::now();
    let lane = async |lane: usize| {
        let sql = format!("COPY {}.copied (id, a, b, c, d, e, f) FROM STDIN", target.schema);
        let starts = (0..count).step_by(BATCH).skip(lane).step_by(LANES);
        for start in starts {
            let text = copied(start..(start + BATCH as u64).min(count));
            let mut copy = Box::pin(clients[lane].copy_in::<_, bytes::Bytes>(&sql).await.unwrap());
            copy.send(text.into()).await.unwrap();
            copy.as_mut().finish().await.unwrap();
        }
    };
    tokio::join!(lane(0), lane(1), lane(2), lane(3));
    count as f64 / began.elapsed().as_secs_f64()
}
