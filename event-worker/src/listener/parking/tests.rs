//! What waits aside, without a bus.

use super::*;
use crate::event::tests::delivery;

fn parking(text: &str) -> Parking {
    let text = format!("[listeners.a]\nhandler = 'print'\n{text}\n");
    let config = crate::Config::parse(std::path::Path::new("a.toml"), &text).unwrap();
    Parking::new(&config.listeners["a"])
}

fn event(offset: u64, ev_id: &str, key: &str) -> TakenEvent {
    let value = crate::event::tests::value(ev_id);
    let key = bytes::Bytes::copy_from_slice(key.as_bytes());
    let delivery = event_bus::Delivery { key, ..delivery(offset, &value) };
    let change = change_event::ChangeEvent::read_text(&value).unwrap();
    TakenEvent::new((&delivery, &value), change, 0).with_record_key(&delivery)
}

fn ids(events: &[TakenEvent]) -> Vec<&str> {
    events.iter().map(TakenEvent::ev_id).collect()
}

/// What the bus has after the changes.
fn saved(parking: &mut Parking, mut before: Vec<Kept>) -> Vec<Kept> {
    for KeptChange { partition, key, value } in parking.take_changes() {
        before.retain(|kept| kept.partition != partition || kept.key != key);
        before.extend(value.map(|value| Kept { partition, key, value }));
    }
    before.sort_by(|one, other| one.key.cmp(&other.key));
    before
}

#[test]
fn the_next_member_finds_what_waits_as_the_last_one_left_it() {
    let mut first = parking("park = { after = 2 }");
    let failure = Failure { said: Some("why".into()), ..Failure::new("no") };
    let kept = first.set_aside(vec![event(7, "a", "k"), event(9, "b", "k")], &failure);
    assert_eq!(kept.iter().map(|kept| kept.offset).collect::<Vec<_>>(), [7, 9]);
    assert!(first.holds(&event(10, "c", "k")) && !first.holds(&event(11, "d", "other")));
    first.add(event(10, "c", "k"));
    let (queue, _) = first.due(Instant::now() + std::time::Duration::from_secs(9))[0];
    let events = first.start(queue);
    assert_eq!(ids(&events), ["a"], "it is tried alone");
    first.ended(queue, (&[], events), Some(&failure), |_| true);
    assert_eq!(first.report().parked, 1);

    let kept = saved(&mut first, Vec::new());
    let mut second = parking("");
    second.load(&kept, |_| Some(3)).unwrap();
    let report = second.report();
    assert_eq!((report.keys, report.parked, report.events), (1, 1, 3));
    assert_eq!(second.next_due(Instant::now()), None, "a human decides");
    assert!(second.holds(&event(11, "d", "k")), "also where nothing new is parked");
    let trouble = second.queues[&0].trouble.clone().unwrap();
    assert_eq!((trouble.attempts, trouble.said.as_deref()), (2, Some("why")));
    assert!(second.queues[&0].events.iter().all(|event| event.generation == 3));
    assert!(second.load(&[Kept { value: "x".into(), ..kept[0].clone() }], |_| Some(3)).is_err());
}

#[test]
fn what_is_done_is_gone_and_the_next_event_is_tried_at_once() {
    let mut parking = parking("park = { after = 9 }\nbatchSize = 2");
    let no = Failure::new("no");
    let events = (1..6).map(|n| event(n, &format!("e{n}"), "k")).collect();
    parking.set_aside(events, &no);
    let kept = saved(&mut parking, Vec::new());
    assert_eq!(kept.len(), 5);
    let later = Instant::now() + std::time::Duration::from_secs(9);
    let (queue, _) = parking.due(later)[0];
    let first = parking.start(queue);
    assert!(parking.due(later).is_empty(), "it is in a call");
    parking.ended(queue, (&first, Vec::new()), None, |_| true);
    let next = parking.start(parking.due(Instant::now())[0].0);
    assert_eq!(ids(&next), ["e2", "e3"], "as many as a call may have");
    parking.ended(queue, (&next[..1], next[1..].to_vec()), Some(&no), |_| true);
    let kept = saved(&mut parking, kept);
    assert_eq!(kept.len(), 3);
    assert_eq!(parking.queues[&queue].trouble.as_ref().unwrap().attempts, 1, "of another event");
    assert_eq!(ids(&parking.start(queue)), ["e3"]);
}

