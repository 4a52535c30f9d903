//! Which events a handler gets that makes requests: those of rows that match `where`, and of these
//! those with one of the `actions`.

use std::borrow::Cow;

use change_event::{Action, Columns};
use handler::Event;
use service::config::Section;

use crate::{
    change::{Change, push_member, too_large},
    filter::{Effect, Where},
};

/// Which events a handler gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    condition: Option<Where>,
    actions: Vec<Action>,
}

const ACTIONS: [Action; 3] = [Action::Insert, Action::Update, Action::Delete];

impl Selection {
    /// Reads `where` and `actions`; mistakes are noted. `None` when the handler gets all events.
    pub fn read(section: &Section) -> Option<Self> {
        let condition = Where::read(section);
        let names: Option<Vec<String>> = section.optional("actions");
        let is_all = condition.is_none() && names.is_none();
        let actions = names.map_or_else(|| ACTIONS.to_vec(), |names| read_actions(section, &names));
        (!is_all).then_some(Self { condition, actions })
    }

    /// The event for the handler, if it gets one. An update with which the row begins to match is
    /// an insert then, and one with which the row stops matching a delete.
    ///
    /// # Errors
    ///
    /// Why that cannot be said. It may hold values of the row.
    pub fn of<'e>(&self, event: &'e Event) -> Result<Option<Cow<'e, Event>>, String> {
        let change = Change::read(event).map_err(|unusable| unusable.why)?;
        let was = change.read.action;
        let action = match &self.condition {
            None => was,
            Some(condition) => match (change.read.oversized, condition.effect(&change)?) {
                (Some(bytes), _) => return Err(too_large(&change.read, bytes)),
                (None, Effect::Nothing) => return Ok(None),
                (None, Effect::Delete) => Action::Delete,
                (None, Effect::Begin) => Action::Insert,
                (None, Effect::Upsert) => was,
            },
        };
        if !self.actions.contains(&action) {
            return Ok(None);
        }
        if action == was {
            return Ok(Some(Cow::Borrowed(event)));
        }
        let json = with_action(&change, action)?;
        Ok(Some(Cow::Owned(Event { json, ..event.clone() })))
    }
}

fn read_actions(section: &Section, names: &[String]) -> Vec<Action> {
    let known = |name: &String| ACTIONS.into_iter().find(|action| action.as_str() == name);
    let actions: Vec<Action> = names.iter().filter_map(known).collect();
    if actions.is_empty() || actions.len() < names.len() {
        let problem = "names something else than actions, or nothing";
        section.note("actions", problem, "write some of insert, update and delete");
    }
    actions
}

/// The text of the same event with another action. A delete has the row before the change; an
/// insert keeps `Old`, from which it is seen that the row was there before.
fn with_action(change: &Change<'_>, action: Action) -> Result<String, String> {
    let members = Columns::read(change.event.json()).map_err(|error| error.to_string())?;
    let before = (action == Action::Delete).then(|| change.before()).flatten();
    let mut text = String::with_capacity(change.event.json().len());
    for (name, json) in members.iter() {
        match (name, &before) {
            ("Action", _) => push_member(&mut text, name, &format!("\"{}\"", action.as_str())),
            ("Data", Some(row)) => {
                let mut columns = String::new();
                row.iter().for_each(|(name, json)| push_member(&mut columns, name, json));
                push_member(&mut text, name, &format!("{{{columns}}}"));
            }
            ("Old", _) if action == Action::Delete => {}
            _ => push_member(&mut text, name, json),
        }
    }
    Ok(format!("{{{text}}}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service::config::File;

    use super::*;
    use crate::change::tests::event;

    fn selection(toml: &str) -> Selection {
        let file = File::parse(Path::new("test"), toml).unwrap();
        let selection = Selection::read(file.root());
        file.finish(selection).unwrap().unwrap()
    }

    /// Action, data and old of what the handler gets.
    fn got(toml: &str, given: &Event) -> Option<(String, String, Option<String>)> {
        let event = selection(toml).of(given).unwrap()?;
        let read = change_event::ChangeEvent::read_text(event.json()).unwrap();
        assert_eq!((&*read.id, read.seq), ("g:1#0", Some(5)));
        let old = read.old.map(str::to_owned);
        Some((read.action.as_str().to_owned(), read.data.to_owned(), old))
    }

    const PAID: &str = r#"{"id":7,"state":"paid"}"#;
    const OPEN: &str = r#"{"id":7,"state":"open"}"#;

    #[test]
    fn one_event_says_that_an_order_becomes_paid() {
        let becomes = "where = \"Data.state == 'paid'\"\nactions = ['insert']";
        let got = |action, data, old| got(becomes, &event(action, data, old));
        let (was_open, was_paid) = (Some(r#"{"state":"open"}"#), Some(r#"{"state":"paid"}"#));
        let (insert, paid) = ("insert".to_owned(), PAID.to_owned());
        let begun = (insert.clone(), paid.clone(), was_open.map(str::to_owned));
        assert_eq!(got("update", PAID, was_open), Some(begun));
        assert_eq!(got("insert", PAID, None), Some((insert, paid, None)));
        assert_eq!(got("update", PAID, Some(r#"{"n":1}"#)), None, "it was paid before");
        assert_eq!(got("update", OPEN, was_paid), None);
        assert_eq!(got("insert", OPEN, None), None);
        assert_eq!(got("delete", PAID, None), None);
    }

    #[test]
    fn a_row_that_stops_matching_is_a_delete_with_the_row_before() {
        let given = event("update", OPEN, Some(r#"{"state":"paid"}"#));
        let (action, data, old) = got("where = \"Data.state == 'paid'\"", &given).unwrap();
        assert_eq!((action.as_str(), data.as_str(), old), ("delete", PAID, None));
    }

    #[test]
    fn actions_alone_choose_and_mistakes_are_found() {
        let insert = event("insert", OPEN, None);
        assert_eq!(got("actions = ['update', 'delete']", &insert), None);
        assert!(got("actions = ['insert']", &insert).is_some());
        for wrong in ["actions = []", "actions = ['upsert']", "where = 'state == 1'"] {
            let file = File::parse(Path::new("test"), wrong).unwrap();
            let selection = Selection::read(file.root());
            assert!(file.finish(selection).is_err(), "{wrong}");
        }
        let none = File::parse(Path::new("test"), "").unwrap();
        assert_eq!(Selection::read(none.root()), None);
    }
}
