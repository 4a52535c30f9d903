//! A second unique key at the target.

use handler::{Event, Outcome};

use super::{Target, failed};
use crate::changes::{change, give};

const ALL: &str = "SELECT id, place FROM S.item ORDER BY id";

fn moves(seq: u64, id: u64, place: u64) -> Event {
    change(seq, "update", id, &format!("\"place\":{place}"), Some("\"place\":0"))
}

#[tokio::test]
async fn values_that_are_swapped_fit_in_the_end_and_the_key_is_named_until_then() {
    for mut target in Target::all().await {
        target.run("CREATE TABLE S.item (id INT PRIMARY KEY, place INT, UNIQUE one (place))").await;
        target.run("INSERT INTO S.item VALUES (1, 1), (2, 2), (3, 4)").await;
        let sink = target.sink("");
        let swap = [moves(1, 1, 3), moves(2, 2, 1), moves(3, 1, 2), moves(4, 3, 3)];
        assert_eq!(give(&sink, &swap).await, Outcome::Done);
        assert_eq!(target.rows(ALL).await, ["'1','2'", "'2','1'", "'3','3'"]);
        // Two lanes.
        let (first, second) = ([moves(5, 1, 9), moves(7, 1, 1)], [moves(6, 2, 2)]);
        let (ids, said) = failed(give(&sink, &second).await);
        assert_eq!(ids, ["g:6#0"]);
        let names_it = said.contains("unique key `item.one`") || said.contains("unique key `one`");
        assert!(names_it && said.contains("`workers = 1`"), "{said}");
        let (ids, _) = failed(give(&sink, &first).await);
        assert_eq!(ids, ["g:7#0"]);
        assert_eq!(give(&sink, &second).await, Outcome::Done);
        assert_eq!(give(&sink, &first[1..]).await, Outcome::Done);
        assert_eq!(target.rows(ALL).await, ["'1','1'", "'2','2'", "'3','3'"]);
        target.end().await;
    }
}
