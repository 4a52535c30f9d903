//! Every type of `docs/event-format.md`, in a table that the sink makes.

use handler::Outcome;

use super::{Target, change};

/// Declared at the source; value of the event; what the target then has as text.
const VALUES: &[(&str, &str, &str)] = &[
    ("tinyint", "-128", "-128"),
    ("tinyint(1)", "1", "1"),
    ("smallint unsigned", "65535", "65535"),
    ("mediumint unsigned", "16777215", "16777215"),
    ("int", "-2147483648", "-2147483648"),
    ("int unsigned", "4294967295", "4294967295"),
    ("bigint", "-9223372036854775808", "-9223372036854775808"),
    ("bigint unsigned", "18446744073709551615", "18446744073709551615"),
    ("bigint", "\"9223372036854775807\"", "9223372036854775807"),
    (
        "decimal(65,30)",
        "\"-12345678901234567890123456789012345.000000000000000000000000000010\"",
        "-12345678901234567890123456789012345.000000000000000000000000000010",
    ),
    ("decimal(10,2)", "\"19.90\"", "19.90"),
    ("float", "0.1", "0.1"),
    ("double", "1e+300", "1e+300"),
    ("double", "0.30000000000000004", "0.30000000000000004"),
    ("bit(5)", "5", "00101"),
    (
        "bit(64)",
        "18446744073709551615",
        "1111111111111111111111111111111111111111111111111111111111111111",
    ),
    ("date", "\"2026-01-02\"", "2026-01-02"),
    ("date", "\"9999-12-31\"", "9999-12-31"),
    ("date", "\"0000-00-00\"", "NULL"),
    ("date", "\"2024-00-00\"", "NULL"),
    ("time", "\"-838:59:59\"", "-838:59:59"),
    ("time(2)", "\"12:00:00.50\"", "12:00:00.5"),
    ("time(6)", "\"-00:00:00.000001\"", "-00:00:00.000001"),
    ("datetime(3)", "\"2026-01-02 03:04:05.678\"", "2026-01-02 03:04:05.678"),
    ("datetime", "\"0000-00-00 00:00:00\"", "NULL"),
    ("timestamp(3)", "\"2026-01-02T03:04:05.678Z\"", "2026-01-02 03:04:05.678+00"),
    ("timestamp", "\"0000-00-00 00:00:00\"", "NULL"),
    ("year", "\"2024\"", "2024"),
    ("year", "\"0000\"", "0"),
    ("varchar(20)", r#""ä \"\\ \n,{}é😀""#, "ä \"\\ \n,{}é😀"),
    ("char(3)", "\"NULL\"", "NULL_text"),
    ("longtext", "\"\"", ""),
    ("binary(3)", "\"AAEC\"", "\\x000102"),
    ("longblob", "\"\"", "\\x"),
    ("enum('red','')", "\"\"", ""),
    ("set('a','b,c')", r#"["a","b,c"]"#, "{a,\"b,c\"}"),
    ("set('a','b')", "[]", "{}"),
    ("json", r#"{"a":[1,2.50],"b":null}"#, r#"{"a": [1, 2.50], "b": null}"#),
    ("json", "\"text\"", "\"text\""),
    ("longtext", r#""{\"a\":1}""#, r#"{"a":1}"#),
    (
        "point",
        r#"{"type":"Point","coordinates":[1.0,2.0],"srid":4326}"#,
        r#"{"srid": 4326, "type": "Point", "coordinates": [1.0, 2.0]}"#,
    ),
    ("vector(3)", "[0.1,1.0,-2.5]", "{0.1,1,-2.5}"),
    ("uuid", "\"123e4567-e89b-12d3-a456-426655440000\"", "123e4567-e89b-12d3-a456-426655440000"),
    ("inet6", "\"2001:db8::1\"", "2001:db8::1/128"),
];

#[tokio::test]
async fn every_type_is_there_as_the_nearest_of_postgresql() {
    let names: Vec<String> = (0..VALUES.len()).map(|at| format!("c{at}")).collect();
    let columns: Vec<(&str, &str)> = std::iter::once(("id", "int"))
        .chain(names.iter().zip(VALUES).map(|(name, (declared, ..))| (&**name, *declared)))
        .collect();
    let target = Target::new(&columns).await;
    let sink = target.sink("create = true");
    let data = |value: &dyn Fn(usize) -> &'static str| {
        let members =
            names.iter().enumerate().map(|(at, name)| format!("\"{name}\":{}", value(at)));
        members.collect::<Vec<_>>().join(",")
    };
    let (full, null) = (data(&|at| VALUES[at].1), data(&|_| "null"));
    let insert = change(1, "insert", 7, &full, None);
    let other = change(2, "insert", 8, &null, None);
    assert_eq!(super::give(&sink, &[insert, other]).await, Outcome::Done);
    for (at, (declared, value, expected)) in VALUES.iter().enumerate() {
        let select = format!("SELECT c{at}::text FROM {}.item ORDER BY id", target.schema);
        let rows = target.client.query(&select, &[]).await.unwrap();
        let found: Vec<Option<String>> = rows.iter().map(|row| row.get(0)).collect();
        let expected = match *expected {
            "NULL" => None,
            "NULL_text" => Some("NULL".to_owned()),
            text => Some(text.to_owned()),
        };
        assert_eq!(found, [expected, None], "{declared} {value}");
    }
    // The same by an update of the row that was NULL.
    let update = change(3, "update", 8, &full, Some(&null));
    assert_eq!(super::give(&sink, &[update]).await, Outcome::Done);
    let different = "SELECT count(*) FROM (SELECT DISTINCT to_jsonb(i) - 'id' FROM S.item i) d";
    assert_eq!(target.rows(different).await, ["(1)"]);
    target.end().await;
}

#[tokio::test]
async fn a_table_of_the_users_own_types_is_written_too() {
    let target = Target::new(&[
        ("id", "bigint unsigned"),
        ("flag", "tinyint(1)"),
        ("day", "datetime"),
        ("kind", "enum('a','b')"),
        ("bits", "bit(5)"),
        ("tags", "set('x','y')"),
        ("document", "longtext"),
        ("raw", "varchar(9)"),
        ("span", "time"),
    ])
    .await;
    target
        .run(
            "CREATE TYPE S.kind AS ENUM ('a', 'b'); CREATE DOMAIN S.short AS varchar(5); CREATE \
             TABLE S.item (id int PRIMARY KEY, flag boolean, day date, kind S.kind, bits int, tags \
             text, document json, raw bytea, span time, made timestamptz DEFAULT now() NOT NULL, \
             twice int GENERATED ALWAYS AS (id * 2) STORED)",
        )
        .await;
    let data = [
        r#""flag":1,"day":"2026-01-02 00:00:00","kind":"b","bits":5"#,
        r#""tags":["x","y"],"document":"{\"a\":1}","raw":"ab","span":"01:02:03""#,
    ];
    let events = [change(1, "insert", 7, &data.join(","), None)];
    assert_eq!(super::give(&target.sink(""), &events).await, Outcome::Done);
    let row =
        "SELECT id, flag, day, kind, bits, tags, document->>'a', raw, span, twice FROM S.item";
    assert_eq!(target.rows(row).await, [r#"(7,t,2026-01-02,b,5,"x,y",1,"\\x6162",01:02:03,14)"#]);
    target.end().await;
}
