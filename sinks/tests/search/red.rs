//! An index none of whose nodes is there.

use handler::Outcome;
use reqwest::Method;

use super::Target;
use crate::changes::{change, give};

#[tokio::test]
async fn an_index_that_is_red_is_named_with_what_to_do() {
    let target = Target::new();
    let nowhere = r#"{"settings":{"index.routing.allocation.require._name":"nobody"}}"#;
    let made = target.ask(Method::PUT, "?wait_for_active_shards=0&timeout=1s", nowhere).await;
    assert_eq!(made["index"], *target.index, "{made}");
    let sink = target.sink("timeout = '1s'");
    let row = [change(1, "insert", 1, "\"name\":\"a\"", None)];
    let Outcome::Failed(failure) = give(&sink, &row).await else { panic!("it is red") };
    let red = format!("the index {} is red: ", target.index);
    assert!(failure.is_unclear && failure.reason.contains(&red), "{failure:?}");
    assert!(failure.remedy.unwrap().contains("allocation/explain"), "{failure:?}");
    target.source.set(&[("id", "int"), ("name", "varchar(9)")], &["id"]);
    let table = target.source.0.lock().unwrap().clone().unwrap();
    let found = sink.check(&[table]).await;
    assert!(found.iter().any(|one| one.is_wrong && one.what.contains(&red)), "{found:?}");
    target
        .ask(Method::PUT, "/_settings", r#"{"index.routing.allocation.require._name":null}"#)
        .await;
    let mut outcome = give(&sink, &row).await;
    for _ in 0..20 {
        if outcome == Outcome::Done {
            break;
        }
        outcome = give(&sink, &row).await;
    }
    assert_eq!(outcome, Outcome::Done);
    target.end().await;
}
