//! Values that a column of the target does not hold: refused, with the statement after which it
//! does. A server alone would round them.

use handler::Outcome;

use super::{Target, failed};
use crate::changes::{change, give};

#[tokio::test]
async fn nothing_is_rounded_and_the_statement_that_is_said_helps() {
    for mut target in Target::all().await {
        let columns = [
            ("id", "int"),
            ("price", "decimal(14,4)"),
            ("n", "double"),
            ("at", "datetime(6)"),
            ("f", "double"),
            ("s", "varchar(20)"),
            ("e", "enum('a','b')"),
            ("b", "bigint"),
            ("u", "int"),
        ];
        target.source.set(&columns, &["id"]);
        target
            .run(
                "CREATE TABLE S.item (id INT PRIMARY KEY, price DECIMAL(12,2), n INT, at DATETIME, \
                 f FLOAT, s VARCHAR(5), e ENUM('a'), b INT, u INT NOT NULL)",
            )
            .await;
        let sink = target.sink("");
        let exact = r#""price":"1.2300","n":2.0,"at":"2026-01-02 03:04:05.000000","f":0.5,"u":1"#;
        assert_eq!(give(&sink, &[change(1, "insert", 1, exact, None)]).await, Outcome::Done);
        for (seq, (column, json)) in [
            ("price", r#""1.2345""#),
            ("n", "2.5"),
            ("at", r#""2026-01-02 03:04:05.678""#),
            ("f", "1.23456789012345"),
            ("s", r#""too long for it""#),
            ("e", r#""b""#),
            ("b", "5000000000"),
            ("u", "null"),
        ]
        .into_iter()
        .enumerate()
        {
            let id = 10 + u64::try_from(seq).unwrap();
            // It alone fails, and the others are written.
            let other = if column == "u" { "" } else { ",\"u\":1" };
            let bad = change(id, "insert", id, &format!("\"{column}\":{json}{other}"), None);
            let good = change(id + 100, "insert", id + 100, exact, None);
            let (ids, said) = failed(give(&sink, &[bad.clone(), good]).await);
            assert_eq!(ids, [format!("g:{id}#0")], "{said}");
            let statement = said.split_once("run there: ").map(|(_, statement)| statement);
            let statement = statement.unwrap_or_else(|| panic!("no statement: {said}"));
            assert!(statement.contains(&format!("MODIFY COLUMN `{column}`")), "{said}");
            target.run(statement).await;
            assert_eq!(give(&sink, &[bad]).await, Outcome::Done, "{said}");
        }
        let select = "SELECT price FROM S.item WHERE id = 10 UNION SELECT f FROM S.item WHERE \
                      id = 13 UNION SELECT at FROM S.item WHERE id = 12";
        let rows = target.rows(select).await;
        assert!(rows.iter().any(|row| row.contains("1.2345")), "{rows:?}");
        assert!(rows.iter().any(|row| row.contains("1.23456789012345")), "{rows:?}");
        assert!(rows.iter().any(|row| row.contains("05.678")), "{rows:?}");
        target.end().await;
    }
}
