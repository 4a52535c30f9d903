//! The key `template` of the config: what the index template of a table is called, and which
//! indexes it is for.

use serde_json::{Map, Value, json};
use service::config::Section;

use crate::template::Template;

/// Templates that come with Elasticsearch have priorities up to 200, those of others as a rule up
/// to 500 ("Avoid index pattern collisions" in its manual).
const LEAST_PRIORITY: u64 = 500;

/// What a name has where a pattern has a `*`.
const ANY: &str = "any";

/// How index templates are made.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TemplateConfig {
    /// `None`: made from the first pattern.
    name: Option<Template>,
    /// Empty: made from `index`.
    patterns: Vec<Template>,
    /// `None`: the higher, the more of the patterns is fixed.
    priority: Option<u64>,
    pub(super) settings: Map<String, Value>,
    pub(super) aliases: Map<String, Value>,
    /// Whether `index` names an alias whose indexes have numbers.
    pub(super) rollover: bool,
}

/// The index template of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) patterns: Vec<String>,
    pub(super) priority: u64,
}

impl TemplateConfig {
    /// Reads the key; mistakes are noted. `index` is the template of the indexes' names.
    pub(super) fn read(section: &Section, index: &Template, mappings: bool) -> Option<Self> {
        let read = match section.raw("template") {
            None | Some(Value::Bool(false)) => return None,
            Some(Value::Bool(true)) => Self::default(),
            Some(_) => Self::read_table(&section.section("template")),
        };
        if !mappings {
            section.note("template", "has a meaning only with mappings = true", "set it, too");
        }
        if read.rollover && !index.is_of_table() {
            let problem = "is for an `index` that is the same for all rows of a table";
            section.note("template.rollover", problem, "remove one of them");
        }
        if read.patterns.is_empty() && index.pattern("schema", "table").starts_with('*') {
            let problem = "cannot be made from `index`, which begins with what differs from row to \
                           row";
            section.note("template.patterns", problem, r#"write them, such as ["log-*"]"#);
        }
        Some(read)
    }

    fn read_table(table: &Section) -> Self {
        let priority: Option<u64> = table.optional("priority");
        let name: Option<String> = table.optional("name");
        Self {
            name: name.and_then(|text| read_of_table((table, "name"), &text)),
            patterns: read_patterns(table),
            priority,
            settings: table.section("settings").entries().clone().into_iter().collect(),
            aliases: read_aliases(table),
            rollover: table.or("rollover", false),
        }
    }

    /// The template of a table.
    pub(super) fn of(&self, index: &Template, (schema, table): (&str, &str)) -> Identity {
        let given = self.patterns.iter().map(|pattern| pattern.pattern(schema, table));
        let mut patterns: Vec<String> = given.map(|text| text.to_lowercase()).collect();
        if patterns.is_empty() {
            patterns = derived(index.pattern(schema, table).to_lowercase());
        }
        let name = match &self.name {
            Some(name) => name.pattern(schema, table),
            None => {
                let first = patterns.first().map_or("", String::as_str);
                format!("dbevent-{}", first.replace('*', ANY))
            }
        };
        let fixed = |pattern: &String| pattern.chars().filter(|c| *c != '*').count() as u64;
        let fixed = patterns.iter().map(fixed).min().unwrap_or_default();
        let priority = self.priority.unwrap_or_else(|| LEAST_PRIORITY.saturating_add(fixed));
        Identity { name: name.to_lowercase(), patterns, priority }
    }
}

/// An index of a name that is fixed has a number after it when an alias takes its place.
fn derived(index: String) -> Vec<String> {
    match index.contains('*') {
        true => vec![index],
        false => vec![index.clone(), format!("{index}-*")],
    }
}

fn read_patterns(table: &Section) -> Vec<Template> {
    let texts: Vec<String> = table.or("patterns", Vec::new());
    if table.has("patterns") && texts.is_empty() {
        table.note("patterns", "is empty", r#"write one, such as ["log-*"], or remove it"#);
    }
    if texts.iter().any(|text| text.chars().all(|c| c == '*')) {
        table.note("patterns", "is for all indexes of the server", r#"write some, as ["log-*"]"#);
    }
    texts.iter().filter_map(|text| read_of_table((table, "patterns"), text)).collect()
}

/// A template that may only be about the table.
fn read_of_table((section, key): (&Section, &str), text: &str) -> Option<Template> {
    let template = match Template::new(text) {
        Ok(template) if template.is_of_table() => return Some(template),
        Ok(_) => "may be made of {schema} and {table} only: it is not for a single row".to_owned(),
        Err(problem) => format!("is no template: {problem}"),
    };
    section.note(key, &template, "correct it");
    None
}

/// A list of names, or a table of aliases with what each has.
fn read_aliases(table: &Section) -> Map<String, Value> {
    match table.raw("aliases") {
        Some(Value::Object(aliases)) => aliases.clone(),
        _ => {
            let names: Vec<String> = table.or("aliases", Vec::new());
            names.into_iter().map(|name| (name, json!({}))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service::config::File;

    use super::*;

    fn read(index: &str, toml: &str) -> Result<Option<TemplateConfig>, String> {
        let file = File::parse(Path::new("test"), toml).unwrap();
        let config = TemplateConfig::read(file.root(), &Template::new(index).unwrap(), true);
        file.finish(config).map_err(|mistakes| format!("{mistakes:?}"))
    }

    fn of(index: &str, toml: &str) -> (String, Vec<String>, u64) {
        let config = read(index, toml).unwrap().unwrap();
        let Identity { name, patterns, priority } =
            config.of(&Template::new(index).unwrap(), ("Shop", "Item"));
        (name, patterns, priority)
    }

    fn texts(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
    }

    #[test]
    fn a_template_is_for_the_indexes_that_rows_of_the_table_go_to() {
        let on = "template = true";
        let patterns = texts(&["shop-item", "shop-item-*"]);
        assert_eq!(of("{schema}-{table}", on), ("dbevent-shop-item".to_owned(), patterns, 509));
        let daily = "{table}-{{ Data.made[:10] }}";
        let expected = ("dbevent-item-any".to_owned(), texts(&["item-*"]), 505);
        assert_eq!(of(daily, on), expected);
        assert_eq!(of("log-{% if Data.a %}a{% else %}b{% endif %}-x", on).1, ["log-*"]);
        assert_eq!(
            of("log-{{ Data.a }}{{ Data.b }}-{{ TableName | upper }}", on).1,
            ["log-*-item"]
        );
    }

    #[test]
    fn what_the_config_gives_stands_for_what_is_made() {
        let given = "template = { name = '{table}-t', patterns = ['{table}-2*'], priority = 7, \
                     settings = { number_of_shards = 2 }, aliases = ['all'] }";
        assert_eq!(of("x-{table}", given), ("item-t".to_owned(), texts(&["item-2*"]), 7));
        let config = read("x-{table}", given).unwrap().unwrap();
        assert_eq!(Value::from(config.settings), json!({"number_of_shards": 2}));
        assert_eq!(Value::from(config.aliases), json!({"all": {}}));
        let table = "template = { aliases = { all = { is_hidden = true } } }";
        let config = read("x", table).unwrap().unwrap();
        assert_eq!(Value::from(config.aliases), json!({"all": {"is_hidden": true}}));
        assert_eq!(read("x", "template = false").unwrap(), None);
    }

    #[test]
    fn what_cannot_be_a_template_is_said() {
        for (index, toml, part) in [
            ("x", "template = 1", "write a table"),
            ("x", "template = { patterns = ['*'] }", "for all indexes"),
            ("x", "template = { patterns = [] }", "is empty"),
            ("x", "template = { name = '{{ Data.x }}' }", "not for a single row"),
            ("x", "template = { nam = 'x' }", "is not a known key"),
            ("{{ Data.x }}-log", "template = true", "cannot be made from `index`"),
            ("x-{{ Data.x }}", "template = { rollover = true }", "the same for all rows"),
        ] {
            let mistakes = read(index, toml).unwrap_err();
            assert!(mistakes.contains(part), "{part:?} is not in {mistakes}");
        }
    }
}
