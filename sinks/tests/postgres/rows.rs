//! Which rows are there after which changes.

use handler::Outcome;

use super::{Target, change, event, failed, give};

const COLUMNS: &[(&str, &str)] = &[("id", "int"), ("a", "int"), ("b", "varchar(9)")];
const ALL: &str = "SELECT id, a, b FROM S.item ORDER BY id";

#[tokio::test]
async fn rows_are_written_changed_and_deleted_in_one_call_and_again() {
    let target = Target::new(COLUMNS).await;
    let sink = target.sink("create = true");
    let events = [
        change(1, "insert", 1, r#""a":1,"b":"x""#, None),
        change(2, "insert", 2, r#""a":2,"b":"y""#, None),
        change(3, "insert", 3, r#""a":3,"b":null"#, None),
        change(4, "update", 1, r#""a":11,"b":"x""#, Some(r#""a":1"#)),
        change(5, "delete", 2, r#""a":2,"b":"y""#, None),
    ];
    for _ in 0..2 {
        assert_eq!(give(&sink, &events).await, Outcome::Done);
        assert_eq!(target.rows(ALL).await, ["(1,11,x)", "(3,3,)"]);
    }
    let figures = sink.figures();
    assert_eq!((figures.rows, figures.requests), (4, 2));
    target.end().await;
}

#[tokio::test]
async fn absent_columns_are_left_as_they_are() {
    let target = Target::new(COLUMNS).await;
    target.run("CREATE TABLE S.item (id int PRIMARY KEY, a int NOT NULL, b text NOT NULL)").await;
    target.run("INSERT INTO S.item VALUES (1, 1, 'x'), (2, 2, 'y')").await;
    let sink = target.sink("");
    let events = [
        change(1, "update", 1, r#""a":11"#, Some("")),
        change(2, "update", 2, r#""b":"z""#, Some("")),
        change(3, "update", 2, r#""a":22"#, Some("")),
        change(4, "update", 3, r#""a":3"#, Some("")),
        change(5, "insert", 4, r#""a":4,"b":"n""#, None),
    ];
    assert_eq!(give(&sink, &events).await, Outcome::Done);
    // The row 3 is not there, and nobody knows its column b.
    let figures = sink.figures();
    assert_eq!((figures.absent, figures.conflicts, figures.rows), (1, 0, 3), "{figures:?}");
    assert_eq!(target.rows(ALL).await, ["(1,11,x)", "(2,22,z)", "(4,4,n)"]);
    target.end().await;
}

#[tokio::test]
async fn a_row_that_moved_without_all_its_columns_fails() {
    let target = Target::new(COLUMNS).await;
    let sink = target.sink("create = true");
    let moved = |data: &str| {
        let mut one = change(3, "insert", 2, data, None);
        one.json = one.json.replace("g:3#0", "g:3#0i");
        [handler::Event { ev_id: "g:3#0i".to_owned(), ..one }]
    };
    let (ids, said) = failed(give(&sink, &moved(r#""a":1"#)).await);
    assert_eq!(ids, ["g:3#0i"]);
    assert!(said.contains("column b") && said.contains("binlog_row_image"), "{said}");
    assert_eq!(give(&sink, &moved(r#""a":1,"b":"x""#)).await, Outcome::Done);
    assert_eq!(target.rows(ALL).await, ["(2,1,x)"]);
    target.end().await;
}

#[tokio::test]
async fn a_row_that_moved_is_not_at_its_old_place() {
    let target = Target::new(&[("id", "varchar(9)"), ("a", "int")]).await;
    let sink = target.sink("create = true");
    let at = |id: &str| (format!(r#"{{"id":"{id}"}}"#), format!(r#"{{"id":"{id}","a":1}}"#));
    let (old, new, other) = (at("A"), at("B"), at("b"));
    let insert = event(1, "insert", (&old.0, &old.1), "");
    assert_eq!(give(&sink, &[insert]).await, Outcome::Done);
    let moved = [
        event(2, "delete", (&old.0, &old.1), ""),
        event(3, "insert", (&new.0, &new.1), ""),
        // The source takes the two texts for equal.
        event(4, "update", (&other.0, &other.1), r#""Old":{"id":"B"},"#),
    ];
    assert_eq!(give(&sink, &moved).await, Outcome::Done);
    assert_eq!(target.rows("SELECT id, a FROM S.item").await, ["(b,1)"]);
    target.end().await;
}

#[tokio::test]
async fn an_audit_log_has_each_change_once() {
    let target = Target::new(COLUMNS).await;
    let sink = target.sink("create = true\nmode = \"append\"");
    let events = [
        change(1, "insert", 1, r#""a":1,"b":"x""#, None),
        change(2, "update", 1, r#""a":2,"b":"x""#, Some(r#""a":1"#)),
        change(3, "delete", 1, r#""a":2,"b":"x""#, None),
    ];
    for _ in 0..2 {
        assert_eq!(give(&sink, &events).await, Outcome::Done);
    }
    let select = "SELECT ev_id, ev_action, ev_time, ev_seq, id, a, b FROM S.item ORDER BY ev_seq";
    assert_eq!(
        target.rows(select).await,
        [
            r#"(g:1#0,insert,"2023-11-14 22:13:20.123+00",1,1,1,x)"#,
            r#"(g:2#0,update,"2023-11-14 22:13:20.123+00",2,1,2,x)"#,
            r#"(g:3#0,delete,"2023-11-14 22:13:20.123+00",3,1,2,x)"#,
        ]
    );
    assert_eq!(sink.figures().conflicts, 3);
    target.end().await;
}

#[tokio::test]
async fn a_table_without_a_key_is_refused_or_appended() {
    let target = Target::new(&[("a", "int")]).await;
    target.source.set(&[("a", "int")], &[]);
    let one = event(1, "insert", ("{}", r#"{"a":1}"#), "");
    let events = [one];
    let (ids, said) = failed(give(&target.sink("create = true"), &events).await);
    assert!(ids == ["g:1#0"] && said.contains("keyless"), "{said}");
    let sink = target.sink("create = true\nkeyless = \"append\"");
    for _ in 0..2 {
        assert_eq!(give(&sink, &events).await, Outcome::Done);
    }
    assert_eq!(target.rows("SELECT ev_id, a FROM S.item").await, ["(g:1#0,1)"]);
    target.end().await;
}

#[tokio::test]
async fn columns_that_the_source_does_not_have_are_made_with_the_table_and_later() {
    let target = Target::new(COLUMNS).await;
    let more = "columns.add = { site = 'de', is_new = true, place = -2, part = 0.5, \
                big = '{{ Data.b | upper }}' }";
    let added = "SELECT site, is_new, place, part, big FROM S.item ORDER BY id";
    for (before, row) in [("", "(,,,,)"), (more, "(de,t,-2,0.5,X)")] {
        target.run("DROP TABLE IF EXISTS S.item").await;
        for (id, toml) in [(1, before), (2, more)] {
            let sink = target.sink(&format!("create = true\n{toml}"));
            let event = change(id, "insert", id, r#""a":1,"b":"x""#, None);
            assert_eq!(give(&sink, &[event]).await, Outcome::Done);
        }
        assert_eq!(target.rows(added).await, [row, "(de,t,-2,0.5,X)"]);
    }
    target.end().await;
}

#[tokio::test]
async fn columns_are_renamed_left_out_and_added_also_those_of_the_key() {
    let target = Target::new(COLUMNS).await;
    let sink = target
        .sink("create = true\ncolumns = { exclude = ['b'], rename = { id = 'item id', a = 'n' } }");
    let events = [
        change(1, "insert", 1, r#""a":1,"b":"x""#, None),
        change(2, "insert", 2, r#""a":2,"b":"x""#, None),
        change(3, "delete", 1, r#""a":1,"b":"x""#, None),
    ];
    assert_eq!(give(&sink, &events).await, Outcome::Done);
    assert_eq!(target.rows("SELECT * FROM S.item").await, ["(2,2)"]);
    assert_eq!(target.rows("SELECT \"item id\", n FROM S.item").await, ["(2,2)"]);
    target.end().await;
}
