//! No value is rounded or cut: a row that would be is refused with the statement that makes room,
//! and written when that was run.

use std::time::{Duration, Instant};

use handler::Outcome;

use super::{Target, change, failed, give};

/// A column at the source and at the target, a value that the target holds, one that it would
/// change, and what is there of that one when the column is another one.
const COLUMNS: &[(&str, &str, &str, &str, &str)] = &[
    ("decimal(12,4)", "numeric(12,2)", r#""1.2000""#, r#""1.2345""#, "1.2345"),
    ("decimal(12,4)", "S.amount", r#""1.5""#, r#""1.25""#, "1.25"),
    ("decimal(5,1)", "integer", "null", r#""1.5""#, "1.5"),
    ("bigint", "integer", "7", "5000000000", "5000000000"),
    ("double", "real", "0.1", "1.23456789012345", "1.23456789012345"),
    (
        "datetime(3)",
        "timestamp(0)",
        r#""2026-01-02 03:04:05.000""#,
        r#""2026-01-02 03:04:05.678""#,
        "2026-01-02 03:04:05.678",
    ),
    (
        "timestamp(3)",
        "timestamptz(1)",
        r#""2026-01-02T03:04:05.600Z""#,
        r#""2026-01-02T03:04:05.678Z""#,
        "2026-01-02 03:04:05.678+00",
    ),
    (
        "datetime",
        "date",
        r#""2026-01-02 00:00:00""#,
        r#""2026-01-02 03:04:05""#,
        "2026-01-02 03:04:05",
    ),
    ("time(3)", "time(0)", r#""01:02:03.000""#, r#""-01:02:03.500""#, "-01:02:03.5"),
    ("varchar(9)", "char(3)", r#""abc""#, r#""a ""#, "a "),
    ("varchar(9)", "varchar(3)", r#""ab ""#, r#""abc ""#, "abc "),
    ("tinyint", "boolean", "1", "2", "2"),
    ("bit(5)", "bit(3)", "5", "31", "11111"),
    ("vector(2)", "numeric(4,1)[]", "[0.5,1.5]", "[0.5,0.25]", "{0.5,0.25}"),
];

#[tokio::test]
async fn a_value_that_the_column_would_change_is_refused_until_it_fits() {
    let names: Vec<String> = (0..COLUMNS.len()).map(|at| format!("c{at}")).collect();
    let columns = names.iter().zip(COLUMNS).map(|(name, column)| (&**name, column.0));
    let target = Target::new(&[("id", "int")].into_iter().chain(columns).collect::<Vec<_>>()).await;
    let types = names.iter().zip(COLUMNS).map(|(name, column)| format!(", {name} {}", column.1));
    let types = types.collect::<String>();
    target
        .run(&format!(
            "CREATE DOMAIN S.amount AS numeric(6,1); CREATE TABLE S.item (id int PRIMARY \
             KEY{types})"
        ))
        .await;
    let sink = target.sink("");
    let data = |value: &dyn Fn(usize) -> &'static str| {
        let members =
            names.iter().enumerate().map(|(at, name)| format!("\"{name}\":{}", value(at)));
        members.collect::<Vec<_>>().join(",")
    };
    let good = change(1, "insert", 0, &data(&|at| COLUMNS[at].2), None);
    assert_eq!(give(&sink, std::slice::from_ref(&good)).await, Outcome::Done);
    for (at, (of_source, there, _, bad, expected)) in COLUMNS.iter().enumerate() {
        let value = |of: usize| if of == at { *bad } else { COLUMNS[of].2 };
        let id = u64::try_from(at).unwrap() + 1;
        let events = [good.clone(), change(1 + id, "insert", id, &data(&value), None)];
        let (ids, said) = failed(give(&sink, &events).await);
        assert_eq!(ids, [events[1].ev_id.clone()], "{of_source} {there}");
        assert!(said.contains(&format!("column c{at}: ")), "{said}");
        let (_, statement) = said.split_once("run there: ").unwrap_or_else(|| panic!("{said}"));
        target.client.batch_execute(statement).await.unwrap_or_else(|error| {
            panic!("{statement}: {error:?}");
        });
        assert_eq!(give(&sink, &events).await, Outcome::Done, "{statement}");
        let select = format!("SELECT c{at}::text FROM {}.item WHERE id = {id}", target.schema);
        let found: String = target.client.query_one(&select, &[]).await.unwrap().get(0);
        assert_eq!(found, *expected, "{statement}");
    }
    target.end().await;
}

#[tokio::test]
async fn a_table_that_was_altered_is_noticed_by_a_refusal_and_by_itself() {
    let target = Target::new(&[("id", "int"), ("kind", "varchar(9)"), ("n", "decimal(9,3)")]).await;
    target
        .run(
            "CREATE TYPE S.kind AS ENUM ('a'); CREATE TABLE S.item (id int PRIMARY KEY, kind \
             S.kind, n numeric)",
        )
        .await;
    let sink = target.sink("");
    let one = |id: u64, kind: &str| {
        let data = format!(r#""kind":"{kind}","n":"1.125""#);
        change(id, "insert", id, &data, None)
    };
    assert_eq!(give(&sink, &[one(1, "a")]).await, Outcome::Done);
    let (_, said) = failed(give(&sink, &[one(2, "b")]).await);
    assert!(said.contains("invalid input value for enum"), "{said}");
    target.run("ALTER TABLE S.item ALTER kind TYPE text").await;
    assert_eq!(give(&sink, &[one(2, "b")]).await, Outcome::Done);
    // What would be rounded from now on is not refused by the server.
    target.run("DELETE FROM S.item; ALTER TABLE S.item ALTER n TYPE numeric(9,2)").await;
    let began = Instant::now();
    for id in 3.. {
        assert!(began.elapsed() < Duration::from_secs(30), "nobody looks at the table");
        if let Outcome::Partly { failure, .. } = give(&sink, &[one(id, "c")]).await {
            let said = failure.said.unwrap();
            assert!(said.contains("rounded for type numeric(9,2)"), "{said}");
            break;
        }
    }
    target.end().await;
}
