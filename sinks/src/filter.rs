//! `where`: which rows of a table are in the target, with the meaning of a query.
//!
//! The condition is an expression of CEL (the Common Expression Language) over the row, `Data`. A
//! row that begins to match is an insert for the target, a row that stops matching a delete.
//!
//! A comparison with NULL is neither true nor false, as in SQL. In CEL that is what an error is:
//! `error || true` is true, `error && false` is false, and `!error` stays an error. So a column
//! that is NULL is left out of `Data`, and `Data.a == null` asks another map, which says of each
//! column whether it is NULL.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use cel::{
    Context, ExecutionError, IdedExpr, Program, Value,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators},
};
use change_event::Action;
use service::config::Section;

use crate::change::Change;

/// The map that says which columns are NULL. Nobody can write this name.
const NULLS: &str = "@null";

/// A compiled condition.
#[derive(Clone)]
pub(crate) struct Where {
    text: String,
    condition: Arc<IdedExpr>,
}

/// What a change means for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The row is there, as it is now.
    Upsert,
    /// The same of a row that the target did not have, or may not have had: it needs all columns.
    Begin,
    /// The row is not there any more.
    Delete,
    /// The target has not had the row, and does not get it.
    Nothing,
}

/// Whether a row matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    /// The row image lacks a column that the condition needs.
    Unknown,
}

impl Where {
    /// Compiles a condition.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let program = Program::compile(text)
            .map_err(|error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))?;
        let references = program.references();
        if references.has_variable("Old") {
            return Err(
                "Old is not known: the condition is asked of the row before an update and \
                        of the row after it, each as Data; a row that begins to match is an insert"
                    .to_owned(),
            );
        }
        if let Some(unknown) = references.variables().into_iter().find(|name| *name != "Data") {
            return Err(format!(
                "{unknown:?} is not known: write Data.{unknown} for a column of the row"
            ));
        }
        let mut condition = program.expression().clone();
        ask_for_nulls(&mut condition);
        Ok(Self { text: text.to_owned(), condition: Arc::new(condition) })
    }

    /// Reads the key `where`; a mistake is noted.
    pub(crate) fn read(section: &Section) -> Option<Self> {
        let text: String = section.optional("where")?;
        let noted = Self::new(&text).map_err(|problem| {
            let problem = format!("is no condition: {problem}");
            let remedy = "write one in CEL, for example \"Data.status == 'paid'\"";
            section.note("where", &problem, remedy);
        });
        noted.ok()
    }

    /// What a change means for a target that has only the rows that match.
    ///
    /// # Errors
    ///
    /// Why that cannot be said: the condition does not fit the row.
    pub(crate) fn effect(&self, change: &Change<'_>) -> Result<Effect, String> {
        let before = match change.before() {
            Some(row) => self.matches(row.into_iter())?,
            None => Match::No,
        };
        if change.read.action == Action::Delete {
            // What may have been there is deleted.
            return Ok(if before == Match::No { Effect::Nothing } else { Effect::Delete });
        }
        match (before, self.matches(change.data.iter())?) {
            (Match::Yes, Match::Yes) => Ok(Effect::Upsert),
            (_, Match::Yes) if change.read.action == Action::Update => Ok(Effect::Begin),
            (_, Match::Yes) => Ok(Effect::Upsert),
            // A full sync says how the row is: an older one may be in the target. Of a row that
            // was fetched nobody knows how it was before.
            (Match::No, Match::No) if change.event.is_of_full_sync() => Ok(Effect::Delete),
            (Match::No, Match::No)
                if change.event.is_fetched && change.read.action == Action::Update =>
            {
                Ok(Effect::Delete)
            }
            (Match::No, Match::No) => Ok(Effect::Nothing),
            (_, Match::No) => Ok(Effect::Delete),
            (_, Match::Unknown) => Err(format!(
                "the event lacks a column of `where` ({}): see that its name is right; if it is, \
                 the source logs only parts of rows: set binlog_row_image = FULL there",
                self.text
            )),
        }
    }

    /// Why the condition fits no row that is like this one, if that is so.
    pub(crate) fn misfit(&self, change: &Change<'_>) -> Option<String> {
        match self.matches(change.data.iter()) {
            Ok(Match::Unknown) => {
                Some(format!("`where` ({}) names a column that is not there", self.text))
            }
            // A function may fit another value of the same type.
            Err(why) if !why.contains("Error executing function") => Some(why),
            Ok(_) | Err(_) => None,
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn matches<'a>(&self, row: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Match, String> {
        let (mut columns, mut nulls) = (HashMap::new(), HashMap::new());
        for (name, json) in row {
            let value: serde_json::Value =
                serde_json::from_str(json).map_err(|error| error.to_string())?;
            nulls.insert(name.to_owned(), Value::Bool(value.is_null()));
            if !value.is_null() {
                columns.insert(name.to_owned(), cel_value(value)?);
            }
        }
        let is_null = |name: &str| nulls.get(name) == Some(&Value::Bool(true));
        let null: BTreeSet<String> = nulls.keys().filter(|name| is_null(name)).cloned().collect();
        let mut context = Context::default();
        context.add_variable_from_value("Data", columns);
        context.add_variable_from_value(NULLS, nulls);
        match Value::resolve(&self.condition, &context) {
            Ok(Value::Bool(true)) => Ok(Match::Yes),
            Ok(Value::Bool(false)) => Ok(Match::No),
            Ok(_) => Err(format!("`where` ({}) is neither true nor false", self.text)),
            // Neither true nor false, so the row does not match.
            Err(ExecutionError::NoSuchKey(name)) if null.contains(&*name) => Ok(Match::No),
            Err(ExecutionError::NoSuchKey(_)) => Ok(Match::Unknown),
            Err(error) => Err(format!("`where` ({}) does not fit the row: {error}", self.text)),
        }
    }
}