#[test]
fn the_keys_of_a_row_whose_key_changed_wait_together_and_in_order() {
    let mut parking = parking("park = { after = 9 }");
    parking.set_aside(vec![event(1, "a1", "a")], &Failure::new("no"));
    let (delete, insert) = (event(4, "g#5d", "a"), event(5, "g#5i", "b"));
    assert!(parking.holds(&delete) && !parking.holds(&insert));
    parking.add(delete);
    assert!(parking.holds(&insert) && parking.joins(&insert));
    parking.add(insert);
    parking.add(event(2, "b1", "b"));
    assert!(!parking.joins(&event(6, "x#6i", "c")));
    let queue = &parking.queues[&0];
    let events: Vec<TakenEvent> = queue.events.iter().cloned().collect();
    assert_eq!(ids(&events), ["a1", "b1", "g#5d", "g#5i"]);
    assert_eq!(queue.keys.len(), 2);
}

#[test]
fn what_goes_to_another_member_is_dropped_and_not_saved() {
    let mut parking = parking("park = { after = 9 }");
    parking.set_aside(vec![event(1, "a", "k")], &Failure::new("no"));
    let later = Instant::now() + std::time::Duration::from_secs(9);
    let (queue, _) = parking.due(later)[0];
    let running = parking.start(queue);
    parking.add(event(2, "b", "k"));
    parking.retain(|_| false);
    assert!(parking.take_changes().is_empty() && !parking.holds(&event(3, "c", "k")));
    parking.ended(queue, (&running, Vec::new()), None, |_| false);
    assert_eq!(parking.report(), ParkingReport::default());
    assert!(parking.take_changes().is_empty());
}

