//! With a version column nothing goes backwards, in whatever order changes come.

use std::collections::BTreeMap;

use handler::{Event, Outcome};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use super::{Target, change, give};

const COLUMNS: &[(&str, &str)] = &[("id", "int"), ("n", "bigint")];
const VERSIONED: &str = "create = true\nversionColumn = '_seq'";

#[tokio::test]
async fn a_late_change_changes_nothing_and_a_deleted_row_stays_away() {
    let target = Target::new(COLUMNS).await;
    let sink = target.sink(VERSIONED);
    let of = |seq, action, id| change(seq, action, id, &format!("\"n\":{seq}"), None);
    for events in [
        vec![of(5, "insert", 1), of(6, "insert", 2), of(7, "insert", 3)],
        vec![of(4, "update", 1), of(8, "delete", 2), of(3, "delete", 3)],
        vec![of(6, "insert", 2), of(7, "update", 2)],
    ] {
        assert_eq!(give(&sink, &events).await, Outcome::Done);
    }
    let all = "SELECT id, n, _seq FROM S.item ORDER BY id";
    assert_eq!(target.rows(all).await, ["(1,5,5)", "(3,7,7)"]);
    assert_eq!(give(&sink, &[of(9, "insert", 2)]).await, Outcome::Done);
    assert_eq!(target.rows(all).await, ["(1,5,5)", "(2,9,9)", "(3,7,7)"]);
    let kept = "SELECT table_name, row_key, seq FROM S.dbevent_deleted ORDER BY row_key";
    let expected = [r#"(item,"{""id"":2}",8)"#, r#"(item,"{""id"":3}",3)"#];
    assert_eq!(target.rows(kept).await, expected);
    target.end().await;
}

#[tokio::test]
async fn old_deletes_are_forgotten() {
    let target = Target::new(COLUMNS).await;
    let versioned = format!("{VERSIONED}\ndeletedFor = \"1h\"");
    let gone = change(5, "delete", 1, "\"n\":1", None);
    assert_eq!(give(&target.sink(&versioned), &[gone]).await, Outcome::Done);
    target.run("UPDATE S.dbevent_deleted SET deleted_at = now() - interval '61 minutes'").await;
    let other = change(6, "delete", 2, "\"n\":1", None);
    assert_eq!(give(&target.sink(&versioned), &[other]).await, Outcome::Done);
    assert_eq!(target.rows("SELECT seq FROM S.dbevent_deleted").await, ["(6)"]);
    target.end().await;
}

/// Changes of few rows, with gaps; and what is left at the end.
fn history(random: &mut StdRng, count: u64) -> (Vec<Event>, BTreeMap<u64, u64>) {
    let (mut events, mut rows) = (Vec::new(), BTreeMap::new());
    for seq in 1..=count {
        let id = random.random_range(0..12);
        let data = format!("\"n\":{seq}");
        let action = match rows.contains_key(&id) {
            false => "insert",
            true if random.random_bool(0.4) => "delete",
            true => "update",
        };
        match action {
            "delete" => rows.remove(&id),
            _ => rows.insert(id, seq),
        };
        events.push(change(seq, action, id, &data, None));
    }
    (events, rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_any_order_through_two_processes_end_in_the_last_state() {
    let seed: u64 = std::env::var("TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::rng().random());
    eprintln!("TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let target = Target::new(COLUMNS).await;
    let (events, rows) = history(&mut random, 400);
    let mut writers = Vec::new();
    for _ in 0..4 {
        let (sink, mut events) = (target.sink(VERSIONED), events.clone());
        // The order within a batch is that of the bus; batches come late, and again.
        let mut batches: Vec<Vec<Event>> = Vec::new();
        while !events.is_empty() {
            let size = random.random_range(1..=events.len().min(9));
            batches.push(events.drain(..size).collect());
        }
        batches.shuffle(&mut random);
        writers.push(tokio::spawn(async move {
            for batch in batches {
                assert_eq!(give(&sink, &batch).await, Outcome::Done);
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let expected: Vec<String> = rows.iter().map(|(id, n)| format!("({id},{n})")).collect();
    assert_eq!(target.rows("SELECT id, n FROM S.item ORDER BY id").await, expected);
    target.end().await;
}
