//! Which events a listener wants.

use change_event::{Action, ChangeEvent, Columns, ReadError};

use crate::config::{Actions, ListenerConfig};

/// The wishes of a listener, looked up once per event.
#[derive(Debug)]
pub(super) struct Filter {
    globs: Vec<(String, String)>,
    actions: Actions,
    columns: Vec<String>,
}

impl Filter {
    pub(super) fn new(config: &ListenerConfig) -> Self {
        Self {
            globs: config.subscribe.clone(),
            actions: config.actions,
            columns: config.columns.clone(),
        }
    }

    /// Whether the listener wants this change. The topic alone does not tell: one topic may hold
    /// several tables.
    ///
    /// # Errors
    ///
    /// When its columns cannot be read.
    pub(super) fn wants(&self, change: &ChangeEvent<'_>) -> Result<bool, ReadError> {
        let wants_action = match change.action {
            Action::Insert => self.actions.insert,
            Action::Delete => self.actions.delete,
            Action::Update => self.actions.update && self.wants_update(change)?,
        };
        Ok(wants_action && self.wants_table(&change.schema, &change.table_name))
    }

    fn wants_update(&self, change: &ChangeEvent<'_>) -> Result<bool, ReadError> {
        if self.columns.is_empty() {
            return Ok(true);
        }
        let old = change.old.map(Columns::read).transpose()?.unwrap_or_default();
        Ok(self.columns.iter().any(|column| old.get(column).is_some()))
    }

    fn wants_table(&self, schema: &str, table: &str) -> bool {
        let fits = |(schema_glob, table_glob): &(String, String)| {
            glob_matches(schema_glob, schema) && glob_matches(table_glob, table)
        };
        self.globs.is_empty() || self.globs.iter().any(fits)
    }
}

/// `*` stands for any characters and `?` for one, as in [`event_bus::TopicName::filter`].
fn glob_matches(glob: &str, text: &str) -> bool {
    let (mut glob, mut text) = (glob.chars(), text.chars());
    // After the last `*`: the rest of the glob, and where the text goes on if it takes nothing.
    let mut star = None;
    loop {
        let here = text.clone();
        match (glob.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                star = Some((glob.clone(), here.clone()));
                text = here;
            }
            (Some('?'), Some(_)) => {}
            (Some(expected), Some(found)) if expected == found => {}
            _ => {
                let Some((rest, from)) = &mut star else { return false };
                if from.next().is_none() {
                    return false;
                }
                (glob, text) = (rest.clone(), from.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::value;

    fn filter(globs: &[(&str, &str)], columns: &[&str]) -> Filter {
        Filter {
            globs: globs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            actions: Actions { insert: true, update: true, delete: false },
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        }
    }

    fn wants(filter: &Filter, table: &str, action: &str) -> bool {
        let value = value("1")
            .replace("\"t\"", &format!("\"{table}\""))
            .replace("insert", action)
            .replace("\"Data\"", r#""Old":{"a":1},"Data""#);
        filter.wants(&ChangeEvent::read(value.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn globs_match_whole_names() {
        for (glob, text, expected) in [
            ("wx_*", "wx_config", true),
            ("wx_*", "wx_", true),
            ("wx_*", "a_wx_", false),
            ("*", "", true),
            ("*a*b", "xaxbxab", true),
            ("*a*b", "xaxbxabc", false),
            ("a?c", "a表c", true),
            ("a?c", "ac", false),
            ("a", "ab", false),
            ("ab", "a", false),
            ("[a]", "[a]", true),
        ] {
            assert_eq!(glob_matches(glob, text), expected, "{glob} on {text}");
        }
    }

    #[test]
    fn tables_and_actions_that_nobody_asked_for_are_left_out() {
        let some = filter(&[("s", "a*"), ("x", "*")], &[]);
        assert!(wants(&some, "ab", "insert") && !wants(&some, "b", "insert"));
        assert!(!wants(&some, "ab", "delete"));
        assert!(wants(&filter(&[], &[]), "b", "insert"));
    }

    #[test]
    fn columns_choose_among_updates_only() {
        assert!(wants(&filter(&[], &["b", "a"]), "t", "update"));
        assert!(!wants(&filter(&[], &["b"]), "t", "update"));
        assert!(wants(&filter(&[], &["b"]), "t", "insert"));
    }
}
