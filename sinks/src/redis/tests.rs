//! Which commands a change becomes, and what the config may say.

use std::path::Path;

use handler::Event;
use service::config::{File, Mistakes};

use super::*;
use crate::{
    change::tests::event,
    redis::commands::{Times, Work},
};

fn read(toml: &str) -> Result<RedisConfig, Mistakes> {
    let file = File::parse(Path::new("test"), toml).unwrap();
    let config = RedisConfig::read(file.root());
    file.finish(config).map(Option::unwrap)
}

fn mistakes(toml: &str) -> Vec<String> {
    read(toml)
        .unwrap_err()
        .list()
        .iter()
        .map(|one| format!("{}: {}", one.key, one.problem))
        .collect()
}

/// The commands as words, without the texts of the scripts.
fn commands(toml: &str, events: &[&Event]) -> Vec<String> {
    let plan = read(&format!("url = 'redis://h'\n{toml}")).unwrap().plan;
    let shape = Shape::default();
    let (wanted, _) = shape.wanted(events);
    let (commands, unusable) = plan.commands(&wanted, &shape);
    assert_eq!(unusable, []);
    let told = commands.iter().map(|command| {
        let (key, work) = (&command.key, &command.work);
        match work {
            Work::Script { name, version_key, arguments } => {
                format!("{name:?} {key} {version_key} {}", arguments.join(" "))
            }
            Work::Row { version_key, seq, row, times } => {
                let row = row.as_deref().unwrap_or("-");
                let Times { row: kept, version, deleted } = times;
                format!("Row {key} {version_key} {seq} {kept} {version} {deleted} {row}")
            }
            Work::Unlink => format!("Unlink {key}"),
            Work::Append { fields, max_length } => {
                format!("Append {key} {} {max_length:?}", fields.len())
            }
            Work::Publish(message) => format!("Publish {key} {}", message.len()),
        }
    });
    told.collect()
}

