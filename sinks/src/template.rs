//! Names, keys and values that are made from an event: templates in the language of Jinja.
//!
//! A template sees the members of the event by their names: `{{ Schema }}`, `{{ TableName }}`,
//! `{{ PK.id }}`, `{{ Data.status }}`. The short forms `{schema}` and `{table}` stand for the first
//! two. A column that is not there is an error, never an empty text.

mod escape;
mod scan;

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, OnceLock},
};

use change_event::Columns;
use minijinja::{Environment, ErrorKind, Expression, UndefinedBehavior, Value};
use service::config::Section;

pub(crate) use self::escape::{Escape, VALUE};
use self::scan::{Called, Part};
use crate::change::Change;

/// A compiled template.
#[derive(Clone)]
pub(crate) struct Template {
    text: String,
    /// Of which members of the event it is made.
    members: Vec<&'static str>,
    code: Code,
}

/// What the template was compiled to.
#[derive(Clone)]
enum Code {
    /// An environment with this one template.
    Text(Arc<Environment<'static>>),
    /// The template is nothing but one expression, of which the value keeps its type.
    Value(Arc<Expression<'static, 'static>>),
}

/// What a template can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// An event.
    Event,
    /// An event, and secrets.
    EventAndSecrets,
    /// A list of events, and secrets.
    Batch,
}

/// The members of an event, and what else there may be.
const MEMBERS: [&str; 12] = [
    "Schema",
    "TableName",
    "Action",
    "PK",
    "Data",
    "Old",
    "Seq",
    "Ts",
    "EvId",
    "Origin",
    "Secrets",
    "Events",
];

impl Scope {
    pub(crate) fn members(self) -> &'static [&'static str] {
        match self {
            Self::Event => &MEMBERS[..10],
            Self::EventAndSecrets => &MEMBERS[..11],
            Self::Batch => &MEMBERS[10..],
        }
    }
}

/// What stands in a pattern for any text.
const ANYTHING: &str = "*";

