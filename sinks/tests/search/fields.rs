//! Fields whose mappings the config gives.

use handler::Outcome;
use reqwest::Method;

use super::Target;
use crate::changes::{change, give};

#[tokio::test]
async fn a_json_column_is_searched_in_where_its_field_is_given() {
    let target = Target::new();
    target.source.set(&[("id", "int"), ("tags", "json"), ("note", "json")], &["id"]);
    let kind = target.flat_kind().await;
    let sink =
        target.sink(&format!("mappings = true\nfields = {{ tags = {{ type = '{kind}' }} }}"));
    let data = |color: &str| format!(r#""tags":{{"color":"{color}"}},"note":[1,{{"a":2}}]"#);
    let rows =
        [("red", 1), ("blue", 2)].map(|(color, id)| change(id, "insert", id, &data(color), None));
    assert_eq!(give(&sink, &rows).await, Outcome::Done);
    let mapping = target.ask(Method::GET, "/_mapping", "").await;
    let properties = &mapping[&target.index]["mappings"]["properties"];
    assert_eq!(properties["note"]["enabled"], false, "{mapping}");
    target.ask(Method::POST, "/_refresh", "").await;
    let query = r#"{"query":{"term":{"tags.color":"blue"}}}"#;
    let found = target.ask(Method::POST, "/_search", query).await;
    let hits = &found["hits"]["hits"];
    assert_eq!((&hits[0]["_id"], hits.as_array().map(Vec::len)), (&"2".into(), Some(1)), "{found}");
    target.end().await;
}
