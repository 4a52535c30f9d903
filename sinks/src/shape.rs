//! What of each event goes to the target: which rows, and which columns under which names.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use change_event::Action;
use full_sync::Table;
use handler::Event;
use serde_json::Value;
use service::{config::Section, glob};

use crate::{
    change::{Change, Column, Unusable, too_large},
    filter::{Effect, Where},
    made_up::MadeUp,
    template::Template,
};

/// The keys of the config that all sinks have: `where` and `columns`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shape {
    condition: Option<Where>,
    /// Globs of columns; empty for all.
    include: Vec<String>,
    exclude: Vec<String>,
    rename: BTreeMap<String, String>,
    add: Vec<(String, Added)>,
}

/// A column that the source does not have.
#[derive(Clone, Debug, PartialEq)]
enum Added {
    /// Always this JSON text.
    Constant(String),
    Computed(Template),
}

/// What the target is to do for an event.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) change: Change<'a>,
    /// The columns of the row as it is now; `None`: the row is not there any more.
    pub(crate) row: Option<Vec<Column<'a>>>,
    /// An update that lets the row match `where`: the target has nothing of the row yet.
    pub(crate) begins: bool,
}

/// What a column of `columns.add` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddedKind {
    Flag,
    Integer,
    Number,
    /// Also whatever is computed.
    Text,
}

impl Added {
    fn kind(&self) -> AddedKind {
        match self {
            Self::Constant(json) if json == "true" || json == "false" => AddedKind::Flag,
            Self::Constant(json) if json.parse::<i64>().is_ok() => AddedKind::Integer,
            Self::Constant(json) if json.parse::<f64>().is_ok() => AddedKind::Number,
            _ => AddedKind::Text,
        }
    }
}

impl Shape {
    /// Reads the keys; mistakes are noted.
    pub(crate) fn read(section: &Section) -> Self {
        let columns = section.section("columns");
        Self {
            condition: Where::read(section),
            include: columns.or("include", Vec::new()),
            exclude: columns.or("exclude", Vec::new()),
            rename: read_rename(&columns.section("rename")),
            add: read_added(&columns.section("add")),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_condition(text: &str) -> Self {
        Self { condition: Where::new(text).ok(), ..Self::default() }
    }

    /// What the target is to do for these events, in their order, and the events that it can do
    /// nothing with.
    pub(crate) fn wanted<'a>(&self, events: &[&'a Event]) -> (Vec<Wanted<'a>>, Vec<Unusable>) {
        let (mut wanted, mut unusable) = (Vec::with_capacity(events.len()), Vec::new());
        for event in events {
            match Change::read(event).and_then(|change| self.want(change)) {
                Ok(Some(one)) => wanted.push(one),
                Ok(None) => {}
                Err(problem) => unusable.push(problem),
            }
        }
        (wanted, unusable)
    }

