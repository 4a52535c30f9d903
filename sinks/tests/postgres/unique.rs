//! A second unique key at the target.

use handler::Outcome;

use super::{Target, change, failed, give};

const COLUMNS: &[(&str, &str)] = &[("id", "int"), ("place", "int")];
const ALL: &str = "SELECT id, place FROM S.item ORDER BY id";

async fn target() -> Target {
    let target = Target::new(COLUMNS).await;
    target
        .run("CREATE TABLE S.item (id int PRIMARY KEY, place int, CONSTRAINT one UNIQUE (place))")
        .await;
    target
}

fn moves(seq: u64, id: u64, place: u64) -> handler::Event {
    change(seq, "update", id, &format!("\"place\":{place}"), Some("\"place\":0"))
}

#[tokio::test]
async fn values_that_are_swapped_in_one_batch_are_written_in_their_order() {
    let target = target().await;
    target.run("INSERT INTO S.item VALUES (1, 1), (2, 2), (3, 4)").await;
    let sink = target.sink("");
    // Three is the place through which two swap theirs, and then another one's.
    let swap = [moves(1, 1, 3), moves(2, 2, 1), moves(3, 1, 2), moves(4, 3, 3)];
    assert_eq!(give(&sink, &swap).await, Outcome::Done);
    assert_eq!(target.rows(ALL).await, ["(1,2)", "(2,1)", "(3,3)"]);
    target.end().await;
}

#[tokio::test]
async fn values_that_are_swapped_by_two_lanes_fit_in_the_end_and_the_key_is_named_until_then() {
    let target = target().await;
    target.run("INSERT INTO S.item VALUES (1, 1), (2, 2)").await;
    let sink = target.sink("");
    let (first, second) = ([moves(1, 1, 3), moves(3, 1, 2)], [moves(2, 2, 1)]);
    let (ids, said) = failed(give(&sink, &second).await);
    assert_eq!(ids, ["g:2#0"]);
    assert!(said.contains("unique key one") && said.contains("`workers = 1`"), "{said}");
    let (ids, _) = failed(give(&sink, &first).await);
    assert_eq!(ids, ["g:3#0"]);
    assert_eq!(give(&sink, &second).await, Outcome::Done);
    assert_eq!(give(&sink, &first[1..]).await, Outcome::Done);
    assert_eq!(target.rows(ALL).await, ["(1,2)", "(2,1)"]);
    target.end().await;
}
