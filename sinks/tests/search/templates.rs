//! Index templates: with them also indexes that others make have the table's mappings.

use handler::{Event, Failure, Outcome};
use reqwest::Method;
use serde_json::{Value, json};
use sinks::Sink;

use super::Target;
use crate::changes::{change, give};

const COLUMNS: [(&str, &str); 3] = [("id", "int"), ("price", "decimal(9,2)"), ("made", "date")];

fn target() -> Target {
    let target = Target::new();
    target.source.set(&COLUMNS, &["id"]);
    target
}

/// The template that the sink makes for the index of the target.
fn name(target: &Target) -> String {
    format!("dbevent-{}", target.index)
}

async fn template(target: &Target, name: &str) -> Value {
    let found = target.ask_server(Method::GET, &format!("_index_template/{name}"), "").await;
    found["index_templates"][0]["index_template"].clone()
}

async fn forget(target: &Target, names: &[&str]) {
    for name in names {
        target.ask_server(Method::DELETE, &format!("_index_template/{name}"), "").await;
    }
}

fn row(id: u64, made: &str) -> Event {
    change(id, "insert", id, &format!(r#""price":"1.50","made":"{made}""#), None)
}

async fn done(sink: &Sink, row: Event) {
    assert_eq!(give(sink, &[row]).await, Outcome::Done);
}

async fn failed(sink: &Sink, row: Event) -> Failure {
    match give(sink, &[row]).await {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// The types of the fields of an index.
async fn kinds(target: &Target, index: &str) -> [Value; 3] {
    let mapping = target.ask_server(Method::GET, &format!("{index}/_mapping"), "").await;
    let properties = &mapping[index]["mappings"]["properties"];
    COLUMNS.map(|(name, _)| properties[name]["type"].clone())
}

#[tokio::test]
async fn indexes_that_somebody_else_makes_have_the_mappings_the_settings_and_the_aliases() {
    let target = target();
    let all = format!("{}.all", target.index);
    let toml = format!(
        "mappings = true\ntemplate = {{ settings = {{ number_of_shards = 2 }}, aliases = ['{all}'] }}"
    );
    let daily = format!("{}-{{{{ Data.made[:7] }}}}", target.index);
    let sink = target.sink_to(&daily, &toml);
    done(&sink, row(1, "2026-11-29")).await;
    let (ours, others) = (format!("{}-2026-11", target.index), format!("{}-old", target.index));
    target.ask_server(Method::PUT, &others, "").await;
    for index in [&ours, &others] {
        assert_eq!(kinds(&target, index).await, ["long", "double", "date"], "{index}");
        let found = target.ask_server(Method::GET, index, "").await;
        assert_eq!(found[index]["settings"]["index"]["number_of_shards"], "2", "{found}");
        assert!(found[index]["aliases"][&all].is_object(), "{found}");
    }
    let found = template(&target, &format!("{}-any", name(&target))).await;
    assert_eq!(found["index_patterns"], json!([format!("{}-*", target.index)]), "{found}");
    for index in [&ours, &others] {
        target.ask_server(Method::DELETE, index, "").await;
    }
    forget(&target, &[&format!("{}-any", name(&target))]).await;
}

#[tokio::test]
async fn a_template_is_made_once_and_changed_when_the_table_gains_columns() {
    let target = target();
    let name = name(&target);
    let toml = "mappings = true\ntemplate = { settings = { refresh_interval = '7s' } }";
    done(&target.sink(toml), row(1, "2026-11-29")).await;
    // A mark that is lost when the template is written again.
    let mut marked = template(&target, &name).await;
    marked["version"] = json!(7);
    let path = format!("_index_template/{name}");
    target.ask_server(Method::PUT, &path, &marked.to_string()).await;
    let sink = target.sink(toml);
    done(&sink, row(2, "2026-11-29")).await;
    assert_eq!(template(&target, &name).await["version"], 7);

    target.source.set(&[&COLUMNS[..], &[("place", "inet6")]].concat(), &["id"]);
    done(&sink, row(3, "2026-11-29")).await;
    let found = template(&target, &name).await;
    let properties = &found["template"]["mappings"]["properties"];
    assert_eq!(
        (&properties["place"]["type"], &properties["id"]["type"]),
        (&json!("ip"), &json!("long"))
    );
    assert_eq!(found["version"], Value::Null);
    // And when the config changes.
    done(&target.sink(&toml.replace("7s", "8s")), row(4, "2026-11-29")).await;
    let found = template(&target, &name).await;
    assert_eq!(found["template"]["settings"]["index"]["refresh_interval"], "8s", "{found}");
    forget(&target, &[&name]).await;
    target.end().await;
}

#[tokio::test]
async fn a_template_of_somebody_else_is_never_touched() {
    let target = target();
    let (name, path) = (name(&target), format!("_index_template/{}", name(&target)));
    let theirs = json!({"index_patterns": [format!("{}-x", target.index)], "priority": 9});
    target.ask_server(Method::PUT, &path, &theirs.to_string()).await;
    let sink = target.sink("mappings = true\ntemplate = true");
    let failure = failed(&sink, row(1, "2026-11-29")).await;
    let reason = format!("the server has an index template {name} that dbevent has not made");
    assert!(failure.is_unclear && failure.reason.ends_with(&reason), "{failure:?}");
    assert!(failure.remedy.unwrap().contains("`template.name`"), "{failure:?}");
    let found = sink.check(&[target.table()]).await;
    assert!(found.iter().any(|one| one.is_wrong && one.what == reason), "{found:?}");
    assert_eq!(template(&target, &name).await["priority"], 9);

    let other = format!("{name}-2");
    done(
        &target.sink(&format!("mappings = true\ntemplate = {{ name = '{other}' }}")),
        row(1, "2026-11-29"),
    )
    .await;
    assert_eq!(template(&target, &name).await["priority"], 9);
    forget(&target, &[&name, &other]).await;
    target.end().await;
}

#[tokio::test]
async fn another_template_for_the_same_indexes_is_told_by_its_priority() {
    let target = target();
    let (name, theirs) = (name(&target), format!("{}-theirs", target.index));
    let body = json!({"index_patterns": [format!("{}*", target.index)], "priority": 700});
    let path = format!("_index_template/{theirs}");
    let made = target.ask_server(Method::PUT, &path, &body.to_string()).await;
    assert_eq!(made["acknowledged"], true, "{made}");

    let with = |priority: u64| {
        target.sink(&format!("mappings = true\ntemplate = {{ priority = {priority} }}"))
    };
    let sink = with(700);
    let failure = failed(&sink, row(1, "2026-11-29")).await;
    assert!(failure.reason.contains("with the same priority"), "{failure:?}");
    assert!(failure.said.unwrap().contains(&theirs));
    assert!(failure.remedy.unwrap().contains("`template.priority`"));
    let found = sink.check(&[target.table()]).await;
    assert!(found.iter().any(|one| one.is_wrong && one.what.contains(&theirs)), "{found:?}");

    let sink = with(600);
    let found = sink.check(&[target.table()]).await;
    assert!(found.iter().all(|one| !one.is_wrong), "{found:?}");
    let doubtful: Vec<_> = found.iter().filter(|one| one.is_doubtful).collect();
    assert!(matches!(doubtful[..], [one] if one.what.contains(&theirs)), "{found:?}");
    let sink = with(800);
    let found = sink.check(&[target.table()]).await;
    assert!(found.iter().all(|one| !one.is_wrong && !one.is_doubtful), "{found:?}");
    assert!(found.iter().any(|one| one.what.contains("(priority 800)")), "{found:?}");
    // Nothing was made by all that.
    assert_eq!(template(&target, &name).await, Value::Null);
    done(&sink, row(1, "2026-11-29")).await;
    assert_eq!(template(&target, &name).await["priority"], 800);
    forget(&target, &[&name, &theirs]).await;
    target.end().await;
}

#[tokio::test]
async fn wrong_settings_are_told_as_the_server_says_them() {
    let target = target();
    let sink = target.sink("mappings = true\ntemplate = { settings = { number_of_shrads = 2 } }");
    let failure = failed(&sink, row(1, "2026-11-29")).await;
    assert!(failure.said.unwrap().contains("unknown setting [index.number_of_shrads]"));
    let found = sink.check(&[target.table()]).await;
    let is_told = |what: &str| what.contains("unknown setting [index.number_of_shrads]");
    assert!(found.iter().any(|one| one.is_wrong && is_told(&one.what)), "{found:?}");
}

#[tokio::test]
async fn an_alias_is_made_with_its_first_index_and_a_rollover_keeps_the_mappings() {
    let target = target();
    let toml = "mappings = true\ntemplate = { rollover = true }";
    let sink = target.sink(toml);
    done(&sink, row(1, "2026-11-29")).await;
    let [first, second] = ["000001", "000002"].map(|number| format!("{}-{number}", target.index));
    let rolled = target.ask(Method::POST, "/_rollover", "").await;
    assert_eq!(rolled["new_index"], *second, "{rolled}");
    // It begins anew, and finds the alias.
    done(&target.sink(toml), row(2, "2026-11-29")).await;
    for (index, id) in [(&first, 1), (&second, 2)] {
        assert_eq!(kinds(&target, index).await, ["long", "double", "date"], "{index}");
        let document = target.ask_server(Method::GET, &format!("{index}/_doc/{id}"), "").await;
        assert_eq!(document["found"], true, "{document}");
    }
    assert!(sink.check(&[target.table()]).await.iter().all(|one| !one.is_doubtful));
    // An index that has lost its alias.
    target.ask_server(Method::DELETE, &second, "").await;
    let alias = format!("{first}/_alias/{}", target.index);
    target.ask_server(Method::DELETE, &alias, "").await;
    let failure = failed(&target.sink(toml), row(3, "2026-11-29")).await;
    assert!(failure.reason.contains(&format!("the index {first} is there, and no alias")));
    assert!(failure.remedy.unwrap().contains("/_aliases"));
    target.ask_server(Method::DELETE, &first, "").await;
    // Somebody else has made an index of the alias's name: it is written to, and that is told.
    target.ask(Method::PUT, "", "").await;
    done(&target.sink(toml), row(4, "2026-11-29")).await;
    let found = sink.check(&[target.table()]).await;
    assert!(found.iter().any(|one| one.is_doubtful && one.what.contains("no alias")), "{found:?}");
    forget(&target, &[&name(&target)]).await;
    target.end().await;
}

#[tokio::test]
async fn several_that_begin_at_the_same_time_make_one_template_and_one_first_index() {
    let target = target();
    let sinks: Vec<Sink> =
        (0..4).map(|_| target.sink("mappings = true\ntemplate = { rollover = true }")).collect();
    let begin = async |at: usize| done(&sinks[at], row(at as u64 + 1, "2026-11-29")).await;
    tokio::join!(begin(0), begin(1), begin(2), begin(3));
    let first = format!("{}-000001", target.index);
    target.ask(Method::POST, "/_refresh", "").await;
    let counted = target.ask_server(Method::GET, &format!("{first}/_count"), "").await;
    assert_eq!(counted["count"], 4, "{counted}");
    let found = template(&target, &name(&target)).await;
    assert_eq!(found["_meta"]["dbevent"]["tables"], json!(["shop.item"]), "{found}");
    target.ask_server(Method::DELETE, &first, "").await;
    forget(&target, &[&name(&target)]).await;
}