/// The name of the one template in its environment.
const NAME: &str = "template";

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        Self::of(text, Scope::Event)
    }

    /// Compiles a template that sees this.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn of(text: &str, scope: Scope) -> Result<Self, String> {
        let template = Self::escaped(text, scope, Escape::Plain)?;
        let Some(expression) = only_expression(&template.text) else { return Ok(template) };
        let compiled = expressions().compile_expression_owned(expression);
        let code = Code::Value(Arc::new(compiled.map_err(|error| told(&error))?));
        Ok(Self { code, ..template })
    }

    /// Compiles a template whose values are written so that they fit into a text of a kind.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn escaped(text: &str, scope: Scope, escape: Escape) -> Result<Self, String> {
        let text = text.replace("{schema}", "{{ Schema }}").replace("{table}", "{{ TableName }}");
        let mut environment = strict();
        escape::set(&mut environment, escape);
        environment.add_template_owned(NAME, text.clone()).map_err(|error| told(&error))?;
        let asked = environment.get_template(NAME).map_err(|error| told(&error))?;
        let asked = asked.undeclared_variables(false);
        let known = scope.members();
        let is_global = |name: &str| environment.globals().any(|(global, _)| global == name);
        let is_known = |name: &&String| known.contains(&name.as_str()) || is_global(name);
        if let Some(unknown) = asked.iter().find(|name| !is_known(name)) {
            let whose = if scope == Scope::Batch { "a batch" } else { "an event" };
            return Err(format!("{unknown:?} is no member of {whose}: {}", known.join(", ")));
        }
        let parts = scan::parts(&text);
        check_parts(&parts, escape)?;
        // The library does not see what is sliced: `{{ Data.name[:2] }}`.
        let named = scan::names(&parts);
        let is_asked = |member: &&str| asked.contains(*member) || named.contains(member);
        let members = known.iter().copied().filter(is_asked).collect();
        Ok(Self { text, members, code: Code::Text(Arc::new(environment)) })
    }

    /// Whether a text of the config is meant as a template.
    pub(crate) fn is_meant_by(text: &str) -> bool {
        ["{{", "{%", "{schema}", "{table}"].iter().any(|mark| text.contains(mark))
    }

    /// Whether the text is the same for all rows of a table.
    pub(crate) fn is_of_table(&self) -> bool {
        self.members.iter().all(|member| matches!(*member, "Schema" | "TableName"))
    }

    /// Reads a key of the config; what is wrong with the template is noted.
    pub(crate) fn read(section: &Section, key: &str) -> Option<Self> {
        let text: String = section.optional(key)?;
        let noted = Self::new(&text).map_err(|problem| {
            section.note(key, &format!("is no template: {problem}"), "correct it");
        });
        noted.ok()
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the text depends on this member of the event.
    pub(crate) fn sees(&self, member: &str) -> bool {
        self.members.contains(&member)
    }

    /// The columns that it names, each with the member of the event that it is in: `PK.id`.
    pub(crate) fn columns(&self) -> Vec<(String, String)> {
        let named = match &self.code {
            Code::Text(environment) => {
                environment.get_template(NAME).map(|template| template.undeclared_variables(true))
            }
            Code::Value(expression) => Ok(expression.undeclared_variables(true)),
        };
        let column = |name: String| {
            let (member, rest) = name.split_once('.')?;
            let column = rest.split('.').next().unwrap_or(rest);
            let is_row = matches!(member, "PK" | "Data" | "Old");
            is_row.then(|| (member.to_owned(), column.to_owned()))
        };
        let mut columns: Vec<_> =
            named.unwrap_or_default().into_iter().filter_map(column).collect();
        columns.sort();
        columns.dedup();
        columns
    }

    /// The text with which every result begins.
    pub(crate) fn beginning(&self) -> &str {
        let ends = ["{{", "{%", "{#"].into_iter().filter_map(|mark| self.text.find(mark));
        &self.text[..ends.min().unwrap_or(self.text.len())]
    }

    /// The text for an event.
    ///
    /// # Errors
    ///
    /// What the event lacks for it.
    pub(crate) fn render(&self, change: &Change<'_>) -> Result<String, String> {
        self.render_in(&self.context(change))
    }

    /// The text for what the template sees.
    ///
    /// # Errors
    ///
    /// What is lacking for it.
    pub(crate) fn render_in(&self, context: &Value) -> Result<String, String> {
        Ok(match &self.code {
            Code::Text(environment) => Self::said(environment, context)?,
            Code::Value(expression) => self.evaluate(expression, context)?.to_string(),
        })
    }

    /// The text for all events of a table; `None` where it needs more of an event.
    pub(crate) fn of_table(&self, schema: &str, table: &str) -> Option<String> {
        let names = [("Schema", schema), ("TableName", table)];
        let context = Value::from_pairs(names);
        match &self.code {
            Code::Text(environment) => environment.get_template(NAME).ok()?.render(context).ok(),
            Code::Value(expression) => Some(expression.eval(context).ok()?.to_string()),
        }
    }

    /// The texts for all events of a table: `*` stands for what differs from row to row.
    pub(crate) fn pattern(&self, schema: &str, table: &str) -> String {
        let mut pattern = String::new();
        for part in scan::parts(&self.text) {
            match part {
                Part::Text(text) => pattern.push_str(text),
                Part::Value(inner) => {
                    let value = Self::new(&format!("{{{{{inner}}}}}")).ok();
                    let value = value.filter(Self::is_of_table);
                    let value = value.and_then(|value| value.of_table(schema, table));
                    pattern.push_str(value.as_deref().unwrap_or(ANYTHING));
                }
                // What comes after it may be left out, or be there several times.
                Part::Statement(_) => {
                    pattern.push_str(ANYTHING);
                    break;
                }
            }
        }
        while pattern.contains("**") {
            pattern = pattern.replace("**", ANYTHING);
        }
        pattern
    }

    /// The value for an event, as JSON text. A template that is nothing but an expression gives the
    /// expression's value, a number for example; any other gives a text.
    ///
    /// # Errors
    ///
    /// What the event lacks for it.
    pub(crate) fn value(&self, change: &Change<'_>) -> Result<String, String> {
        self.value_in(&self.context(change))
    }

    /// The value for what the template sees, as JSON text.
    ///
    /// # Errors
    ///
    /// What is lacking for it.
    pub(crate) fn value_in(&self, context: &Value) -> Result<String, String> {
        let json = match &self.code {
            Code::Text(environment) => serde_json::to_string(&Self::said(environment, context)?),
            Code::Value(expression) => serde_json::to_string(&self.evaluate(expression, context)?),
        };
        json.map_err(|error| error.to_string())
    }

    fn said(environment: &Environment<'_>, context: &Value) -> Result<String, String> {
        let template = environment.get_template(NAME).map_err(|error| told(&error))?;
        template.render(context).map_err(|error| match error.kind() {
            ErrorKind::UndefinedError => undefined(template.undeclared_variables(true), context)
                .unwrap_or_else(|| told(&error)),
            _ => told(&error),
        })
    }

    fn evaluate(&self, expression: &Expression<'_, '_>, context: &Value) -> Result<Value, String> {
        let lacking = || undefined(expression.undeclared_variables(true), context);
        let value = expression.eval(context.clone()).map_err(|error| match error.kind() {
            ErrorKind::UndefinedError => lacking().unwrap_or_else(|| told(&error)),
            _ => told(&error),
        })?;
        match value.is_undefined() {
            true => Err(lacking()
                .unwrap_or_else(|| format!("undefined value: {} has nothing there", self.text))),
            false => Ok(value),
        }
    }

    /// The members of the event that the template uses.
    fn context(&self, change: &Change<'_>) -> Value {
        Value::from_pairs(self.members.iter().map(|name| (*name, member(change, name))))
    }
}

