//! `event-worker try`: calls a listener's handler once, and says what the answer means. Nothing on
//! the bus is read or changed.

use std::{io::Read, path::Path, time::Instant};

use bytes::Bytes;
use change_event::ChangeEvent;
use event_bus::{Delivery, Headers, Partition};
use serde::Deserialize;
use serde_json::value::RawValue;
use service::{exit::Exit, say};

use crate::{
    config::{BigInt, Config},
    error::Error,
    event::TakenEvent,
    handler::{self, Batch, HandlerMaker, Outcome},
};

/// The most bytes of a batch.
const MAX_INPUT_BYTES: u64 = 256 << 20;

/// The topic of events that do not name their topic.
const NOWHERE: &str = "try";

/// Calls the handler of the listener `id` once with the events of `input` (a JSON array, or one
/// event per line), and prints what the answer means.
///
/// # Errors
///
/// When the config or the input is wrong, or when the handler is a program of the user's.
pub async fn try_handler(file: &Path, id: &str, input: impl Read) -> Result<Exit, Error> {
    let config = Config::open_with_secrets_of(file, &[&format!("listeners.{id}")])?;
    let listener = config.listener(id)?;
    let made =
        handler::maker((id, listener), &config.secret_variables, &event_bus::open(&config.bus)?)?;
    let Some(HandlerMaker { make, .. }) = made else {
        return Err(Error::NoHandler(id.to_owned()));
    };
    let mut text = String::new();
    let read = input.take(MAX_INPUT_BYTES).read_to_string(&mut text);
    read.map_err(Error::io("cannot read standard input"))?;
    let mut events = events(&text).map_err(Error::BadInput)?;
    if events.is_empty() {
        return Err(Error::BadInput("there is no event in it".to_owned()));
    }
    if listener.big_int == BigInt::Text {
        events = events.into_iter().map(TakenEvent::with_texts_for_big_numbers).collect();
    }
    let mut handler = make(0);
    say!("called with {} ({} bytes)", count(events.len()), text.len());
    let began = Instant::now();
    let shown: Vec<_> = events.iter().map(TakenEvent::shown).collect();
    let outcome = handler.handle(Batch { events: &shown, attempt: 1 }).await;
    say!("it answered after {:.1?}", began.elapsed());
    drop(handler);
    let (meaning, exit) = meaning(&outcome, &events);
    say!("{meaning}");
    Ok(exit)
}

fn count(events: usize) -> String {
    if events == 1 { "1 event".to_owned() } else { format!("{events} events") }
}

/// What an answer means, in words, and the exit code.
fn meaning(outcome: &Outcome, events: &[TakenEvent]) -> (String, Exit) {
    let all = count(events.len());
    let saying = |said: &Option<String>| match said {
        Some(said) => format!("; the handler said: {said}"),
        None => String::new(),
    };
    match outcome {
        Outcome::Done => (format!("done: {all} would be committed"), Exit::Done),
        Outcome::Failed(failure) => {
            let again = match failure.retry_after {
                Some(wait) => format!("after {wait:?} at the earliest"),
                None => "after a while (`retry`)".to_owned(),
            };
            let (reason, said) = (&failure.reason, saying(&failure.said));
            (format!("failed: {reason}{said}; {all} would come again {again}"), Exit::Refused)
        }
        Outcome::Partly { failed: ids, failure } => {
            let is_known = |id: &&String| events.iter().any(|event| event.ev_id() == **id);
            let strangers: Vec<&str> =
                ids.iter().filter(|id| !is_known(id)).map(String::as_str).collect();
            let text = match strangers.is_empty() {
                true => format!(
                    "failed in part: {}; these would come again, with every later event of their \
                     keys: {}; the others are done{}",
                    failure.reason,
                    ids.join(", "),
                    saying(&failure.said)
                ),
                false => format!(
                    "failed: it names events that it was not given ({}), so {all} would come again",
                    strangers.join(", ")
                ),
            };
            (text, Exit::Refused)
        }
    }
}

/// The place on the bus that an event names.
#[derive(Deserialize)]
struct Bus {
    topic: String,
    partition: u32,
    offset: u64,
}

#[derive(Deserialize)]
struct Placed<'a> {
    #[serde(borrow, rename = "Bus")]
    bus: Option<&'a RawValue>,
}

