//! What the server refuses, and what is then said and done.

use handler::{Event, Outcome};

use super::{Target, change, failed, give};

const COLUMNS: &[(&str, &str)] = &[("id", "int"), ("name", "varchar(9)")];

#[tokio::test]
async fn rows_that_do_not_fit_are_named_and_the_others_are_there() {
    let target = Target::new(COLUMNS).await;
    target
        .run("CREATE TABLE S.item (id int PRIMARY KEY, name varchar(5) UNIQUE, CHECK (id <> 50))")
        .await;
    let sink = target.sink("");
    let name = |id: u64| match id {
        10 => "\"too long\"".to_owned(),
        20 => r#""a\u0000b""#.to_owned(),
        30 => "\"n29\"".to_owned(),
        _ => format!("\"n{id}\""),
    };
    let events: Vec<Event> = (0..100)
        .map(|id| change(id + 1, "insert", id, &format!("\"name\":{}", name(id)), None))
        .collect();
    let (mut ids, said) = failed(give(&sink, &events).await);
    ids.sort_unstable();
    assert_eq!(ids, ["g:11#0", "g:21#0", "g:31#0", "g:51#0"]);
    // Each for a reason of its own.
    for part in ["column name: ", "character varying(5)", "unique key", "check constraint"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert_eq!(said.matches("1 row: ").count(), 4, "{said}");
    assert_eq!(target.rows("SELECT count(*) FROM S.item").await, ["(96)"]);
    let (_, said) = failed(give(&sink, &events[10..11]).await);
    assert!(said.contains("value too long for type character varying(5)"), "{said}");
    target.end().await;
}

#[tokio::test]
async fn a_column_that_is_new_at_the_source_is_added_or_its_statement_is_said() {
    let target = Target::new(COLUMNS).await;
    target.run("CREATE TABLE S.item (id int PRIMARY KEY, name text)").await;
    let (refusing, adding) = (target.sink(""), target.sink("create = true"));
    let before = change(1, "insert", 1, "\"name\":\"a\"", None);
    assert_eq!(give(&refusing, std::slice::from_ref(&before)).await, Outcome::Done);
    assert_eq!(give(&adding, &[before]).await, Outcome::Done);
    target.source.set(&[COLUMNS[0], COLUMNS[1], ("made", "datetime")], &["id"]);
    let data = r#""name":"b","made":"2026-01-02 03:04:05""#;
    let events =
        [change(2, "insert", 2, data, None), change(3, "insert", 3, "\"name\":\"c\"", None)];
    let (ids, said) = failed(give(&refusing, &events).await);
    assert_eq!(ids, ["g:2#0"]);
    assert!(said.contains("ADD COLUMN IF NOT EXISTS \"made\" timestamp"), "{said}");
    assert_eq!(give(&adding, &events).await, Outcome::Done);
    let all = "SELECT id, name, made FROM S.item ORDER BY id";
    assert_eq!(target.rows(all).await, ["(1,a,)", "(2,b,\"2026-01-02 03:04:05\")", "(3,c,)"]);
    target.end().await;
}

#[tokio::test]
async fn a_target_that_is_altered_meanwhile_is_looked_at_again() {
    let target = Target::new(COLUMNS).await;
    let sink = target.sink("create = true");
    let one = |id| change(id, "insert", id, "\"name\":\"a\"", None);
    assert_eq!(give(&sink, &[one(1)]).await, Outcome::Done);
    target.run("DROP TABLE S.item").await;
    assert_eq!(give(&sink, &[one(2)]).await, Outcome::Done);
    target.run("ALTER TABLE S.item ALTER name TYPE varchar(3)").await;
    assert_eq!(give(&sink, &[one(3)]).await, Outcome::Done);
    assert_eq!(target.rows("SELECT id FROM S.item ORDER BY id").await, ["(2)", "(3)"]);
    target.end().await;
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let target = Target::new(COLUMNS).await;
    let role = format!("{}_writer", target.schema);
    target.run(&format!("CREATE ROLE {role} LOGIN SUPERUSER")).await;
    let sink = target.sink_of(&role, "create = true");
    let one = |id| change(id, "insert", id, "\"name\":\"a\"", None);
    assert_eq!(give(&sink, &[one(1)]).await, Outcome::Done);
    let killed = format!(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = \
         '{role}'"
    );
    assert_eq!(target.rows(&killed).await, ["(1)"]);
    assert_eq!(give(&sink, &[one(2)]).await, Outcome::Done);
    // A server that only lets us read is a replica.
    target.run(&format!("ALTER ROLE {role} SET default_transaction_read_only = on")).await;
    assert_eq!(target.rows(&killed).await, ["(1)"]);
    let Outcome::Failed(failure) = give(&sink, &[one(3)]).await else { panic!("it is read-only") };
    assert!(failure.is_unclear && failure.reason.contains("does not allow writes"), "{failure:?}");
    target.run(&format!("ALTER ROLE {role} RESET default_transaction_read_only")).await;
    assert_eq!(give(&sink, &[one(3)]).await, Outcome::Done);
    assert_eq!(target.rows("SELECT count(*) FROM S.item").await, ["(3)"]);
    target.run(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
    target.end().await;
}

#[tokio::test]
async fn a_revoked_right_lets_the_batch_wait_and_is_named() {
    let target = Target::new(COLUMNS).await;
    let role = format!("{}_reader", target.schema);
    target
        .run(&format!(
            "CREATE TABLE S.item (id int PRIMARY KEY, name text); CREATE ROLE {role} LOGIN; GRANT \
             USAGE ON SCHEMA {} TO {role}; GRANT SELECT ON S.item TO {role}",
            target.schema
        ))
        .await;
    let sink = target.sink_of(&role, "");
    let events = [change(1, "insert", 1, "\"name\":\"a\"", None)];
    let Outcome::Failed(failure) = give(&sink, &events).await else { panic!("it may not write") };
    assert!(failure.is_unclear && failure.reason.contains("42501"), "{failure:?}");
    target.run(&format!("GRANT INSERT, UPDATE, DELETE ON S.item TO {role}")).await;
    assert_eq!(give(&sink, &events).await, Outcome::Done);
    target.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    target.end().await;
}

#[tokio::test]
async fn what_is_altered_at_the_source_counts_until_it_is_done_at_the_target() {
    let target = Target::new(&[("id", "int"), ("n", "int"), ("name", "varchar(9)")]).await;
    let sink = target.sink("create = true");
    let row =
        |seq, n: &str| [change(seq, "insert", seq, &format!("\"n\":{n},\"name\":\"a\""), None)];
    assert_eq!(give(&sink, &row(1, "1")).await, Outcome::Done);
    // Here both are text.
    target.source.set(&[("id", "int"), ("n", "bigint"), ("name", "varchar(20)")], &["id"]);
    let (_, said) = failed(give(&sink, &row(2, "5000000000")).await);
    assert!(said.contains("ALTER COLUMN \"n\" TYPE bigint"), "{said}");
    assert_eq!(sink.figures().altered, 1);
    target.run("ALTER TABLE S.item ALTER n TYPE bigint").await;
    assert_eq!(give(&sink, &row(2, "5000000000")).await, Outcome::Done);
    assert_eq!(sink.figures().altered, 0);
    target.end().await;
}
