//! Which events a listener wants.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use change_event::{Action, ChangeEvent, Columns, ReadError};
use event_bus::Delivery;
use full_sync::LISTENER_HEADER;
use service::glob;
use tracing::warn;

use super::ledger::{Ledger, Missing};
use crate::config::{Actions, ListenerConfig};

/// What a listener wants, compared with each event.
#[derive(Debug)]
pub(super) struct Filter {
    /// Our id: the rows of a full sync are for one listener only.
    listener: String,
    globs: Vec<(String, String)>,
    actions: Actions,
    columns: Vec<String>,
    /// Whether rows of full syncs are wanted.
    full_sync: bool,
    /// It was logged that such rows came although the listener does not want them.
    is_told: AtomicBool,
}

impl Filter {
    pub(super) fn new(listener: &str, config: &ListenerConfig) -> Self {
        Self {
            listener: listener.to_owned(),
            globs: config.subscribe.clone(),
            actions: config.actions,
            columns: config.columns.clone(),
            full_sync: config.full_sync,
            is_told: AtomicBool::new(false),
        }
    }

    /// Whether the headers of a record already show that the listener does not want it.
    pub(super) fn is_foreign(&self, headers: &[(String, String)]) -> bool {
        let value = |wanted: &str| headers.iter().find(|(name, _)| name == wanted);
        if value(LISTENER_HEADER).is_some_and(|(_, listener)| *listener != self.listener) {
            return true;
        }
        let table = value("table");
        // Both names may contain dots, so each dot may be the separator.
        table.is_some_and(|(_, table)| {
            let mut dots = table.match_indices('.').map(|(at, _)| table.split_at(at));
            !dots.any(|(schema, rest)| self.wants_table(schema, &rest[1..]))
        })
    }

    /// Counts a record in the book, unless the record is for another listener.
    pub(super) fn count_in(&self, ledger: &mut Ledger, delivery: &Delivery) -> Option<Missing> {
        let addressee = delivery.headers.iter().find(|(name, _)| name == LISTENER_HEADER);
        if addressee.is_some_and(|(_, listener)| *listener != self.listener) {
            return None;
        }
        ledger.count(delivery, addressee.is_some())
    }

    /// Whether the listener wants this change. The topic alone does not say that: one topic may
    /// have several tables. Rows of its own full syncs are always wanted, whatever `actions` and
    /// `columns` say.
    ///
    /// # Errors
    ///
    /// When its columns cannot be read.
    pub(super) fn wants(&self, change: &ChangeEvent<'_>) -> Result<bool, ReadError> {
        if let Some(listener) = &change.listener {
            let is_ours = *listener == self.listener;
            let wants = is_ours && self.wants_table(&change.schema, &change.table_name);
            return Ok(wants && self.takes_full_sync());
        }
        let wants_action = match change.action {
            Action::Insert => self.actions.insert,
            Action::Delete => self.actions.delete,
            Action::Update => self.actions.update && self.wants_update(change)?,
        };
        Ok(wants_action && self.wants_table(&change.schema, &change.table_name))
    }

    /// A row of a full sync came for us, but the config does not take full syncs. A full sync that
    /// began before this config is refused too.
    fn takes_full_sync(&self) -> bool {
        if !self.full_sync && !self.is_told.swap(true, Relaxed) {
            warn!(
                "rows of a full sync came for this listener, which refuses them (fullSync = \
                 false); its handler does not get them"
            );
        }
        self.full_sync
    }

    fn wants_update(&self, change: &ChangeEvent<'_>) -> Result<bool, ReadError> {
        // For a large row it is not known what changed, so one of these columns may have changed.
        if self.columns.is_empty() || change.oversized.is_some() {
            return Ok(true);
        }
        let old = change.old.map(Columns::read).transpose()?.unwrap_or_default();
        // The same holds for a column that a MariaDB did not log.
        let may_have_changed = |column: &String| {
            old.get(column).is_some() || change.absent.iter().any(|it| it == column)
        };
        Ok(self.columns.iter().any(may_have_changed))
    }