    fn want<'a>(&self, change: Change<'a>) -> Result<Option<Wanted<'a>>, Unusable> {
        if let Some(bytes) = change.read.oversized {
            let why = too_large(&change.read, bytes);
            return Err(change.unusable(format!(
                "{why}; or let the sink fetch such rows (`oversized.fetch`, docs/sinks.md)"
            )));
        }
        match self.effect(&change).map_err(|why| change.misfit(why))? {
            Effect::Nothing => Ok(None),
            Effect::Delete => Ok(Some(Wanted { change, row: None, begins: false })),
            effect @ (Effect::Upsert | Effect::Begin) => {
                let row = self.row(&change).map_err(|why| change.misfit(why))?;
                let begins = effect == Effect::Begin;
                Ok(Some(Wanted { change, row: Some(row), begins }))
            }
        }
    }

    fn effect(&self, change: &Change<'_>) -> Result<Effect, String> {
        match (&self.condition, change.read.action) {
            (Some(condition), _) => condition.effect(change),
            (None, Action::Delete) => Ok(Effect::Delete),
            (None, Action::Insert | Action::Update) => Ok(Effect::Upsert),
        }
    }

    /// The columns of the row as the target gets them; for a delete those of the row before it.
    pub(crate) fn row<'a>(&self, change: &Change<'a>) -> Result<Vec<Column<'a>>, String> {
        let mut row = Vec::with_capacity(change.data.iter().len() + self.add.len());
        for (name, json) in change.data.entries().filter(|(name, _)| self.takes(name)) {
            let renamed = self.rename.get(&*name).cloned().map(Cow::Owned);
            row.push((renamed.unwrap_or(name), Cow::Borrowed(json)));
        }
        for (name, added) in &self.add {
            let json = match added {
                Added::Constant(json) => json.clone(),
                Added::Computed(template) => {
                    template.value(change).map_err(|why| format!("columns.add.{name}: {why}"))?
                }
            };
            row.push((Cow::Owned(name.clone()), Cow::Owned(json)));
        }
        Ok(row)
    }

    /// What of it fits no row of a table, as far as a made-up row shows that.
    pub(crate) fn misfits(&self, table: &Table) -> Vec<String> {
        let made_up = MadeUp::row(table);
        let Some(made_up) = &made_up else { return Vec::new() };
        let Ok(change) = Change::read(&made_up.event) else { return Vec::new() };
        let condition = self.condition.as_ref().filter(|of| !made_up.is_vague(of.text()));
        let mut misfits: Vec<String> =
            condition.and_then(|condition| condition.misfit(&change)).into_iter().collect();
        for (name, added) in &self.add {
            let Added::Computed(template) = added else { continue };
            // What is undefined for this row may be there in others.
            if let Err(why) = template.value(&change)
                && why.contains("invalid operation")
                && !made_up.is_vague(template.text())
            {
                misfits.push(format!("columns.add.{name}: {why}"));
            }
        }
        misfits
    }

    /// The names of `columns`, and those in templates, that no column of these tables has, each
    /// with where it stands. A glob may be meant for columns to come.
    pub(crate) fn strangers(&self, tables: &[Arc<Table>], templates: &[&Template]) -> Vec<String> {
        let columns = || tables.iter().flat_map(|table| table.columns.iter().flatten());
        if columns().next().is_none() {
            return Vec::new();
        }
        let is_strange = |name: &String| {
            !name.contains(['*', '?']) && !columns().any(|column| column.name == *name)
        };
        let include = self.include.iter().map(|name| ("include", name));
        let exclude = self.exclude.iter().map(|name| ("exclude", name));
        let rename = self.rename.keys().map(|name| ("rename", name));
        let all = include.chain(exclude).chain(rename);
        let strange = all.filter(|(_, name)| is_strange(name));
        let mut found: Vec<String> =
            strange.map(|(key, name)| format!("columns.{key}: {name}")).collect();
        let computed = self.add.iter().filter_map(|(_, added)| match added {
            Added::Computed(template) => Some(template),
            Added::Constant(_) => None,
        });
        for template in templates.iter().copied().chain(computed) {
            for (member, name) in template.columns() {
                let is_there = match &*member {
                    "PK" => tables.iter().any(|table| table.primary_key.contains(&name)),
                    _ => columns().any(|column| column.name == name),
                };
                if !is_there {
                    found.push(format!("in the template `{}`: {member}.{name}", template.text()));
                }
            }
        }
        found
    }

    /// The columns that the target gets beside those of the source.
    pub(crate) fn added(&self) -> impl Iterator<Item = (&str, AddedKind)> {
        self.add.iter().map(|(name, added)| (&**name, added.kind()))
    }

    /// Whether a column of the source goes to the target.
    pub(crate) fn takes(&self, column: &str) -> bool {
        let any = |globs: &[String]| globs.iter().any(|glob| glob::matches(glob, column));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }

    /// The name of a column at the target.
    pub(crate) fn name_of<'n>(&'n self, column: &'n str) -> Cow<'n, str> {
        Cow::Borrowed(self.rename.get(column).map_or(column, String::as_str))
    }
}

fn read_rename(section: &Section) -> BTreeMap<String, String> {
    let names = section.keys().filter_map(|name| Some((name, section.optional(name)?)));
    names.map(|(name, new)| (name.to_owned(), new)).collect()
}

