//! A table of the target that somebody alters while the sink writes.

use std::time::{Duration, Instant};

use handler::Outcome;

use super::{Target, failed};
use crate::changes::{change, give};

/// A look at a table is good for five seconds.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_column_is_used_as_it_is_now() {
    for mut target in Target::all().await {
        target.run("CREATE TABLE S.item (id INT PRIMARY KEY, f FLOAT, e ENUM('a','b'))").await;
        let sink = target.sink("");
        let one = |seq, f: &str, e: &str| {
            [change(seq, "insert", seq, &format!("\"f\":{f},\"e\":\"{e}\""), None)]
        };
        assert_eq!(give(&sink, &one(1, "0.5", "a")).await, Outcome::Done);
        // Nobody has told the source's type: what FLOAT would make of the value is not written.
        target.run("ALTER TABLE S.item MODIFY f DOUBLE").await;
        assert_eq!(give(&sink, &one(2, "1.23456789012345", "b")).await, Outcome::Done);
        assert_eq!(target.rows("SELECT f FROM S.item WHERE id = 2").await, ["'1.23456789012345'"]);
        // Repaired, and at once as it should be.
        let (_, said) = failed(give(&sink, &one(3, "1", "c")).await);
        assert!(said.contains("'e'") || said.contains("`e`"), "{said}");
        target.run("ALTER TABLE S.item MODIFY e ENUM('c','b','a')").await;
        assert_eq!(give(&sink, &one(3, "1", "c")).await, Outcome::Done);
        assert_eq!(target.rows("SELECT e FROM S.item WHERE id = 3").await, ["'c'"]);
        // No row is refused, and soon it is seen.
        target.run("ALTER TABLE S.item MODIFY e ENUM('a','b','c')").await;
        let (began, mut seq) = (Instant::now(), 4);
        while target.rows(&format!("SELECT e FROM S.item WHERE id = {}", seq - 1)).await != ["'a'"]
        {
            assert!(began.elapsed() < PATIENCE, "it is not looked at again");
            assert_eq!(give(&sink, &one(seq, "1", "a")).await, Outcome::Done);
            seq += 1;
        }
        target.end().await;
    }
}

#[tokio::test]
async fn what_is_altered_at_the_source_is_told_with_the_statement_and_counts_until_it_is_done() {
    for mut target in Target::all().await {
        let source = std::sync::Arc::clone(&target.source);
        source.set(&[("id", "int"), ("name", "varchar(3)"), ("n", "int")], &["id"]);
        let sink = target.sink("create = true");
        let row = |seq, data: &str| [change(seq, "insert", seq, data, None)];
        assert_eq!(give(&sink, &row(1, r#""name":"a","n":1"#)).await, Outcome::Done);
        source.set(&[("id", "int"), ("name", "varchar(9)"), ("m", "int")], &["id"]);
        let (_, said) = failed(give(&sink, &row(2, r#""name":"too long","m":1"#)).await);
        let there = format!("`{}`.`item`", target.schema);
        let statement = format!("ALTER TABLE {there} MODIFY COLUMN `name` varchar(9) NULL");
        assert!(said.contains("column name is varchar(9)") && said.contains(&statement), "{said}");
        assert_eq!(sink.figures().altered, 1);
        target.run("ALTER TABLE S.item MODIFY name VARCHAR(9)").await;
        assert_eq!(give(&sink, &row(2, r#""name":"too long","m":1"#)).await, Outcome::Done);
        assert_eq!(sink.figures().altered, 0);
        target.end().await;
    }
}
