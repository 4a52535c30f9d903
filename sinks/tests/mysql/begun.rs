//! A table that is not there when a change comes.

use handler::{Event, Outcome};

use super::Target;
use crate::changes::{change, give};

#[tokio::test]
async fn a_table_that_a_change_makes_is_told_and_one_that_a_full_sync_fills_is_not() {
    for mut target in Target::all().await {
        target.source.set(&[("id", "int"), ("name", "varchar(9)")], &["id"]);
        let row = |seq| change(seq, "insert", seq, "\"name\":\"a\"", None);
        let of_full_sync = |seq| Event { is_of_full_sync: true, ..row(seq) };
        let sink = target.sink("create = true");
        assert_eq!(give(&sink, &[row(1)]).await, Outcome::Done);
        assert_eq!(sink.figures().begun, 1);
        assert_eq!(give(&sink, &[of_full_sync(2)]).await, Outcome::Done);
        assert_eq!(sink.figures().begun, 0);
        // The listener begins again, and the table is there.
        let sink = target.sink("create = true");
        assert_eq!(give(&sink, &[row(3)]).await, Outcome::Done);
        assert_eq!(sink.figures().begun, 0);
        target.run("DROP TABLE S.item").await;
        let sink = target.sink("create = true");
        assert_eq!(give(&sink, &[of_full_sync(1), row(2)]).await, Outcome::Done);
        assert_eq!(sink.figures().begun, 0);
        // An audit log begins when it begins.
        target.run("DROP TABLE S.item").await;
        let sink = target.sink("create = true\nmode = 'append'");
        assert_eq!(give(&sink, &[row(2)]).await, Outcome::Done);
        assert_eq!(sink.figures().begun, 0);
        target.end().await;
    }
}
