//! Rows without all their columns, and the documents that they make.

use full_sync::TableColumn;
use handler::Event;
use serde_json::value::RawValue;

use super::*;
use crate::{change::tests::event, elasticsearch::bulk::tests::names, shape::Shape};

fn table() -> Table {
    let column = |name: &str| TableColumn { name: name.to_owned(), ..TableColumn::default() };
    Table { columns: Some(["id", "a", "b"].map(column).into()), ..Table::default() }
}

/// A change of a key, with its number.
fn change((action, id, seq, mark): (&str, u64, u64, &str), data: &str) -> Event {
    let one = event(action, data, (action == "update").then_some("{}"));
    let json = one.json.replace(r#""PK":{"id":7}"#, &format!(r#""PK":{{"id":{id}}}"#));
    let json = json.replace(r#""Seq":5"#, &format!(r#""Seq":{seq}"#));
    Event { json, ev_id: format!("g:1#0{mark}"), ..one }
}

fn found(version: u64, source: &str) -> Option<Found> {
    Some(Found { version, source: RawValue::from_string(source.to_owned()).unwrap() })
}

/// What the documents of these changes become, by their ids, when the server has these.
fn merged(events: &[Event], server: &[(&str, Option<Found>)]) -> Vec<(String, String)> {
    let events: Vec<&Event> = events.iter().collect();
    let (wanted, unusable) = Shape::default().wanted(&events);
    assert_eq!(unusable, []);
    let (documents, _) = Document::of(&wanted, &names());
    let table = table();
    let extent = |wanted: &Wanted<'_>| Extent::of(&wanted.change, Some(&table));
    let needed = needed(&documents, extent);
    let of = |at: &usize| {
        let id = &documents[*at].place.id;
        let (_, found) = server.iter().find(|(known, _)| known == id)?;
        let found = found.as_ref()?;
        Some(Found { version: found.version, source: found.source.clone() })
    };
    let found: BTreeMap<_, _> = needed.iter().map(|at| (*at, of(at))).collect();
    let Merged { texts, absent, unusable } = merge(&wanted, &documents, &found, extent).unwrap();
    let absent = absent.into_iter().map(|at| (documents[at].place.id.clone(), "absent".into()));
    let texts = texts.into_iter().map(|(at, text)| (documents[at].place.id.clone(), text));
    let unusable = unusable.into_values().map(|one| (one.ev_id, one.why));
    texts.chain(absent).chain(unusable).collect()
}

fn of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn a_whole_row_needs_no_document() {
    let whole = change(("update", 7, 5, ""), r#"{"id":7,"a":1,"b":null}"#);
    assert_eq!(merged(&[whole], &[("7", found(1, r#"{"id":7,"a":0,"c":9}"#))]), []);
}

#[test]
fn an_absent_column_stays_as_it_is_and_is_never_null() {
    let partial = change(("update", 7, 5, ""), r#"{"id":7,"a":1}"#);
    let server = [("7", found(1, r#"{"id":7,"a":0,"b":"kept"}"#))];
    let kept = of(&[("7", r#"{"id":7,"a":1,"b":"kept"}"#)]);
    assert_eq!(merged(&[partial], &server), kept);
}

#[test]
fn changes_of_one_row_add_up_but_for_those_that_the_server_has() {
    let changes = [
        change(("update", 7, 5, ""), r#"{"id":7,"a":1}"#),
        change(("update", 7, 6, ""), r#"{"id":7,"b":2}"#),
    ];
    let server = [("7", found(4, r#"{"id":7,"a":0,"b":0}"#))];
    assert_eq!(merged(&changes, &server), of(&[("7", r#"{"id":7,"a":1,"b":2}"#)]));
    // What the server has is newer than the first change.
    let server = [("7", found(5, r#"{"id":7,"a":"newer","b":0}"#))];
    assert_eq!(merged(&changes, &server), of(&[("7", r#"{"id":7,"a":"newer","b":2}"#)]));
    let again = [
        change(("delete", 7, 5, ""), r#"{"id":7}"#),
        change(("insert", 7, 6, ""), r#"{"id":7,"b":2}"#),
    ];
    let server = [("7", found(4, r#"{"id":7,"a":0,"b":0}"#))];
    assert_eq!(merged(&again, &server), of(&[("7", r#"{"id":7,"b":2}"#)]));
}

#[test]
fn a_row_that_moves_takes_what_it_lacks_with_it() {
    let moved = [
        change(("delete", 7, 5, "d"), r#"{"id":7}"#),
        change(("insert", 8, 6, "i"), r#"{"id":8}"#),
    ];
    let server = [("7", found(4, r#"{"id":7,"a":1,"b":2}"#))];
    assert_eq!(merged(&moved, &server), of(&[("8", r#"{"id":8,"a":1,"b":2}"#)]));
    // It comes again, after both were done.
    let server = [("8", found(6, r#"{"id":8,"a":1,"b":2}"#))];
    assert_eq!(merged(&moved, &server), of(&[("8", r#"{"id":8,"a":1,"b":2}"#)]));
}

#[test]
fn what_a_moved_row_lacks_is_not_guessed() {
    let half = change(("insert", 8, 6, "i"), r#"{"id":8,"a":1}"#);
    let merged = merged(&[half], &[]);
    assert_eq!((merged.len(), &*merged[0].0), (1, "g:1#0i"));
    assert!(merged[0].1.contains("binlog_row_image"), "{}", merged[0].1);
}

#[test]
fn a_part_of_a_document_that_is_not_there_makes_none() {
    let part = change(("update", 7, 5, ""), r#"{"id":7,"a":1}"#);
    assert_eq!(merged(&[part], &[("7", None)]), of(&[("7", "absent")]));
    let new = change(("insert", 7, 5, ""), r#"{"id":7,"a":1}"#);
    assert_eq!(merged(&[new], &[("7", None)]), of(&[("7", r#"{"id":7,"a":1}"#)]));
}