/// Whole numbers are signed where they can be, so that they can be counted with those of the text.
fn cel_value(value: serde_json::Value) -> Result<Value, String> {
    match value.as_i64() {
        Some(number) => Ok(Value::Int(number)),
        None => cel::to_value(value).map_err(|error| error.to_string()),
    }
}

/// Lets `Data.a == null` and `Data.a != null` ask the map of NULLs.
fn ask_for_nulls(at: &mut IdedExpr) {
    if let Some((column, is_equal)) = compared_with_null(&at.expr) {
        let nulls = IdedExpr { id: at.id, expr: Expr::Ident(NULLS.to_owned()) };
        let is_null = SelectExpr { operand: Box::new(nulls), field: column, test: false };
        at.expr = match is_equal {
            true => Expr::Select(is_null),
            false => Expr::Call(CallExpr {
                func_name: operators::LOGICAL_NOT.to_owned(),
                target: None,
                args: vec![IdedExpr { id: at.id, expr: Expr::Select(is_null) }],
            }),
        };
        return;
    }
    match &mut at.expr {
        Expr::Call(call) => {
            call.target.as_deref_mut().into_iter().chain(&mut call.args).for_each(ask_for_nulls);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(ask_for_nulls),
        Expr::Select(select) => ask_for_nulls(&mut select.operand),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    ask_for_nulls(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(loops) => {
            ask_for_nulls(&mut loops.iter_range);
            ask_for_nulls(&mut loops.loop_step);
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
    }
}

/// The column that an expression compares with NULL, and whether it is true for NULL.
fn compared_with_null(expr: &Expr) -> Option<(String, bool)> {
    let Expr::Call(CallExpr { func_name, args, .. }) = expr else { return None };
    let is_equal = match func_name.as_str() {
        operators::EQUALS => true,
        operators::NOT_EQUALS => false,
        _ => return None,
    };
    let [one, other] = &args[..] else { return None };
    let is_null = |one: &IdedExpr| matches!(&one.expr, Expr::Literal(LiteralValue::Null));
    let column = match (is_null(one), is_null(other)) {
        (true, false) => other,
        (false, true) => one,
        _ => return None,
    };
    let Expr::Select(SelectExpr { operand, field, test: false }) = &column.expr else {
        return None;
    };
    let is_data = matches!(&operand.expr, Expr::Ident(name) if name == "Data");
    is_data.then(|| (field.clone(), is_equal))
}

impl fmt::Debug for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Where({:?})", self.text)
    }
}

impl PartialEq for Where {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::tests::event;

    fn effect(text: &str, action: &str, data: &str, old: Option<&str>) -> Result<Effect, String> {
        let event = event(action, data, old);
        Where::new(text)?.effect(&Change::read(&event).unwrap())
    }

    #[test]
    fn a_row_comes_and_goes_as_it_matches() {
        use Effect::{Begin, Delete, Nothing, Upsert};
        let of = |action, data, old| effect("Data.status == 'paid'", action, data, old).unwrap();
        let (paid, open) =
            (r#"{"id":7,"status":"paid","n":1}"#, r#"{"id":7,"status":"open","n":1}"#);
        assert_eq!(of("insert", paid, None), Upsert);
        assert_eq!(of("insert", open, None), Nothing);
        assert_eq!(of("update", paid, Some(r#"{"status":"open"}"#)), Begin);
        assert_eq!(of("update", open, Some(r#"{"status":"paid"}"#)), Delete);
        assert_eq!(of("update", open, Some(r#"{"n":0}"#)), Nothing);
        assert_eq!(of("update", paid, Some(r#"{"n":0}"#)), Upsert);
        assert_eq!(of("delete", paid, None), Delete);
        assert_eq!(of("delete", open, None), Nothing);
    }

    #[test]
    fn a_row_that_was_fetched_and_does_not_match_may_have_matched_before() {
        let paid = Where::new("Data.status == 'paid'").unwrap();
        for (action, status, expected) in [
            ("update", "open", Effect::Delete),
            ("update", "paid", Effect::Upsert),
            ("insert", "open", Effect::Nothing),
        ] {
            let whole = event(action, &format!(r#"{{"id":7,"status":"{status}"}}"#), None);
            let fetched = handler::Event { is_fetched: true, ..whole };
            assert_eq!(paid.effect(&Change::read(&fetched).unwrap()), Ok(expected), "{action}");
        }
    }

    #[test]
    fn a_comparison_with_null_is_not_true_as_in_sql() {
        let of = |text| effect(text, "insert", r#"{"id":7,"n":null,"s":"a"}"#, None);
        for text in ["Data.n > 3", "!(Data.n > 3)", "Data.n > 3 && Data.s == 'a'", "Data.n + 1 > 0"]
        {
            assert_eq!(of(text), Ok(Effect::Nothing), "{text}");
        }
        for text in [
            "Data.n != 3",
            "!(Data.n in [1, 2])",
            "!(Data.n == 3)",
            "Data.s != null && Data.n != 3",
            "Data.n != null",
            "null != Data.n",
        ] {
            assert_eq!(of(text), Ok(Effect::Nothing), "{text}");
        }
        for text in [
            "Data.n > 3 || Data.s == 'a'",
            "Data.n == null",
            "!(Data.n != null)",
            "Data.n == null || Data.n > 3",
            "Data.s != null && null == Data.n",
        ] {
            assert_eq!(of(text), Ok(Effect::Upsert), "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_counted_with() {
        for (row, text) in [
            (r#"{"id":7,"n":9}"#, "Data.n % 3 == 0 && Data.n + 1 > 3"),
            (r#"{"id":7,"n":-9}"#, "Data.n % 3 == 0 && Data.n - 1 < -3"),
            (r#"{"id":7,"n":18446744073709551615}"#, "Data.n > 3"),
        ] {
            assert_eq!(effect(text, "insert", row, None), Ok(Effect::Upsert), "{row}");
        }
    }

    #[test]
    fn numbers_of_all_kinds_are_compared() {
        let of = |text| {
            let row = r#"{"id":7,"u":18446744073709551615,"f":1.5,"d":"19.90"}"#;
            effect(text, "insert", row, None)
        };
        for text in ["Data.u > 5", "Data.f < 2", "Data.id == 7.0", "double(Data.d) > 19.5"] {
            assert_eq!(of(text), Ok(Effect::Upsert), "{text}");
        }
        assert!(of("Data.d > 5").unwrap_err().contains("does not fit"));
        assert!(of("Data.id").unwrap_err().contains("neither true nor false"));
    }

    #[test]
    fn what_the_event_lacks_is_said_and_not_guessed() {
        let said = effect("Data.status == 'paid'", "update", r#"{"id":7}"#, Some("{}"));
        assert!(said.unwrap_err().contains("binlog_row_image"));
        let deleted = effect("Data.status == 'paid'", "delete", r#"{"id":7}"#, None);
        assert_eq!(deleted, Ok(Effect::Delete));
    }

    #[test]
    fn a_wrong_condition_is_found_at_once() {
        assert!(Where::new("Data.a ==").is_err());
        assert!(Where::new("status == 'paid'").unwrap_err().contains("Data.status"));
        assert!(Where::new("Old.status == 'paid'").unwrap_err().contains("the row before"));
    }
}
