//! Which events of a batch the handler gets: `where` and `actions` of the handler.

use std::{borrow::Cow, collections::HashSet};

use change_event::{ChangeEvent, order_key};
use handler::{Event, Failure, Outcome};
use sinks::Selection;

/// The chosen events of a batch, and those of which nobody can say whether they are.
#[derive(Default)]
pub(crate) struct Choice<'e> {
    events: Vec<Cow<'e, Event>>,
    /// Events that do not fit the condition, and later ones of their keys.
    failed: Vec<String>,
    why: Option<String>,
}

impl<'e> Choice<'e> {
    pub(crate) fn new(selection: &Selection, events: &[&'e Event]) -> Self {
        let (mut choice, mut held) = (Self::default(), HashSet::new());
        for event in events {
            // What came later must not be done earlier.
            if !held.is_empty() && held.contains(&key_of(event)) {
                choice.failed.push(event.ev_id().to_owned());
                continue;
            }
            match selection.of(event) {
                Ok(chosen) => choice.events.extend(chosen),
                Err(why) => {
                    held.insert(key_of(event));
                    choice.failed.push(event.ev_id().to_owned());
                    choice.why.get_or_insert(why);
                }
            }
        }
        choice
    }

    pub(crate) fn events(&self) -> Vec<&Event> {
        self.events.iter().map(AsRef::as_ref).collect()
    }

    /// How the whole batch ended, when the call of the chosen events ended so.
    pub(crate) fn outcome(self, of_chosen: Outcome) -> Outcome {
        let Some(why) = self.why else { return of_chosen };
        match of_chosen {
            Outcome::Done => {
                let reason = "`where` does not fit an event";
                Outcome::Partly { failed: self.failed, failure: Failure::new(reason).saying(why) }
            }
            Outcome::Partly { mut failed, failure } => {
                failed.extend(self.failed);
                Outcome::Partly { failed, failure }
            }
            Outcome::Failed(failure) => Outcome::Failed(failure),
        }
    }
}

/// All changes of a row have the same.
pub(crate) fn key_of(event: &Event) -> Vec<u8> {
    let Ok(read) = ChangeEvent::read_text(event.json()) else {
        return event.json().as_bytes().to_owned();
    };
    let key = format!("{}\0{}\0{}", read.schema, read.table_name, read.key);
    order_key(key.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service::config::File;

    use super::*;

    fn order(id: u32, number: u32, state: &str) -> Event {
        let json = format!(
            r#"{{"EvId":"g:{number}#0","Schema":"shop","TableName":"orders","Action":"insert","PK":{{"id":{id}}},"Data":{{"id":{id},"state":{state}}},"Seq":{number},"Origin":"binlog","Ts":1700000000123,"Source":{{"serverId":1,"file":"b.1","pos":4,"row":0}}}}"#
        );
        Event { json, ev_id: format!("g:{number}#0"), ..Event::default() }
    }

    #[test]
    fn an_event_that_does_not_fit_is_named_with_the_later_ones_of_its_key() {
        let file = File::parse(Path::new("test"), "where = 'Data.state > 5'").unwrap();
        let selection = Selection::read(file.root());
        let selection = file.finish(selection).unwrap().unwrap();
        let events = [order(1, 1, "9"), order(2, 2, "\"x\""), order(2, 3, "9"), order(3, 4, "1")];
        let given: Vec<&Event> = events.iter().collect();
        let choice = || Choice::new(&selection, &given);
        let chosen = choice();
        let ids: Vec<&str> = chosen.events().iter().map(|event| event.ev_id()).collect();
        assert_eq!(ids, ["g:1#0"]);
        let named = |outcome: Outcome| match choice().outcome(outcome) {
            Outcome::Partly { failed, .. } => failed,
            other => panic!("{other:?}"),
        };
        assert_eq!(named(Outcome::Done), ["g:2#0", "g:3#0"]);
        let first = Outcome::partly(vec!["g:1#0".to_owned()], None);
        assert_eq!(named(first), ["g:1#0", "g:2#0", "g:3#0"]);
        assert_eq!(choice().outcome(Outcome::failed("down")), Outcome::failed("down"));
        let good = Choice::new(&selection, &given[..1]);
        assert_eq!(good.outcome(Outcome::Done), Outcome::Done);
    }
}