    fn wants_table(&self, schema: &str, table: &str) -> bool {
        let fits = |(schema_glob, table_glob): &(String, String)| {
            glob::matches(schema_glob, schema) && glob::matches(table_glob, table)
        };
        self.globs.is_empty() || self.globs.iter().any(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::value;

    fn filter(globs: &[(&str, &str)], columns: &[&str]) -> Filter {
        Filter {
            listener: "me".to_owned(),
            globs: globs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            actions: Actions { insert: true, update: true, delete: false },
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            full_sync: true,
            is_told: AtomicBool::new(false),
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
    fn tables_and_actions_that_nobody_asked_for_are_left_out() {
        let some = filter(&[("s", "a*"), ("x", "*")], &[]);
        assert!(wants(&some, "ab", "insert") && !wants(&some, "b", "insert"));
        assert!(!wants(&some, "ab", "delete"));
        assert!(wants(&filter(&[], &[]), "b", "insert"));
    }

    #[test]
    fn a_header_tells_foreign_tables_without_reading_the_event() {
        let some = filter(&[("s", "a*"), ("x.y", "*")], &[]);
        let is_foreign = |table: &str| some.is_foreign(&[("table".to_owned(), table.to_owned())]);
        assert!(is_foreign("s.b") && is_foreign("x.y") && is_foreign("t.a"));
        assert!(!is_foreign("s.a1") && !is_foreign("x.y.z") && !is_foreign("s.a.b"));
        assert!(!some.is_foreign(&[]));
    }

    #[test]
    fn rows_of_a_full_sync_are_for_the_listener_that_asked_for_them_and_for_no_other() {
        let some = filter(&[("s", "a*")], &["b"]);
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert!(some.is_foreign(&[header("listener", "you"), header("table", "s.a")]));
        assert!(!some.is_foreign(&[header("listener", "me"), header("table", "s.a")]));
        assert!(some.is_foreign(&[header("listener", "me"), header("table", "s.b")]));
        let wants = |listener: &str, table: &str, action: &str| {
            let origin = format!(r#""Origin":"full_sync","Listener":"{listener}""#);
            let value = value("1")
                .replace("\"t\"", &format!("\"{table}\""))
                .replace("insert", action)
                .replace(r#""Origin":"binlog""#, &origin);
            some.wants(&ChangeEvent::read(value.as_bytes()).unwrap()).unwrap()
        };
        assert!(wants("me", "a1", "insert") && wants("me", "a1", "update"));
        assert!(wants("me", "a1", "delete"), "whatever `actions` says");
        assert!(!wants("you", "a1", "insert") && !wants("me", "b", "insert"));
    }

    #[test]
    fn a_listener_that_refuses_full_syncs_does_not_give_their_rows_to_its_handler() {
        let refuses = Filter { full_sync: false, ..filter(&[], &[]) };
        let wants = |value: &str| refuses.wants(&ChangeEvent::read_text(value).unwrap()).unwrap();
        let change = value("1");
        let row = change.replace(r#""Origin":"binlog""#, r#""Origin":"full_sync","Listener":"me""#);
        assert!(wants(&change) && !wants(&row));
    }

    #[test]
    fn columns_choose_among_updates_only() {
        assert!(wants(&filter(&[], &["b", "a"]), "t", "update"));
        assert!(!wants(&filter(&[], &["b"]), "t", "update"));
        assert!(wants(&filter(&[], &["b"]), "t", "insert"));
    }

    #[test]
    fn an_update_that_does_not_tell_its_columns_is_wanted() {
        for (member, expected) in [
            (r#""Oversized":9"#, true),
            (r#""Absent":["c","b"]"#, true),
            (r#""Absent":["c"]"#, false),
        ] {
            let value = value("1").replace("insert", "update");
            let value = value.replace("\"Data\"", &format!("{member},\"Data\""));
            let change = ChangeEvent::read(value.as_bytes()).unwrap();
            assert_eq!(filter(&[], &["b"]).wants(&change).unwrap(), expected, "{member}");
        }
    }
}