/// A member of an event, as templates see it.
pub(crate) fn member(change: &Change<'_>, name: &str) -> Value {
    let read = &change.read;
    match name {
        "Schema" => Value::from(&*read.schema),
        "TableName" => Value::from(&*read.table_name),
        "Action" => Value::from(read.action.as_str()),
        "PK" => columns(&change.key),
        "Data" => columns(&change.data),
        "Old" => columns(&change.old),
        "Seq" => Value::from(read.seq),
        "Ts" => Value::from(read.ts),
        "EvId" => Value::from(&*read.id),
        _ => Value::from(read.origin.as_str()),
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.text)
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// An environment in which what is not there is an error.
fn strict() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

/// The environment of all expressions.
fn expressions() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(strict)
}

/// What only fails when the template is used is found here: filters and tests that nobody knows,
/// and values between quotes of JSON.
fn check_parts(parts: &[Part<'_>], escape: Escape) -> Result<(), String> {
    for called in scan::called(parts) {
        let (expression, what, unknown) = match called {
            Called::Filter(name) => (format!("0|{name}"), name, ErrorKind::UnknownFilter),
            Called::Test(name) => (format!("0 is {name}"), name, ErrorKind::UnknownTest),
        };
        let compiled = expressions().compile_expression_owned(expression);
        let tried = compiled.and_then(|expression| expression.eval(()));
        if tried.is_err_and(|error| error.kind() == unknown) {
            return Err(format!("{what:?} is no known filter or test"));
        }
    }
    match scan::value_in_quotes(parts).filter(|_| escape == Escape::Json) {
        Some(value) => Err(format!(
            "{{{{ {value} }}}} stands between quotes, and brings its own: write the value without \
             quotes, and a text around it as {{{{ \"text \" ~ ({value}) }}}}"
        )),
        None => Ok(()),
    }
}

/// Which of these names, such as `PK.id`, stand for nothing.
fn undefined(names: HashSet<String>, context: &Value) -> Option<String> {
    let stands_for = |name: &String| {
        let root = context.clone();
        name.split('.').try_fold(root, |value, part| value.get_attr(part).ok())
    };
    let is_undefined = |name: &String| stands_for(name).is_none_or(|value| value.is_undefined());
    let mut lacking: Vec<String> = names.into_iter().filter(is_undefined).collect();
    lacking.sort_unstable();
    if lacking.is_empty() {
        return None;
    }
    let has_key = context.get_attr("PK").is_ok_and(|key| key.len() != Some(0));
    let needs_key = lacking.iter().any(|name| name.starts_with("PK."));
    Some(format!(
        "undefined value: the event has no {}{}",
        lacking.join(", no "),
        match needs_key && !has_key {
            true => ": its table has no key: set keyColumns in dts.toml, or use Data",
            false => "",
        }
    ))
}

/// The expression of a template like `{{ Data.price * 2 }}`.
fn only_expression(text: &str) -> Option<String> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}")).then(|| inner.trim().to_owned())
}

