//! An index that is not there when a change comes.

use handler::{Event, Outcome};

use super::Target;
use crate::changes::{change, give};

#[tokio::test]
async fn an_index_that_a_change_makes_is_told_and_one_that_a_full_sync_fills_is_not() {
    for keys in ["", "mappings = true"] {
        let target = self::target();
        let row = |seq| change(seq, "insert", seq, "\"name\":\"a\"", None);
        let of_full_sync = |seq| Event { is_of_full_sync: true, ..row(seq) };
        let sink = target.sink(keys);
        assert_eq!(give(&sink, &[row(1)]).await, Outcome::Done);
        assert_eq!(sink.figures().begun, 1, "{keys}");
        assert_eq!(give(&sink, &[of_full_sync(2)]).await, Outcome::Done);
        assert_eq!(sink.figures().begun, 0, "{keys}");
        // The listener begins again, and the index is there.
        let sink = target.sink(keys);
        assert_eq!(give(&sink, &[row(3)]).await, Outcome::Done);
        assert_eq!(sink.figures().begun, 0, "{keys}");
        target.end().await;

        let target = self::target();
        let sink = target.sink(keys);
        assert_eq!(give(&sink, &[of_full_sync(1), row(2)]).await, Outcome::Done);
        assert_eq!(sink.figures().begun, 0, "{keys}");
        target.end().await;
    }
}

fn target() -> Target {
    let target = Target::new();
    target.source.set(&[("id", "int"), ("name", "varchar(9)")], &["id"]);
    target
}
