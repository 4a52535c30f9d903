//! Tests of the config and of the records.

use std::path::Path;

use handler::{Event, Place};
use service::config::{File, Mistakes};

use super::*;
use crate::change::tests::event;

fn read(toml: &str) -> Result<KafkaConfig, Mistakes> {
    let file = File::parse(Path::new("test"), toml).unwrap();
    let config = KafkaConfig::read(file.root());
    file.finish(config).map(Option::unwrap)
}

fn mistakes(toml: &str) -> String {
    let mistakes = read(toml).unwrap_err();
    let told = mistakes.list().iter().map(|one| format!("{}: {}\n", one.key, one.problem));
    told.collect()
}

/// The records of an event as words: topic, key and value.
fn records(toml: &str, event: &Event) -> Result<Vec<String>, String> {
    let form = read(&format!("brokers = 'h:1'\n{toml}")).unwrap().form;
    let shape = Shape::default();
    let (wanted, _) = shape.wanted(&[event]);
    let change = form.outgoing(&wanted[0], &shape).map_err(|unusable| unusable.why)?;
    let shown = change.records.iter().map(|record| {
        let key = record.key.as_deref().unwrap_or("-");
        format!("{} {key} {}", record.topic, record.value.as_deref().unwrap_or("-"))
    });
    Ok(shown.collect())
}

#[test]
fn a_record_is_the_event_under_its_own_key() {
    let event = event("update", r#"{"id":7,"n":2}"#, Some(r#"{"n":1}"#));
    let told = records("", &event).unwrap();
    let beginning = r#"shop.item {"id":7} {"EvId":"g:1#0","Schema":"shop","TableName":"item""#;
    assert!(told.len() == 1 && told[0].starts_with(beginning), "{told:?}");
}

#[test]
fn a_row_that_is_gone_is_a_tombstone_under_its_last_key() {
    let row = "content = 'row'\nkey = '{{ Data.n }}'\ntopic = 't'";
    let new = event("insert", r#"{"id":7,"n":1}"#, None);
    assert_eq!(records(row, &new).unwrap(), [r#"t 1 {"id":7,"n":1}"#]);
    let moved = event("update", r#"{"id":7,"n":2}"#, Some(r#"{"n":1}"#));
    assert_eq!(records(row, &moved).unwrap(), ["t 1 -", r#"t 2 {"id":7,"n":2}"#]);
    let gone = event("delete", r#"{"id":7,"n":2}"#, None);
    assert_eq!(records(row, &gone).unwrap(), ["t 2 -"]);
    let part = event("delete", r#"{"id":7}"#, None);
    assert!(records(row, &part).unwrap_err().starts_with("key: "));
}

#[test]
fn a_row_that_stops_matching_is_a_tombstone_under_the_key_that_it_had() {
    let form = read("brokers = 'h:1'\ncontent = 'row'\nkey = '{{ Data.n }}'").unwrap().form;
    let shape = Shape::with_condition("Data.n > 2");
    let event = event("update", r#"{"id":7,"n":1}"#, Some(r#"{"n":5}"#));
    let (wanted, _) = shape.wanted(&[&event]);
    let change = form.outgoing(&wanted[0], &shape).unwrap();
    let [record] = &change.records[..] else { panic!("{:?}", change.records) };
    assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some("5"), None));
    assert!(change.is_delete);
}

#[test]
fn a_table_without_a_key_needs_one_only_to_say_that_a_row_is_gone() {
    let keyless = |action| {
        let one = event(action, r#"{"id":7}"#, None);
        Event { json: one.json.replace(r#""PK":{"id":7}"#, r#""PK":{}"#), ..one }
    };
    assert_eq!(
        records("content = 'row'", &keyless("insert")).unwrap(),
        [r#"shop.item - {"id":7}"#]
    );
    assert!(records("content = 'row'", &keyless("delete")).unwrap_err().contains("has no key"));
    assert!(records("", &keyless("delete")).unwrap()[0].starts_with("shop.item - {"));
}

#[test]
fn what_is_no_topic_is_said_before_the_brokers_do() {
    let event = event("insert", r#"{"id":7,"s":"a b"}"#, None);
    let told = records("topic = '{{ Data.s }}'", &event).unwrap_err();
    assert!(told.starts_with("topic: \"a b\" has a character"), "{told}");
    assert!(records("topic = '..'", &event).unwrap_err().contains("1 to 249"));
    assert_eq!(record::topic_problem("Shop.item_1-x"), None);
}

#[test]
fn only_a_replay_is_not_recognised_when_it_comes_again() {
    let form = read("brokers = 'h:1'").unwrap().form;
    let shape = Shape::default();
    let of = |event: &Event| {
        let (wanted, _) = shape.wanted(&[event]);
        form.outgoing(&wanted[0], &shape).unwrap().mark
    };
    let place = Place { topic: "t".into(), partition: 3, offset: 8, saved: 5, ..Place::default() };
    let event = Event { place, ..event("insert", r#"{"id":7}"#, None) };
    let mark = of(&event).unwrap();
    assert_eq!((&*mark.source, mark.offset, mark.saved), ("t/3", 8, 5));
    let json = event.json.replace(r#""Origin":"binlog""#, r#""Origin":"replay""#);
    assert_eq!(of(&Event { json, ..event }), None);
}

#[test]
fn a_config_names_what_is_wrong_with_it() {
    assert!(mistakes("").starts_with("brokers: "));
    let of = |toml: &str| mistakes(&format!("brokers = 'a:1, b:2'\n{toml}"));
    assert!(mistakes("brokers = 'nowhere'").contains("is not a list of addresses"));
    assert!(of("topic = '{{ x }}'").contains("topic: is no template"));
    assert!(of("compression = 'br'").contains("compression: "));
    assert!(of("partitions = 3").contains("only with create = true"));
    assert!(of("create = true\nreplicationFactor = 0").contains("is 0"));
    assert!(of("name = 'a b'").contains("name: "));
    assert!(of("timeout = '1h'").contains("timeout: "));
    assert!(of("properties = { acks = 1 }").contains("properties.acks: is set by this program"));
    let secret = "properties = { sasl.password = 'hunter2', no.such = 'hunter2' }";
    assert!(!of(secret).contains("hunter2"));
}

#[test]
fn a_topic_that_the_listener_reads_is_found() {
    let config = |topic: &str| read(&format!("brokers = 'localhost:1, b:2'\n{topic}")).unwrap();
    let tables = [("shop".to_owned(), "*".to_owned())];
    let is_read = |topic: &str| topic.starts_with("dbevents.shop.");
    let same = config("topic = 'dbevents.{schema}.{table}'");
    let found = |brokers: &str| same.loop_through(brokers, &tables, is_read);
    assert_eq!(found("c:9,127.0.0.1:1").as_deref(), Some("dbevents.shop.x"));
    assert_eq!(found("c:9"), None);
    assert_eq!(config("").loop_through("b:2", &tables, is_read), None);
}
