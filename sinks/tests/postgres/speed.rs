//! How fast rows are written, beside bare clients that write the same rows.

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
async fn many_rows_are_those_of_bare_clients_and_their_speed_is_told() {
    let is_full = std::env::var("DBEVENT_TEST_SIZE").is_ok_and(|size| size == "full");
    let count: u64 = if is_full { 100_000 } else { 4_000 };
    let target = Target::new(COLUMNS).await;
    let events: Vec<Event> = (0..count).map(event_of).collect();
    // Makes the table.
    let sink = target.sink("create = true");
    assert_eq!(give(&sink, &events[..1]).await, Outcome::Done);
    target.run("CREATE TABLE S.bare (LIKE S.item INCLUDING ALL)").await;
    let by_insert = by_bare_client(&target, count, Bare::Insert).await;
    target.run("TRUNCATE S.bare").await;
    let by_sink = by_sink(&target, &events).await;
    let by_copy = by_bare_client(&target, count, Bare::Copy).await;
    let different = "SELECT count(*) FROM S.item FULL JOIN S.bare USING (id, a, b, c, d, e, f) \
                     WHERE item.ctid IS NULL OR bare.ctid IS NULL";
    assert_eq!(target.rows(different).await, ["(0)"]);
    let again = by_sink_again(&sink, &events).await;
    assert_eq!(target.rows(different).await, ["(0)"]);
    eprintln!(
        "rows/s: sink {by_sink:.0}, the same again {again:.0}; bare clients: COPY {by_copy:.0}, \
         multi-row INSERT {by_insert:.0}"
    );
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bare {
    Copy,
    Insert,
}

async fn by_bare_client(target: &Target, count: u64, bare: Bare) -> f64 {
    let mut clients = Vec::new();
    for _ in 0..LANES {
        clients.push(connect("user=postgres").await);
    }
    let began = Instant::now();
    let lane = async |lane: usize| {
        let table = format!("{}.bare (id, a, b, c, d, e, f)", target.schema);
        let starts = (0..count).step_by(BATCH).skip(lane).step_by(LANES);
        for start in starts {
            let text = copied(start..(start + BATCH as u64).min(count));
            if bare == Bare::Insert {
                let row = |line: &str| format!("('{}')", line.replace('\t', "','"));
                let rows = text.lines().map(row).collect::<Vec<_>>().join(",");
                let sql = format!("INSERT INTO {table} VALUES {rows}");
                clients[lane].batch_execute(&sql).await.unwrap();
                continue;
            }
            let sql = format!("COPY {table} FROM STDIN");
            let mut copy = Box::pin(clients[lane].copy_in::<_, bytes::Bytes>(&sql).await.unwrap());
            copy.send(text.into()).await.unwrap();
            copy.as_mut().finish().await.unwrap();
        }
    };
    tokio::join!(lane(0), lane(1), lane(2), lane(3));
    count as f64 / began.elapsed().as_secs_f64()
}