#[test]
fn where_there_is_no_room_events_wait_in_memory_and_are_not_passed() {
    let mut parking = parking("park = { after = 9, maxBytes = '64KiB' }");
    let large = |offset, id: &str| {
        let text = crate::event::tests::value(id)
            .replace(r#""Data":{}"#, &format!(r#""Data":{{"a":"{}"}}"#, "x".repeat(40 << 10)));
        let delivery = event_bus::Delivery { key: "k".into(), ..delivery(offset, &text) };
        let change = change_event::ChangeEvent::read_text(&text).unwrap();
        TakenEvent::new((&delivery, &text), change, 0).with_record_key(&delivery)
    };
    let kept = parking.set_aside(vec![large(1, "a"), large(2, "b")], &Failure::new("no"));
    assert_eq!(kept.len(), 1);
    assert!(parking.is_full() && !parking.is_open());
    assert_eq!(parking.take_changes().len(), 1);
}

#[test]
fn an_event_for_which_there_is_no_room_is_tried_until_it_is_done() {
    let mut parking = parking("park = { after = 1, maxBytes = '64KiB' }");
    let no = Failure::new("no");
    let text = crate::event::tests::value("a");
    let text = text.replace(r#""Data":{}"#, &format!(r#""Data":"{}""#, "x".repeat(70 << 10)));
    let delivery = event_bus::Delivery { key: "k".into(), ..delivery(1, &text) };
    let change = change_event::ChangeEvent::read_text(&text).unwrap();
    let event = TakenEvent::new((&delivery, &text), change, 0).with_record_key(&delivery);
    assert!(parking.set_aside(vec![event], &no).is_empty());
    for _ in 0..3 {
        let report = parking.report();
        assert_eq!((report.parked, report.keys, report.is_full), (0, 1, true));
        let events = parking.start(0);
        parking.ended(0, (&[], events), Some(&no), |_| true);
    }
    let events = parking.start(0);
    parking.ended(0, (&events, Vec::new()), None, |_| true);
    assert_eq!(parking.report(), ParkingReport::default());
}

#[test]
fn a_time_parks_what_has_failed_for_so_long() {
    let mut parking = parking("park = { after = '1h' }");
    let no = Failure::new("no");
    parking.set_aside(vec![event(1, "a", "k")], &no);
    assert_eq!(parking.report().parked, 0);
    let queue = parking.queues.get_mut(&0).unwrap();
    queue.trouble.as_mut().unwrap().since_ms -= 3_600_000;
    let events = parking.start(0);
    parking.ended(0, (&[], events), Some(&no), |_| true);
    assert_eq!(parking.report().parked, 1);
}

#[test]
fn what_a_human_tries_and_fails_again_stays_parked() {
    let mut parking = parking("park = { after = 1 }");
    parking.set_aside(vec![event(1, "a", "k")], &Failure::new("no"));
    let name = parking.queues[&0].name.clone();
    let retry = ParkedCommand { queue: name.clone(), wish: ParkedWish::Retry };
    for failure in [Some(Failure::unclear("not reached")), Some(Failure::new("no")), None] {
        assert!(parking.obey(&retry));
        let events = parking.start(0);
        assert!(!parking.obey(&retry), "it is in a call");
        parking.ended(0, (&[], events), failure.as_ref(), |_| true);
        assert_eq!(parking.report().parked, 1, "{failure:?}");
    }
    assert_eq!(parking.queues[&0].trouble.as_ref().unwrap().attempts, 3);
    assert!(parking.obey(&ParkedCommand { queue: name.clone(), wish: ParkedWish::Replay }));
    assert_eq!((parking.report().parked, parking.report().keys), (0, 1));
    let keys = vec![entry::key_of(&event(1, "a", "k"))];
    assert!(parking.obey(&ParkedCommand { queue: name, wish: ParkedWish::Drop(keys) }));
    assert_eq!(parking.report(), ParkingReport::default());
    assert!(saved(&mut parking, Vec::new()).is_empty());
}

#[test]
fn a_call_with_several_events_that_fails_says_nothing_of_the_first() {
    let mut parking = parking("park = { after = 1 }\nbatchSize = 9");
    let no = Failure::new("no");
    parking.set_aside((1..5).map(|n| event(n, &format!("e{n}"), "k")).collect(), &no);
    let name = parking.queues[&0].name.clone();
    parking.obey(&ParkedCommand { queue: name, wish: ParkedWish::Replay });
    let all = parking.start(0);
    assert_eq!(all.len(), 4);
    parking.ended(0, (&[], all), Some(&no), |_| true);
    assert_eq!(parking.report().parked, 0);
    let first = parking.start(0);
    assert_eq!(ids(&first), ["e1"]);
    parking.ended(0, (&first, Vec::new()), None, |_| true);
    let rest = parking.start(0);
    assert_eq!(ids(&rest), ["e2", "e3", "e4"]);
}

#[test]
fn what_the_bus_cannot_keep_is_told_and_kept_for_later() {
    let mut parking = parking("park = { after = 9 }");
    parking.set_aside(vec![event(1, "a", "k")], &Failure::new("no"));
    let changes = parking.take_changes();
    parking.not_saved(changes);
    parking.refused("16 MiB at most");
    let report = parking.report();
    assert!(report.is_full && report.refused.as_deref() == Some("16 MiB at most"));
    assert_eq!(saved(&mut parking, Vec::new()).len(), 1);
    parking.is_saved();
    assert!(!parking.report().is_full);
}

#[test]
fn the_number_says_which_event_is_later_also_in_a_topic_that_was_made_again() {
    let numbered = |offset, id: &str, seq: u64| {
        let seq = format!(r#""Data":{{}},"Seq":{seq}"#);
        let value = crate::event::tests::value(id).replace(r#""Data":{}"#, &seq);
        let delivery = event_bus::Delivery { key: "k".into(), ..delivery(offset, &value) };
        let change = change_event::ChangeEvent::read_text(&value).unwrap();
        TakenEvent::new((&delivery, &value), change, 0).with_record_key(&delivery)
    };
    let mut first = parking("park = { after = 1 }");
    let old = vec![numbered(500, "p1", 1), numbered(502, "p2", 2)];
    first.set_aside(old, &Failure::new("no"));
    first.add(numbered(0, "p3", 3));
    // Where an old event was.
    first.add(numbered(502, "p4", 4));
    let in_order = |parking: &Parking| {
        let queue = parking.queues.values().next().unwrap();
        queue.events.iter().map(|event| event.ev_id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(in_order(&first), ["p1", "p2", "p3", "p4"]);
    let kept = saved(&mut first, Vec::new());
    let mut second = parking("park = { after = 1 }");
    second.load(&kept, |_| Some(1)).unwrap();
    assert_eq!(in_order(&second), ["p1", "p2", "p3", "p4"]);
    assert_eq!(second.report().parked, 1);
    assert_eq!(second.add(numbered(502, "p2", 2)).map(|kept| kept.offset), Some(502), "again");
    assert_eq!(in_order(&second).len(), 4);
}
