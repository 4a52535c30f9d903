//! Answers that OpenSearch 2.19.6 and Elasticsearch 8.17.0 gave, and what is made of them.

use handler::Event;

use super::*;
use crate::{
    change::tests::event,
    elasticsearch::bulk::{Document, tests::names},
    shape::Shape,
};

/// What the answer means for so many documents, of which some are deleted.
fn outcomes(answer: &str, deletes: &[bool]) -> Outcomes {
    let events: Vec<Event> = deletes
        .iter()
        .enumerate()
        .map(|(id, is_delete)| {
            let one = event(if *is_delete { "delete" } else { "insert" }, r#"{"id":7}"#, None);
            Event {
                json: one.json.replace("\"id\":7", &format!("\"id\":{id}")),
                ev_id: format!("g:1#{id}"),
                ..one
            }
        })
        .collect();
    let events: Vec<&Event> = events.iter().collect();
    let (wanted, _) = Shape::default().wanted(&events);
    let (documents, _) = Document::of(&wanted, &names());
    let operations: Vec<Operation<'_>> =
        documents.iter().map(|of| Operation::of(of, None, &names()).unwrap()).collect();
    let operations: Vec<&Operation<'_>> = operations.iter().collect();
    serde_json::from_str::<BulkAnswer>(answer).unwrap().outcomes(&operations).unwrap()
}

const OPENSEARCH_MIXED: &str = r#"{"took":86,"errors":true,"items":[
    {"index":{"_index":"t1","_id":"1","status":409,"error":{"type":"version_conflict_engine_exception","reason":"[1]: version conflict, current version [5] is higher or equal to the one provided [5]","index":"t1","shard":"0","index_uuid":"D9JDyxYASTGKnIGVCrxI_g"}}},
    {"delete":{"_index":"t1","_id":"none","_version":5,"result":"not_found","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":1,"_primary_term":1,"status":404}},
    {"index":{"_index":"t1","_id":"2","status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse field [n] of type [long] in document with id '2'. Preview of field's value: 'x'","caused_by":{"type":"illegal_argument_exception","reason":"For input string: \"x\""}}}},
    {"index":{"_index":"t1","_id":"3","_version":5,"result":"created","status":201}}]}"#;

#[test]
fn a_row_that_does_not_fit_is_refused_with_its_field_and_the_others_are_done() {
    let outcomes = outcomes(OPENSEARCH_MIXED, &[false, true, false, false]);
    assert_eq!(outcomes.written, Written { rows: 1, deletes: 1, conflicts: 1, absent: 0 });
    assert_eq!((outcomes.again.len(), outcomes.stuck), (0, None));
    let [refused] = outcomes.refused.as_slice() else { panic!("{:?}", outcomes.refused) };
    assert_eq!(refused.ev_id, "g:1#2");
    let said = "the server refuses it with 400: failed to parse field [n] of type [long] in \
                document with id '2'. Preview of field's value: 'x': For input string: \"x\"";
    assert_eq!(refused.why, said);
}

#[test]
fn what_the_server_repeats_is_told_once_and_in_one_line() {
    let answer = r#"{"errors":true,"items":[{"index":{"status":400,"error":{"type":"document_parsing_exception","reason":"[1:171] failed to parse field [u] of type [long]: Numeric value (18446744073709551615) out of range of long\n at [Source: (byte[])\"{}\"; line: 1, column: 191]","caused_by":{"type":"input_coercion_exception","reason":"Numeric value (18446744073709551615) out of range of long\n at [Source: (byte[])\"{}\"; line: 1, column: 191]"}}}}]}"#;
    let outcomes = outcomes(answer, &[false]);
    let said = "the server refuses it with 400: [1:171] failed to parse field [u] of type [long]: \
                Numeric value (18446744073709551615) out of range of long";
    assert_eq!(outcomes.refused[0].why, said);
}

#[test]
fn what_is_refused_because_the_server_is_busy_is_sent_again() {
    let answer = r#"{"errors":true,"items":[{"index":{"status":201}},{"index":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"rejected execution of coordinating operation"}}}]}"#;
    let outcomes = outcomes(answer, &[false, false]);
    assert_eq!((outcomes.written.rows, &*outcomes.again), (1, &[1][..]));
    assert_eq!(outcomes.busy.as_deref(), Some("429: rejected execution of coordinating operation"));
    assert_eq!((outcomes.refused.len(), outcomes.stuck), (0, None));
}

#[test]
fn an_index_that_takes_nothing_refuses_no_row() {
    let blocked = r#"{"took":1,"errors":true,"items":[{"index":{"_index":"t1","_id":"9","status":429,"error":{"type":"cluster_block_exception","reason":"index [t1] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block];"}}}]}"#;
    let closed = r#"{"took":0,"errors":true,"items":[{"index":{"_index":"t1","_id":"9","status":400,"error":{"type":"index_closed_exception","reason":"closed","index":"t1","index_uuid":"D9JDyxYASTGKnIGVCrxI_g"}}}]}"#;
    let absent = r#"{"errors":true,"items":[{"index":{"status":404,"error":{"type":"index_not_found_exception","reason":"no such index [t1] and [action.auto_create_index] is [false]"}}}]}"#;
    let forbidden = r#"{"errors":true,"items":[{"index":{"status":403,"error":{"type":"security_exception","reason":"action [indices:data/write/bulk[s]] is unauthorized for user [writer]"}}}]}"#;
    for (answer, part) in [
        (blocked, "nearly full"),
        (closed, "_open"),
        (absent, "auto_create_index"),
        (forbidden, "privileges"),
    ] {
        let outcomes = outcomes(answer, &[false]);
        assert_eq!((outcomes.refused.len(), outcomes.again.len()), (0, 0), "{answer}");
        let failure = outcomes.stuck.unwrap();
        assert!(failure.is_unclear && failure.reason.contains(part), "{failure:?}");
    }
}

#[test]
fn an_answer_without_errors_is_about_every_operation() {
    let outcomes = outcomes(
        r#"{"errors":false,"items":[{"index":{"status":200}},{"delete":{"status":200}}]}"#,
        &[false, true],
    );
    assert_eq!(outcomes.written, Written { rows: 1, deletes: 1, conflicts: 0, absent: 0 });
}
