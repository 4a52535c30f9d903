//! Columns that are new at the source.

use std::time::Duration;

use handler::Outcome;

use super::Target;
use crate::changes::{change, give};

const BEFORE: &[(&str, &str)] = &[("id", "int"), ("name", "varchar(9)")];
/// A constant of each kind, and what is computed.
const MORE: &str = "columns.add = { site = 'de', is_new = true, place = -2, part = 0.5, \
                    big = '{{ Data.name | upper }}' }";
const ADDED: &str = "SELECT site, is_new, place, part, big FROM S.item ORDER BY id";

#[tokio::test]
async fn columns_that_the_source_does_not_have_are_made_with_the_table_and_later() {
    for mut target in Target::all().await {
        let source = std::sync::Arc::clone(&target.source);
        source.set(BEFORE, &["id"]);
        let ours = ["'de','1','-2','0.5','A'"];
        let first = [change(1, "insert", 1, "\"name\":\"a\"", None)];
        for (before, rows) in [("", vec!["NULL,NULL,NULL,NULL,NULL"]), (MORE, ours.to_vec())] {
            target.run("DROP TABLE IF EXISTS S.item").await;
            let sink = target.sink(&format!("create = true\n{before}"));
            assert_eq!(give(&sink, &first).await, Outcome::Done);
            let sink = target.sink(&format!("create = true\n{MORE}"));
            let second = [change(2, "insert", 2, "\"name\":\"a\"", None)];
            assert_eq!(give(&sink, &second).await, Outcome::Done);
            assert_eq!(target.rows(ADDED).await, [rows, ours.to_vec()].concat());
        }
        target.end().await;
    }
}

const AFTER: &[(&str, &str)] = &[("id", "int"), ("name", "varchar(9)"), ("stock", "int")];

#[tokio::test]
async fn a_new_column_is_made_without_a_failure_and_is_told_as_unfilled() {
    for mut target in Target::all().await {
        let source = std::sync::Arc::clone(&target.source);
        let sink = target.sink("create = true");
        // The table is made as soon as it is told.
        let first = [change(1, "insert", 1, "\"name\":\"a\"", None)];
        let tell = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            source.set(BEFORE, &["id"]);
        };
        let (outcome, ()) = tokio::join!(give(&sink, &first), tell);
        assert_eq!((outcome, sink.figures().unfilled), (Outcome::Done, 0));
        // So is the column.
        let second = [change(2, "insert", 2, "\"name\":\"b\",\"stock\":7", None)];
        let tell = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            source.set(AFTER, &["id"]);
        };
        let (outcome, ()) = tokio::join!(give(&sink, &second), tell);
        let figures = sink.figures();
        assert_eq!((outcome, figures.unfilled, figures.refused), (Outcome::Done, 1, 0));
        let rows = target.rows("SELECT id, stock FROM S.item ORDER BY id").await;
        assert_eq!(rows, ["'1',NULL", "'2','7'"]);
        target.end().await;
    }
}
