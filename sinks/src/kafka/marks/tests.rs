//! Tests of what is known of changes that were written.

use super::*;

fn mark(offset: u64, hash: u32, saved: u64) -> Mark {
    let source = "t/1".to_owned();
    Mark { source, offset, saved, is_aside: false, assigned_ms: 0, hash }
}

/// Writes changes, as a transaction does.
fn write(
    (marks, floors): (&mut Marks, &mut Floors),
    name: &str,
    written: &[Mark],
) -> Vec<MarkRecord> {
    written.iter().for_each(|mark| floors.note(mark));
    let records = marks.records(written.iter(), (floors, name));
    marks.take_all(&records).unwrap();
    records
}

#[test]
fn what_is_written_is_read_again() {
    let changes = vec![(0, 1), (1, u32::MAX), (127, 0), (128, 3), (1 << 40, 4), (u64::MAX, 5)];
    assert_eq!(decode(&encode(300, &changes)), Some((300, changes.clone())));
    assert_eq!(decode(&encode(300, &changes)[..8]), None);
    assert_eq!(decode(&[0x80; 20]), None);
    assert_eq!(decode(b""), None);
    assert_eq!(decode(&encode(0, &[])), Some((0, Vec::new())));
}

#[test]
fn a_change_is_known_until_it_is_saved() {
    let (mut marks, mut floors) = (Marks::default(), Floors::default());
    let mut write = |name: &str, written: &[Mark]| {
        let records = write((&mut marks, &mut floors), name, written);
        let has = |offset, hash| marks.has(&mark(offset, hash, 0));
        (records, [has(10, 8), has(12, 7), has(13, 9), has(11, 7)])
    };
    let (_, known) = write("a.1", &[mark(12, 7, 10), mark(10, 8, 10)]);
    assert_eq!(known, [true, true, false, false]);
    let (records, _) = write("a.2", &[mark(13, 9, 12)]);
    assert_eq!(records.len(), 1, "12 is not saved");
    let (records, known) = write("a.3", &[mark(14, 9, 13)]);
    assert_eq!(records[0], ("done t/1 a.1".to_owned(), None));
    assert_eq!(known, [false, false, true, false]);
}

#[test]
fn another_event_at_the_same_place_is_not_the_same() {
    let (mut marks, mut floors) = (Marks::default(), Floors::default());
    write((&mut marks, &mut floors), "a.1", &[mark(10, 7, 10)]);
    assert!(!marks.has(&mark(10, 8, 10)));
    assert!(!marks.has(&Mark { source: "t/2".to_owned(), ..mark(10, 7, 10) }));
}

#[test]
fn what_was_kept_aside_is_known_though_it_is_below_what_is_saved() {
    let (mut marks, mut floors) = (Marks::default(), Floors::default());
    let aside = Mark { is_aside: true, ..mark(3, 8, 20) };
    write((&mut marks, &mut floors), "a.1", &[mark(20, 7, 20), aside.clone()]);
    write((&mut marks, &mut floors), "a.2", &[mark(30, 9, 30)]);
    assert!(marks.has(&aside) && !marks.has(&mark(20, 7, 30)));
}

#[test]
fn who_was_told_less_than_another_is_stale() {
    let (mut marks, mut floors) = (Marks::default(), Floors::default());
    write((&mut marks, &mut floors), "a.1", &[mark(100, 7, 50)]);
    let is_stale = |of: &Mark| {
        let mut floors = Floors::default();
        floors.note(of);
        marks.is_stale(of, &floors)
    };
    assert!(is_stale(&mark(40, 1, 40)));
    assert!(!is_stale(&mark(60, 1, 50)));
    assert!(!is_stale(&mark(200, 1, 150)));
    let later = now_ms() + 60_000;
    assert!(!is_stale(&Mark { assigned_ms: later, ..mark(40, 1, 40) }), "it was set back");
    assert!(!marks.is_stale(&mark(60, 1, 40), &floors), "the same process was told more");
}

#[test]
fn a_source_that_was_set_back_keeps_what_is_written_then() {
    let (mut marks, mut floors) = (Marks::default(), Floors::default());
    write((&mut marks, &mut floors), "a.1", &[mark(100, 7, 100)]);
    write((&mut marks, &mut floors), "a.2", &[mark(5, 8, 5)]);
    write((&mut marks, &mut floors), "a.3", &[mark(6, 9, 5)]);
    assert!(marks.has(&mark(5, 8, 5)));
}

#[test]
fn who_claims_a_source_last_has_it() {
    let mut marks = Marks::default();
    let claim = |marks: &mut Marks, id: &str, value: Option<&[u8]>| {
        marks.take((&claim_key("t/1", id), value), 0).unwrap();
    };
    claim(&mut marks, "a", Some(b""));
    claim(&mut marks, "b", Some(b""));
    assert_eq!(marks.claimants("t/1"), ["a", "b"]);
    claim(&mut marks, "a", None);
    assert_eq!(marks.claimants("t/1"), ["b"]);
    assert!(marks.take(("no key of ours", None), 0).is_err());
    assert!(marks.take((SIGHT, Some(b"x")), 0).is_ok());
}