fn columns(columns: &Columns<'_>) -> Value {
    Value::from_pairs(columns.iter().map(|(name, json)| {
        // A column's text is JSON: it was read before.
        (name, serde_json::from_str::<Value>(json).unwrap_or_default())
    }))
}

/// What is wrong, in one line.
fn told(error: &minijinja::Error) -> String {
    let mut told = error.to_string();
    if let Some(at) = told.find(" (in ") {
        told.truncate(at);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::tests::event;

    fn rendered(template: &str) -> Result<String, String> {
        let event = event("update", r#"{"id":7,"Name":"Ä b","n":null,"d":"1.50"}"#, Some("{}"));
        Template::new(template)?.render(&Change::read(&event).unwrap())
    }

    #[test]
    fn a_template_sees_the_members_of_the_event() {
        assert_eq!(rendered("{schema}-{table}").unwrap(), "shop-item");
        assert_eq!(rendered("{{ Schema }}:{{ PK.id }}:{{ Data.d }}").unwrap(), "shop:7:1.50");
        assert_eq!(rendered("{{ Data.Name | lower | replace(' ', '_') }}").unwrap(), "ä_b");
        assert_eq!(rendered("{{ Action }} {{ Seq }} {{ Origin }}").unwrap(), "update 5 binlog");
    }

    #[test]
    fn a_part_of_a_text_is_taken_with_a_slice() {
        assert_eq!(rendered("x-{{ Data.d[:2] }}").unwrap(), "x-1.");
        assert_eq!(rendered("{{ Data.d[2:] }}").unwrap(), "50");
        assert!(!Template::new("{{ Data.d[:2] }}").unwrap().is_of_table());
    }

    #[test]
    fn what_is_not_there_is_an_error_and_no_empty_text() {
        for (template, said) in [
            ("{{ Data.nothing }}", "the event has no Data.nothing"),
            ("x:{{ PK.id }}:{{ PK.other }}", "the event has no PK.other"),
            (
                "x{{ Data.id }}{{ Data.a.b }}{{ PK.c | lower }}",
                "the event has no Data.a.b, no PK.c",
            ),
        ] {
            assert_eq!(rendered(template).unwrap_err(), format!("undefined value: {said}"));
        }
        assert!(rendered("{{ data.id }}").unwrap_err().contains("no member of an event"));
        assert!(rendered("{{ Data.id ").is_err());
    }

    #[test]
    fn a_table_without_a_key_is_told_where_its_key_is_asked_for() {
        let event = event("insert", r#"{"id":7}"#, None);
        let json = event.json.replace(r#""PK":{"id":7}"#, r#""PK":{}"#);
        let event = handler::Event { json, ..event };
        let change = Change::read(&event).unwrap();
        for template in ["{table}:{{ PK.id }}", "{{ PK.id }}"] {
            let said = Template::new(template).unwrap().render(&change).unwrap_err();
            assert!(said.contains("no PK.id: its table has no key: set keyColumns"), "{said}");
        }
    }

    #[test]
    fn an_expression_alone_keeps_its_type() {
        let event = event("insert", r#"{"id":7,"u":18446744073709551615}"#, None);
        let change = Change::read(&event).unwrap();
        let value = |text: &str| Template::new(text).unwrap().value(&change).unwrap();
        assert_eq!(value("{{ Data.id + 1 }}"), "8");
        assert_eq!(value("{{ Data.u }}"), "18446744073709551615");
        assert_eq!(value("x{{ Data.id }}"), "\"x7\"");
        assert_eq!(value("{{ Data.id == 7 }}"), "true");
    }
}
