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