#[test]
fn a_moved_category_drops_the_keys_of_the_row_before_and_of_the_row_now() {
    let moved = event("update", r#"{"id":7,"c":"b"}"#, Some(r#"{"c":"a"}"#));
    let same = event("update", r#"{"id":7,"c":"b","n":1}"#, Some(r#"{"n":0}"#));
    let delete = "delete = ['item:{{ PK.id }}', 'list:{{ Data.c }}']";
    let keys = ["Unlink item:7", "Unlink list:a", "Unlink list:b"];
    assert_eq!(commands(delete, &[&moved, &same]), keys);
    assert_eq!(commands("delete = 'list:{{ Data.c }}'", &[&same]), ["Unlink list:b"]);
}

#[test]
fn a_row_is_written_with_its_seq_and_its_version_beside_it() {
    let (row, gone) =
        (event("insert", r#"{"id":7,"s":"a"}"#, None), event("delete", r#"{"id":7}"#, None));
    let set = "set = 'item:{{ PK.id }}'\nrememberDeletes = '1s'";
    let written = r#"Row item:7 {item:7}:seq 5 0 0 1000 {"id":7,"s":"a"}"#;
    assert_eq!(commands(set, &[&row]), [written]);
    assert_eq!(commands(set, &[&gone]), ["Row item:7 {item:7}:seq 5 0 0 1000 -"]);
    let kept = commands(&format!("{set}\nttl = '5s'"), &[&row]);
    assert_eq!(kept, [r#"Row item:7 {item:7}:seq 5 5000 5000 1000 {"id":7,"s":"a"}"#]);
}

#[test]
fn of_several_changes_of_a_row_the_newest_is_written() {
    let older = event("insert", r#"{"id":7,"n":1}"#, None);
    let newer = Event { json: older.json.replace("\"Seq\":5", "\"Seq\":6"), ..older.clone() };
    for events in [[&older, &newer], [&newer, &older]] {
        let told = commands("set = 'item:{{ PK.id }}'", &events);
        assert!(told.len() == 1 && told[0].starts_with("Row item:7 {item:7}:seq 6 "), "{told:?}");
    }
}

#[test]
fn a_row_whose_key_moves_leaves_its_old_key() {
    let moved = event("update", r#"{"id":7,"c":"b"}"#, Some(r#"{"c":"a"}"#));
    let told = commands("set = 'by:{{ Data.c }}'", &[&moved]);
    assert_eq!(told[0], "Row by:a {by:a}:seq 5 0 0 86400000 -");
    assert!(told[1].starts_with("Row by:b "), "{told:?}");
    let told = commands("hset = 'by:{{ Data.c }}'", &[&moved]);
    assert_eq!(told[0], "Delete by:a {by:a}:seq 5 86400000");
    assert!(told[1].starts_with("Hset by:b "), "{told:?}");
}

#[test]
fn a_hash_has_no_field_for_null_and_only_an_insert_is_whole() {
    let update = event("update", r#"{"id":7,"s":"a b","n":null,"j":[1]}"#, Some("{\"n\":1}"));
    let told = commands("hset = '{{ PK.id }}'", &[&update]);
    assert_eq!(told, ["Hset 7 {7}:seq 5 0 0 0 1 n id 7 s a b j [1]"]);
    let insert = event("insert", r#"{"id":7}"#, None);
    assert_eq!(commands("hset = '{{ PK.id }}'", &[&insert]), ["Hset 7 {7}:seq 5 0 0 1 0 id 7"]);
}

#[test]
fn who_gets_a_message_finds_the_row() {
    let row = event("insert", r#"{"id":7}"#, None);
    let all = "set = 's:{{ PK.id }}'\npublish = 'p:{table}'\nxadd = 'x'\nmaxLength = 3";
    let told = commands(all, &[&row, &row]);
    let first: Vec<&str> = told.iter().map(|one| &one[..6]).collect();
    assert_eq!(first, ["Row s:", "Row s:", "Append", "Append", "Publis", "Publis"]);
    assert_eq!(told[2], "Append x 9 Some(3)");
}

#[test]
fn what_the_row_before_lacks_is_said_and_not_guessed() {
    let plan = read("url = 'redis://h'\ndelete = 'list:{{ Data.c }}'").unwrap().plan;
    let shape = Shape::default();
    let lacks = event("update", r#"{"id":7}"#, Some("{\"n\":1}"));
    let (wanted, _) = shape.wanted(&[&lacks]);
    let (commands, unusable) = plan.commands(&wanted, &shape);
    assert_eq!((commands.len(), unusable.len()), (0, 1));
    assert!(unusable[0].why.starts_with("delete: "), "{}", unusable[0].why);
}

#[test]
fn a_config_names_what_is_wrong_with_it_and_shows_no_password() {
    let of = |toml: &str| mistakes(toml).join("\n");
    assert!(of("url = 'redis://:s3cret@h'\ndelete = 'a'").contains("has a user or password"));
    assert!(!of("url = 'http://:s3cret@h'\ndelete = 'a'").contains("s3cret"));
    for url in ["http://h", "redis://", "redis://h/a", "rediss://h#insecure", "redis://h?p=3"] {
        assert!(of(&format!("url = '{url}'\ndelete = 'a'")).starts_with("url: "), "{url}");
    }
    let server = "url = ['redis://a', 'redis://b:7/2']\n";
    assert!(read(&format!("{server}delete = 'a'")).is_ok());
    assert!(of(&format!("{server}delete = 'a'\ncluster = true")).contains("names a database"));
    assert!(of(server).contains("does not say what to do"));
    assert!(of(&format!("{server}delete = 'a'\nttl = '1s'")).contains("only with set or hset"));
    assert!(of(&format!("{server}delete = 'a'\nuser = 'u'")).contains("has no password"));
    assert!(of(&format!("{server}set = 'a'\nhset = 'a'")).contains("the same keys"));
    assert!(of(&format!("{server}delete = ['{{{{ x }}}}']")).contains("no member of an event"));
}
