//! What `check` says of a target: each remedy is a statement, and with all of them it works.

use std::sync::Arc;

use handler::Outcome;
use sinks::Sink;

use super::Target;
use crate::changes::{change, give};

const COLUMNS: &[(&str, &str)] = &[("id", "int"), ("name", "varchar(9)")];

/// What is wrong, with the remedy.
async fn wrong(target: &Target, sink: &Sink) -> Vec<(String, String)> {
    let table = target.source.0.lock().unwrap().clone().unwrap();
    let found = sink.check(&[table]).await;
    let wrong = found.into_iter().filter(|found| found.is_wrong);
    wrong.map(|found| (found.what, found.remedy)).collect()
}

#[tokio::test]
async fn each_privilege_that_is_lacking_is_named_with_its_grant() {
    for mut target in Target::all().await {
        target.source.set(COLUMNS, &["id"]);
        let user = target.schema.replace("test_", "u");
        target.run(&format!("CREATE USER {user}")).await;
        let sink = target.sink_of(&user, "create = true\nversionColumn = \"_seq\"");
        let clash = wrong(&target, &target.sink("versionColumn = \"name\"")).await;
        assert!(clash[0].0.contains("is a column of shop.item (name), too"), "{clash:?}");
        // All are lacking, and nothing is there.
        let found = wrong(&target, &sink).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0.contains("lacks SELECT, INSERT, UPDATE, DELETE"), "{found:?}");
        let events = [change(1, "insert", 1, "\"name\":\"a\"", None)];
        let Outcome::Failed(failure) = give(&sink, &events).await else { panic!("it writes") };
        let (_, grant) = failure.reason.split_once("run there: ").unwrap();
        assert!(grant.starts_with("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER ON `test_"));
        target.run(grant).await;
        assert_eq!(wrong(&target, &sink).await, []);
        assert_eq!(give(&sink, &events).await, Outcome::Done);
        // Each alone.
        for privilege in ["SELECT", "INSERT", "UPDATE", "DELETE", "ALTER"] {
            target.run(&format!("REVOKE {privilege} ON {}.* FROM {user}", target.schema)).await;
            let found = wrong(&target, &target.sink_of(&user, "create = true")).await;
            assert_eq!(found.len(), 1, "{privilege}: {found:?}");
            let (_, statement) = found[0].1.split_once("run there: ").unwrap();
            assert!(statement.contains(&format!("GRANT {privilege} ON")), "{found:?}");
            target.run(statement).await;
            assert_eq!(wrong(&target, &sink).await, [], "{privilege}");
        }
        target.run(&format!("DROP USER {user}")).await;
        target.end().await;
    }
}

#[tokio::test]
async fn a_table_without_a_key_is_told() {
    for mut target in Target::all().await {
        target.source.set(COLUMNS, &["id"]);
        let mut table = (**target.source.0.lock().unwrap().as_ref().unwrap()).clone();
        table.primary_key.clear();
        *target.source.0.lock().unwrap() = Some(Arc::new(table));
        for toml in ["", "create = true"] {
            let found = wrong(&target, &target.sink(toml)).await;
            assert!(found[0].0.contains("no primary key"), "{found:?}");
            assert!(found[0].1.contains("keyless = \"append\""), "{found:?}");
        }
        let appends = target.sink("create = true\nkeyless = \"append\"");
        assert_eq!(wrong(&target, &appends).await, []);
        // With keyColumns somebody has made an index on them.
        target.run("CREATE TABLE S.item (id INT UNIQUE, name VARCHAR(9))").await;
        assert_eq!(wrong(&target, &target.sink("")).await, []);
        target.end().await;
    }
}
