//! What `check` says of a target: each remedy is a statement, and with all of them it works.

use std::sync::Arc;

use full_sync::Table;
use handler::Outcome;
use sinks::Sink;

use super::{Target, change, give};

const COLUMNS: &[(&str, &str)] = &[("id", "int"), ("name", "varchar(9)")];

/// What is wrong, with the remedy.
async fn wrong(target: &Target, sink: &Sink) -> Vec<(String, String)> {
    let table: Arc<Table> = target.source.0.lock().unwrap().clone().unwrap();
    let found = sink.check(&[table]).await;
    let wrong = found.into_iter().filter(|found| found.is_wrong);
    wrong.map(|found| (found.what, found.remedy)).collect()
}

#[tokio::test]
async fn what_is_missing_is_said_with_the_statement_that_makes_it() {
    let target = Target::new(COLUMNS).await;
    let role = format!("{}_writer", target.schema);
    target.run(&format!("CREATE ROLE {role} LOGIN")).await;
    let sink = target.sink_of(&role, "versionColumn = '_seq'");
    let mut statements = 0;
    loop {
        let found = wrong(&target, &sink).await;
        let Some((what, remedy)) = found.first() else { break };
        let (_, statement) = remedy.split_once("run there: ").unwrap();
        target.client.batch_execute(statement).await.unwrap_or_else(|error| {
            panic!("{what}: {statement}: {error}");
        });
        statements += 1;
        assert!(statements < 9, "{found:?}");
    }
    assert!(statements >= 4, "{statements}");
    let events = [change(1, "insert", 1, "\"name\":\"a\"", None), change(2, "delete", 2, "", None)];
    assert_eq!(give(&sink, &events).await, Outcome::Done);
    target.run(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
    target.end().await;
}

#[tokio::test]
async fn a_table_without_an_index_of_the_key_is_found() {
    let target = Target::new(COLUMNS).await;
    target.run("CREATE TABLE S.item (id int, name text)").await;
    let sink = target.sink("");
    let found = wrong(&target, &sink).await;
    let (what, remedy) = &found[0];
    assert!(what.contains("no unique index"), "{what}");
    target.run(remedy.strip_prefix("run there: ").unwrap()).await;
    assert_eq!(wrong(&target, &sink).await, []);
    target.end().await;
}

#[tokio::test]
async fn who_is_not_let_in_and_what_is_not_there_is_said() {
    let target = Target::new(COLUMNS).await;
    let found = wrong(&target, &target.sink_of("nobody_known", "")).await;
    assert!(found[0].0.contains("does not let the user in"), "{found:?}");
    let found = wrong(&target, &target.sink("tls = 'require'")).await;
    assert!(found[0].0.contains("TLS"), "{found:?}");
    target.end().await;
}

#[tokio::test]
async fn what_the_sink_makes_itself_is_said_and_a_table_without_a_key_is_not_good() {
    let target = Target::new(COLUMNS).await;
    let sink = target.sink("create = true");
    let said = async || {
        let table: Arc<Table> = target.source.0.lock().unwrap().clone().unwrap();
        sink.check(&[table]).await.into_iter().map(|found| found.what).collect::<Vec<_>>()
    };
    let found = said().await;
    assert!(found[0].starts_with("the database postgres at 127.0.0.1:"), "{found:?}");
    let lacks = format!("the target lacks {}.item, or columns of it: ", target.schema);
    assert!(found[1].starts_with(&lacks), "{found:?}");
    let events = [change(1, "insert", 1, "\"name\":\"a\"", None)];
    assert_eq!(give(&sink, &events).await, Outcome::Done);
    assert!(said().await[1].ends_with("fits shop.item"));
    target.source.set(&[COLUMNS[0], COLUMNS[1], ("more", "int")], &["id"]);
    assert!(said().await[1].starts_with(&lacks));
    // The row that is there has nothing in the new column, and that is told.
    let second = [change(2, "insert", 2, "\"name\":\"b\",\"more\":7", None)];
    assert_eq!((give(&sink, &second).await, sink.figures().unfilled), (Outcome::Done, 1));
    let clash = wrong(&target, &target.sink("create = true\nversionColumn = 'name'")).await;
    assert!(clash[0].0.contains("is a column of shop.item (name), too"), "{clash:?}");
    target.source.set(COLUMNS, &[]);
    let found = wrong(&target, &sink).await;
    assert!(found[0].0.contains("shop.item has no key: its rows are refused"), "{found:?}");
    assert!(found[0].1.contains("keyColumns"), "{found:?}");
    assert_eq!(wrong(&target, &target.sink("create = true\nkeyless = 'append'")).await, []);
    target.end().await;
}

#[tokio::test]
async fn a_call_that_lacks_a_right_says_the_statements_of_check_and_these_suffice() {
    let target = Target::new(COLUMNS).await;
    let (schema, role) = (&target.schema, format!("{}_writer", target.schema));
    target.run(&format!("CREATE ROLE {role} LOGIN; DROP SCHEMA {schema}")).await;
    let sink = target.sink_of(&role, "create = true\nversionColumn = '_seq'");
    let row = |seq| change(seq, "insert", seq, "\"name\":\"a\"", None);
    let repaired = async |seq| {
        let Outcome::Failed(failure) = give(&sink, &[row(seq)]).await else { panic!("no right") };
        assert!(failure.reason.starts_with("127.0.0.1:"), "{failure:?}");
        let (_, statements) = failure.reason.split_once("run there: ").unwrap();
        let found = wrong(&target, &sink).await;
        let remedies = found.iter().map(|(_, remedy)| remedy.strip_prefix("run there: ").unwrap());
        assert_eq!(statements, remedies.collect::<Vec<_>>().join("; "));
        target.client.batch_execute(statements).await.unwrap();
        assert_eq!(wrong(&target, &sink).await, []);
        assert_eq!(give(&sink, &[row(seq)]).await, Outcome::Done);
        statements.to_owned()
    };
    // Nobody may make schemas.
    assert!(repaired(1).await.starts_with("CREATE SCHEMA"));
    // The schema is somebody else's.
    target.run(&format!("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}")).await;
    assert!(repaired(2).await.starts_with("GRANT USAGE"));
    target.run(&format!("REVOKE INSERT ON S.item FROM {role}")).await;
    assert!(repaired(3).await.starts_with("GRANT SELECT, INSERT"));
    // A column is new, and the table somebody else's.
    target.run("ALTER TABLE S.item OWNER TO postgres").await;
    target.run(&format!("GRANT ALL ON S.item TO {role}")).await;
    target.source.set(&[COLUMNS[0], COLUMNS[1], ("more", "int")], &["id"]);
    assert!(repaired(4).await.starts_with("ALTER TABLE"));
    target.run(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
    target.end().await;
}