/// The event without its last member, which is `bus`.
fn without(text: &str, bus: &RawValue) -> Option<String> {
    let (before, after) = text.rsplit_once(bus.get())?;
    let before = before.trim_end().strip_suffix(':')?.trim_end().strip_suffix("\"Bus\"")?;
    let before = before.trim_end().strip_suffix(',')?;
    (after.trim() == "}").then(|| format!("{before}}}"))
}

/// The events of an array, or of one line each.
fn events(text: &str) -> Result<Vec<TakenEvent>, String> {
    let one =
        |number: usize, text: &str| event(text).map_err(|why| format!("event {number}: {why}"));
    if text.trim_start().starts_with('[') {
        let parts: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        return (1..).zip(parts).map(|(number, part)| one(number, part.get())).collect();
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    (1..).zip(lines).map(|(number, line)| one(number, line)).collect()
}

fn event(text: &str) -> Result<TakenEvent, String> {
    let Placed { bus } = serde_json::from_str(text).map_err(|error| error.to_string())?;
    // `Bus` is added again as the last member, where `tail` prints it.
    let record = match bus {
        Some(bus) => without(text, bus).ok_or("Bus must be its last member, as tail prints it")?,
        None => text.to_owned(),
    };
    let bus = bus.map(|bus| serde_json::from_str(bus.get())).transpose();
    let bus: Option<Bus> = bus.map_err(|error| format!("Bus: {error}"))?;
    let change = ChangeEvent::read_text(&record).map_err(|error| error.to_string())?;
    let nowhere = || Bus { topic: NOWHERE.to_owned(), partition: 0, offset: 0 };
    let Bus { topic, partition, offset } = bus.unwrap_or_else(nowhere);
    let topic: std::sync::Arc<str> = topic.into();
    let delivery = Delivery {
        partition: Partition { topic: topic.clone(), number: partition },
        offset,
        topic,
        key: Bytes::new(),
        value: Bytes::new(),
        headers: Headers::default(),
    };
    Ok(TakenEvent::new((&delivery, &record), change, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::value;

    fn ids(text: &str) -> Result<Vec<String>, String> {
        Ok(events(text)?.iter().map(|event| event.ev_id().to_owned()).collect())
    }

    #[test]
    fn events_come_as_an_array_or_a_line_each() {
        let (a, b) = (value("a"), value("b"));
        assert_eq!(ids(&format!("[{a},\n {b}]")).unwrap(), ["a", "b"]);
        assert_eq!(ids(&format!("{a}\n\n{b}\n")).unwrap(), ["a", "b"]);
        assert_eq!(ids("[]\n").unwrap(), Vec::<String>::new());
        assert!(ids("[{}]").unwrap_err().starts_with("event 1: "));
        assert!(ids("nothing").is_err() && ids("[1").is_err());
    }

    #[test]
    fn an_event_that_tail_printed_keeps_its_place_and_has_it_once() {
        let bus = r#"{"topic":"db.s.t","partition":2,"offset":7}"#;
        let printed = value("a");
        let printed = format!("{},\"Bus\":{bus}}}", printed.strip_suffix('}').unwrap());
        let event = &events(&printed).unwrap()[0];
        assert_eq!(event.json(), printed);
        let spaced = printed.replace(",\"Bus\":", ", \"Bus\": ");
        assert_eq!(events(&spaced).unwrap()[0].json(), printed);
        let moved = format!("{{\"Bus\":{bus},{}", &value("a")[1..]);
        assert!(events(&moved).unwrap_err().contains("last member"));
        assert_eq!((event.place().0.number, event.place().1), (2, 7));
    }

    #[test]
    fn each_answer_is_told_with_what_follows() {
        let events = events(&format!("{}\n{}", value("a"), value("b"))).unwrap();
        let told = |outcome: Outcome| meaning(&outcome, &events);
        let partly = |id: &str| Outcome::partly(vec![id.to_owned()], None);
        assert_eq!(told(Outcome::Done), ("done: 2 events would be committed".into(), Exit::Done));
        let (text, exit) = told(Outcome::failed("no"));
        assert!(text.starts_with("failed: no; 2 events") && exit == Exit::Refused, "{text}");
        let (text, _) = told(partly("b"));
        assert!(text.contains("come again") && text.contains(": b; the others"), "{text}");
        let (text, _) = told(partly("x"));
        assert!(text.contains("was not given (x)"), "{text}");
    }
}
