//! How records look to a handler.

use std::sync::Mutex;

use async_trait::async_trait;
use event_log::{Append, NewHeaders, NewRecord, PLAIN, Start, StorageConfig, files::FileReader};
use handler::Outcome;

use super::*;

const CHANGE: &str = r#"{"EvId":"g:1#0","Schema":"shop","TableName":"item","Action":"insert",
"PK":{"id":7},"Data":{"id":7,"n":1.50},"Seq":5,"Origin":"binlog","Ts":1700000000123,
"Source":{"serverId":1,"file":"b.1","pos":4,"row":0}}"#;

/// Records as a log gives them back.
async fn records(given: &[(u32, &str)]) -> Vec<Record> {
    let directory = tempfile::tempdir().unwrap();
    let log = event_log::Log::open(StorageConfig::new(directory.path())).unwrap();
    let stream = log.stream("s").unwrap();
    let headers = NewHeaders::Text(&[]);
    let records = given.iter().map(|(kind, payload)| NewRecord {
        kind: *kind,
        topic: "t",
        key: b"k",
        headers,
        payload: payload.as_bytes(),
    });
    stream.append(Append { producer: None, records, checkpoint: &[] }).await.unwrap();
    let mut reader = FileReader::open(&directory.path().join("s"), Start::Earliest).unwrap();
    reader.read(1 << 20).unwrap().records
}

#[derive(Default)]
struct Seen(Arc<Mutex<Vec<Event>>>);

#[async_trait]
impl Handler for Seen {
    async fn handle(&mut self, batch: Batch<'_>) -> Outcome {
        self.0.lock().unwrap().extend(batch.events.iter().map(|event| (*event).clone()));
        let first = batch.events[0].ev_id().to_owned();
        Outcome::partly(vec![first], None)
    }
}

/// The events of records, and the offsets that failed.
async fn events(form: RecordForm, records: &[Record]) -> (Vec<Event>, Vec<u64>) {
    let seen = Seen::default();
    let events = Arc::clone(&seen.0);
    let mut handler = ByHandler::new(Box::new(seen), form, "s");
    let Answer::Partly { failed, .. } = handler.call(records, 1).await else {
        panic!("not partly")
    };
    let events = events.lock().unwrap().clone();
    (events, failed)
}

fn value(event: &Event) -> Value {
    serde_json::from_str(event.json()).unwrap()
}

#[tokio::test]
async fn a_change_is_itself_and_other_records_are_as_cat_prints_them() {
    let records = records(&[(DATABASE_CHANGE, CHANGE), (PLAIN, "x"), (DATABASE_CHANGE, "y")]).await;
    let (events, failed) = events(RecordForm::Printed, &records).await;
    let offsets: Vec<u64> = records.iter().map(|record| record.offset).collect();
    assert_eq!(failed, offsets[..1]);
    let change = events[0].json();
    assert!(change.contains(r#""n":1.50"#) && !change.contains('\n'), "{change}");
    assert_eq!(value(&events[0])["Bus"]["offset"], offsets[0]);
    assert_eq!((events[0].ev_id(), events[0].seq()), ("g:1#0", Some(5)));
    let text = offsets[1].to_string();
    let plain = value(&events[1]);
    assert_eq!((plain["EvId"].as_str(), events[1].ev_id()), (Some(&*text), &*text));
    assert_eq!(
        (&plain["payload"], &plain["key"], &plain["topic"]),
        (&"x".into(), &"k".into(), &"t".into())
    );
    assert_eq!(value(&events[2])["payload"], "y", "what is no change event is shown as it is");
}

#[tokio::test]
async fn as_a_row_each_record_is_a_change_event_with_its_members_as_columns() {
    let log = r#"{"message":"m","timeNs":1772323200500000000,"big":123456789012345678901}"#;
    let records = records(&[
        (DATABASE_CHANGE, CHANGE),
        (APP_LOG, log),
        (JSON, r#"{"a":1.50,"offset":3}"#),
        (JSON, "[1]"),
        (PLAIN, "x"),
    ])
    .await;
    let (events, _) = events(RecordForm::Insert, &records).await;
    for event in &events {
        let change = ChangeEvent::read_text(event.json()).unwrap();
        assert_eq!(change.id, event.ev_id());
    }
    let data = |at: usize| value(&events[at])["Data"].clone();
    assert_eq!(
        (&data(1)["message"], &data(1)["time"]),
        (&"m".into(), &"2026-03-01T00:00:00.500Z".into())
    );
    assert!(events[1].json().contains("123456789012345678901"), "all digits");
    assert!(events[2].json().contains("1.50"), "{}", events[2].json());
    assert_eq!(data(2)["offset"], records[2].offset);
    assert_eq!((&data(3)["payload"], &data(4)["payload"]), (&serde_json::json!([1]), &"x".into()));
    assert_eq!(data(4)["receivedAt"], data(4)["time"]);
    let row = value(&events[4]);
    assert_eq!((&row["Schema"], &row["TableName"]), (&"s".into(), &"t".into()));
}