fn read_added(section: &Section) -> Vec<(String, Added)> {
    let added = section.entries().iter().filter_map(|(name, value)| {
        let added = match value {
            Value::String(text) if Template::is_meant_by(text) => match Template::new(text) {
                Ok(template) => Added::Computed(template),
                Err(problem) => {
                    section.note(name, &format!("is no template: {problem}"), "correct it");
                    return None;
                }
            },
            constant => Added::Constant(constant.to_string()),
        };
        Some((name.clone(), added))
    });
    added.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service::config::File;

    use super::*;
    use crate::change::tests::event;

    fn shape(toml: &str) -> Shape {
        let file = File::parse(Path::new("test"), toml).unwrap();
        let shape = Shape::read(file.root());
        file.finish(shape).unwrap()
    }

    fn row(shape: &Shape, event: &Event) -> Vec<(String, String)> {
        let (wanted, unusable) = shape.wanted(&[event]);
        assert_eq!(unusable, []);
        let row = wanted[0].row.as_ref().unwrap();
        row.iter().map(|(name, json)| (name.to_string(), json.to_string())).collect()
    }

    fn of<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, json)| ((*name).to_owned(), (*json).to_owned())).collect()
    }

    #[test]
    fn columns_are_chosen_renamed_and_added() {
        let event = event("insert", r#"{"id":7,"name":"b","secret":"s","secret2":1}"#, None);
        let all = of(&[("id", "7"), ("name", "\"b\""), ("secret", "\"s\""), ("secret2", "1")]);
        assert_eq!(row(&Shape::default(), &event), all);
        let chosen = shape(
            "columns = { exclude = ['secret*'], rename = { name = 'title' }, add = { site = 'de', \
             twice = '{{ Data.id * 2 }}', flag = true } }",
        );
        let expected = [
            ("id", "7"),
            ("title", "\"b\""),
            ("flag", "true"),
            ("site", "\"de\""),
            ("twice", "14"),
        ];
        assert_eq!(row(&chosen, &event), of(&expected));
        assert_eq!(row(&shape("columns = { include = ['id'] }"), &event), of(&[("id", "7")]));
    }

    #[test]
    fn an_event_that_cannot_be_used_is_named_and_the_others_go_on() {
        let good = event("insert", r#"{"id":7,"n":1}"#, None);
        let bad = event("insert", r#"{"id":7}"#, None);
        let shape = shape("columns = { add = { m = '{{ Data.n }}' } }");
        let (wanted, unusable) = shape.wanted(&[&good, &bad, &good]);
        assert_eq!((wanted.len(), unusable.len()), (2, 1));
        assert!(unusable[0].why.starts_with("columns.add.m: "), "{}", unusable[0].why);
    }

    #[test]
    fn what_fits_no_row_of_a_table_is_found_before_there_is_one() {
        let column = |name: &str, declared: &str| full_sync::TableColumn {
            name: name.to_owned(),
            declared: declared.to_owned(),
            ..full_sync::TableColumn::default()
        };
        let columns = vec![
            column("id", "bigint unsigned"),
            column("price", "decimal(12,2)"),
            column("name", "varchar(20)"),
            column("tags", "json"),
        ];
        let primary_key = vec!["id".to_owned()];
        let table = Table { columns: Some(columns), primary_key, ..Table::default() };
        let misfits = |toml: &str| shape(toml).misfits(&table);
        let wrong = misfits("columns.add = { gross = '{{ Data.price * 1.19 }}' }");
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with("columns.add.gross: invalid operation"), "{wrong:?}");
        let tables = [Arc::new(table.clone())];
        let named = |toml: &str| shape(toml).strangers(&tables, &[]);
        assert_eq!(
            named("columns.exclude = ['nam', 'price', 'secret*']"),
            ["columns.exclude: nam"]
        );
        assert_eq!(
            named("columns.rename = { titel = 't', name = 'n' }"),
            ["columns.rename: titel"]
        );
        assert_eq!(shape("columns.include = ['x']").strangers(&[], &[]), Vec::<String>::new());
        let in_template = |text: &str| {
            let template = Template::new(text).unwrap();
            shape("columns.add = { n = '{{ Data.nam }}' }").strangers(&tables, &[&template])
        };
        let added = "in the template `{{ Data.nam }}`: Data.nam";
        for right in ["{schema}:{{ PK.id }}:{{ Old.price }}", "{{ Data.tags.x }}", "{{ Data }}"] {
            assert_eq!(in_template(right), [added], "{right}");
        }
        for (wrong, name) in [("a {{ PK.price }}", "PK.price"), ("{{ Old.x.y | int }}", "Old.x")] {
            assert_eq!(in_template(wrong), [&*format!("in the template `{wrong}`: {name}"), added]);
        }
        for wrong in ["Data.price > 5", "Data.nam == 'a'"] {
            assert_eq!(misfits(&format!("where = \"{wrong}\"")).len(), 1, "{wrong}");
        }
        let computed = "columns.add = { gross = '{{ (Data.price | float * 1.19) | round(2) }}' }";
        for good in [
            computed,
            "columns.add = { n = '{{ Data.tags.n * 2 }}', m = '{{ Data.name | int }}' }",
            "where = 'double(Data.price) > 5.0 && int(Data.name) > 1'",
            "where = 'Data.tags.n > 5'",
        ] {
            assert_eq!(misfits(good), Vec::<String>::new(), "{good}");
        }
        let event = event("insert", r#"{"id":7,"price":"19.90"}"#, None);
        assert!(row(&shape(computed), &event).contains(&("gross".into(), "23.68".into())));
    }

    #[test]
    fn a_row_that_stops_matching_is_deleted() {
        let event = event("update", r#"{"id":7,"n":1}"#, Some(r#"{"n":5}"#));
        let (wanted, _) = shape("where = 'Data.n > 2'").wanted(&[&event]);
        assert!(wanted[0].row.is_none());
    }
}
