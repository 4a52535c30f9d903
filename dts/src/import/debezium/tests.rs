//! Offsets that Debezium 3.6.1 wrote, and offsets that it would not write.

use super::*;

/// Stopped by SIGTERM inside a transaction of 300,000 rows.
const IN_TRANSACTION: &[u8] = include_bytes!("../../../tests/offsets/debezium-in-transaction");
/// Stopped when it had sent everything: the last record does not say that the commit follows.
const CAUGHT_UP: &[u8] = include_bytes!("../../../tests/offsets/debezium-caught-up");
/// Stopped after its snapshot, with nothing streamed.
const BETWEEN: &[u8] = include_bytes!("../../../tests/offsets/debezium-after-snapshot");

const LINE: &str = "[\"a\",{\"server\":\"shop\"}]\t{\"file\":\"b.000001\",\"pos\":157}\n";

fn refusal(bytes: &[u8], server: Option<&str>) -> String {
    read_debezium(bytes, server).unwrap_err().to_string()
}

#[test]
fn a_real_file_is_read() {
    let inside = read_debezium(IN_TRANSACTION, None).unwrap();
    assert_eq!((inside.file.as_str(), inside.pos), ("binlog.000001", 2124));
    assert_eq!(inside.sent, Sent { events: 8, rows: 148 });
    assert_eq!(inside.gtids.unwrap().count(), 8);
    let caught_up = read_debezium(CAUGHT_UP, None).unwrap();
    assert_eq!(caught_up.sent, Sent { events: 2, rows: 1 });
    let between = read_debezium(BETWEEN, Some("crm")).unwrap();
    assert!(between.sent.is_nothing() && between.gtids.is_some());
}

#[test]
fn a_file_that_was_cut_or_changed_is_refused_without_a_panic() {
    for length in 0..IN_TRANSACTION.len() {
        assert!(read_debezium(&IN_TRANSACTION[..length], None).is_err(), "{length}");
    }
    for at in 0..IN_TRANSACTION.len() {
        for byte in [0, 0x70, 0x7f, 0xff] {
            let mut changed = IN_TRANSACTION.to_vec();
            changed[at] = byte;
            let _ = read_debezium(&changed, None);
        }
    }
    let mut longer = BETWEEN.to_vec();
    longer.push(0x78);
    assert!(refusal(&longer, None).contains("1 bytes follow the map"));
}

/// A map with more than one entry, as Java writes it: the class of the arrays is described once.
fn java(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
    const BEHIND_MAP: usize = 77;
    const CLASS: std::ops::Range<usize> = 82..100;
    let mut out = BETWEEN[..BEHIND_MAP].to_vec();
    out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    let mut described = false;
    let mut array = |out: &mut Vec<u8>, text: &str| {
        out.push(0x75);
        if described {
            out.extend_from_slice(&[0x71, 0x00, 0x7e, 0x00, 0x02]);
        } else {
            out.extend_from_slice(&BETWEEN[CLASS]);
            described = true;
        }
        out.extend_from_slice(&(text.len() as u32).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    for (key, value) in entries {
        array(&mut out, key);
        match value {
            Some(value) => array(&mut out, value),
            None => out.push(0x70),
        }
    }
    out.push(0x78);
    out
}

#[test]
fn one_of_several_servers_is_chosen_by_name() {
    let value = |pos: u32| format!(r#"{{"file":"b.000001","pos":{pos}}}"#);
    let (one, two) = (value(4), value(157));
    let file = java(&[
        (r#"["a",{"server":"shop"}]"#, Some(&one)),
        (r#"["b",{"server":"crm"}]"#, Some(&two)),
        (r#"["c",{"server":"gone"}]"#, None),
        (r#"["d",{"server":"postgres"}]"#, Some(r#"{"lsn":1}"#)),
        (r#"["e",{"partition":0}]"#, Some("{}")),
    ]);
    assert_eq!(read_debezium(&file, Some("crm")).unwrap().pos, 157);
    let error = refusal(&file, None);
    assert!(error.contains("shop, crm") && error.contains("--server"), "{error}");
    assert!(refusal(&file, Some("gone")).contains("there is no server gone"));
}

#[test]
fn of_the_topics_lines_the_last_one_counts() {
    let last = LINE.replace("157", "190");
    let read = read_debezium(format!("{LINE}\n{last}").as_bytes(), None).unwrap();
    assert_eq!((read.pos, read.gtids, read.sent), (190, None, Sent::default()));
    let removed = format!("{LINE}[\"a\",{{\"server\":\"shop\"}}]\tnull\n");
    assert!(refusal(removed.as_bytes(), None).contains("no server with a position"));
    let wrong = refusal(LINE.replace('\t', " ").as_bytes(), None);
    assert!(wrong.contains("line 1: it has no tab"), "{wrong}");
}

#[test]
fn a_snapshot_that_is_not_finished_is_refused() {
    for member in [r#""snapshot":true"#, r#""snapshot":"INITIAL""#] {
        let line = LINE.replace("\"pos\"", &format!("{member},\"pos\""));
        assert!(refusal(line.as_bytes(), None).contains("snapshot was not finished"), "{member}");
    }
    let done = LINE.replace("\"pos\"", r#""snapshot":"INITIAL","snapshot_completed":true,"pos""#);
    assert!(read_debezium(done.as_bytes(), None).is_ok());
    let running = LINE.replace("\"pos\"", r#""incremental_snapshot_primary_key":"aced","pos""#);
    assert!(refusal(running.as_bytes(), None).contains("incremental snapshot"));
}
