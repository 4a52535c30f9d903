//! Which tables are captured, and what their records are ordered by.

use std::collections::BTreeMap;

use service::{config::Section, glob};
use tracing::warn;

use crate::{
    decode::{LoggedStatement, Position},
    error::{Error, Result},
};

/// Schemas that belong to the server itself.
const SYSTEM_SCHEMAS: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// The `[capture]` section.
#[derive(Debug, Default)]
pub struct Capture {
    tables: Vec<TableGlob>,
    exclude: Vec<TableGlob>,
    key_columns: BTreeMap<String, Vec<String>>,
    statement_format: StatementFormat,
}

/// What becomes of a change of a captured table that was logged as a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StatementFormat {
    /// Its rows are not known: dts ends in front of it.
    #[default]
    Stop,
    /// It is told, and passed over.
    Warn,
}

/// A glob over a schema's and a table's name.
#[derive(Debug)]
struct TableGlob {
    schema: String,
    table: String,
}

impl Capture {
    pub(crate) fn read(section: &Section) -> Self {
        Self {
            tables: read_globs(section, "tables"),
            exclude: read_globs(section, "exclude"),
            key_columns: read_key_columns(&section.section("keyColumns")),
            statement_format: match section.choice("statementFormat", ["stop", "warn"]) {
                Some(1) => StatementFormat::Warn,
                _ => StatementFormat::Stop,
            },
        }
    }

    /// What to do about a change that was logged as a statement, in front of `position`.
    ///
    /// # Errors
    ///
    /// Refused, when it may be of a captured table, and is not just to be told.
    pub fn judge(&self, statement: &LoggedStatement, position: &Position) -> Result<()> {
        if !self.may_concern(statement) {
            return Ok(());
        }
        let Position { file, pos } = position;
        let of = match &statement.table {
            Some((schema, table)) => format!("table {schema}.{table}"),
            None => format!("schema {}", statement.schemas.join(", ")),
        };
        if self.statement_format == StatementFormat::Warn {
            warn!(%file, pos, of, "a change was logged as a statement: its rows are not published");
            return Ok(());
        }
        Err(Error::refused(
            format!(
                "a change of {of} before {file}:{pos} was logged as a statement (a session has \
                 binlog_format other than ROW), so its rows are not known"
            ),
            "find who does that; then begin behind it (`dts position set`), or set \
             capture.statementFormat = \"warn\" to pass over such changes, and load the table anew",
        ))
    }

    /// By its table, where that is known, else by the schemas that it used.
    fn may_concern(&self, statement: &LoggedStatement) -> bool {
        match &statement.table {
            Some((schema, table)) => self.includes(schema, table),
            None if statement.schemas.is_empty() => true,
            None => statement.schemas.iter().any(|schema| self.may_include(schema)),
        }
    }

    /// Whether any table of a schema may be captured.
    pub(crate) fn may_include(&self, schema: &str) -> bool {
        let matches = |glob: &TableGlob| glob::matches(&glob.schema, schema);
        let wanted = match self.tables.as_slice() {
            [] => !SYSTEM_SCHEMAS.contains(&schema),
            globs => globs.iter().any(matches),
        };
        wanted && !self.exclude.iter().any(|glob| glob.table == "*" && matches(glob))
    }

    /// Whether changes of a table are published.
    pub fn includes(&self, schema: &str, table: &str) -> bool {
        let any = |globs: &[TableGlob]| globs.iter().any(|glob| glob.matches(schema, table));
        let wanted = match self.tables.as_slice() {
            [] => !SYSTEM_SCHEMAS.contains(&schema),
            globs => any(globs),
        };
        wanted && !any(&self.exclude)
    }

    /// The globs over schema and table that choose; none where all but the system's are captured.
    pub(crate) fn globs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tables.iter().map(|glob| (glob.schema.as_str(), glob.table.as_str()))
    }

    /// The columns that stand in for the primary key of a table that has none.
    pub fn key_columns(&self, schema: &str, table: &str) -> Option<&[String]> {
        self.key_columns.get(&format!("{schema}.{table}")).map(Vec::as_slice)
    }
}

impl TableGlob {
    fn parse(text: &str) -> Option<Self> {
        let (schema, table) = text.split_once('.')?;
        let is_whole = !schema.is_empty() && !table.is_empty();
        is_whole.then(|| Self { schema: schema.to_owned(), table: table.to_owned() })
    }

    fn matches(&self, schema: &str, table: &str) -> bool {
        glob::matches(&self.schema, schema) && glob::matches(&self.table, table)
    }
}

fn read_globs(section: &Section, key: &str) -> Vec<TableGlob> {
    let texts: Vec<String> = section.or(key, Vec::new());
    let parse = |text: &String| {
        let glob = TableGlob::parse(text);
        if glob.is_none() {
            let remedy = "write \"schema.table\"; * and ? are wildcards, \"shop.*\" is all of shop";
            section.note(key, &format!("{text:?} is not a glob over tables"), remedy);
        }
        glob
    };
    texts.iter().filter_map(parse).collect()
}

fn read_key_columns(section: &Section) -> BTreeMap<String, Vec<String>> {
    let keys: Vec<String> = section.keys().map(str::to_owned).collect();
    let mut columns = BTreeMap::new();
    for key in keys {
        let named: Vec<String> = section.or(&key, Vec::new());
        if named.is_empty() || !key.contains('.') {
            let remedy = "write \"schema.table\" = [\"column\", …]";
            section.note(&key, "does not name a table and its columns", remedy);
        }
        columns.insert(key, named);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(text: &str) -> Capture {
        let file = service::config::File::parse(std::path::Path::new("dts.toml"), text).unwrap();
        let capture = Capture::read(&file.root().section("capture"));
        file.finish(capture).unwrap()
    }

    #[test]
    fn without_globs_all_but_the_system_schemas_are_captured() {
        let capture = capture("");
        assert!(capture.includes("shop", "orders"));
        assert!(!capture.includes("mysql", "user"));
        assert!(!capture.includes("sys", "version"));
    }

    #[test]
    fn globs_choose_and_exclude() {
        let capture = capture(
            "[capture]\ntables = ['weixin.*', 'platform.wx_config', 'log_?.e*']\nexclude = ['*.tmp_*']\n",
        );
        for (schema, table, expected) in [
            ("weixin", "anything", true),
            ("weixin", "tmp_1", false),
            ("platform", "wx_config", true),
            ("platform", "wx_config2", false),
            ("log_1", "events", true),
            ("log_12", "events", false),
            ("Weixin", "anything", false),
        ] {
            assert_eq!(capture.includes(schema, table), expected, "{schema}.{table}");
        }
    }

    #[test]
    fn statements_count_by_their_table_else_by_their_schemas() {
        let file = "f".into();
        let position = Position { file, pos: 4 };
        let table = |schema: &str, table: &str| Some((schema.to_owned(), table.to_owned()));
        let config = "[capture]\ntables = ['weixin.a*']\nexclude = ['hidden.*']\n";
        for (schemas, table, concerns) in [
            (vec!["weixin"], table("weixin", "abc"), true),
            (vec!["weixin"], table("weixin", "xyz"), false),
            (vec!["weixin", "other"], None, true),
            (vec!["other"], None, false),
            (vec![], None, true),
        ] {
            let schemas = schemas.into_iter().map(str::to_owned).collect();
            let statement = LoggedStatement { schemas, table };
            let judged = capture(config).judge(&statement, &position);
            assert_eq!(judged.is_err(), concerns, "{statement:?}");
            let told = capture(&format!("{config}statementFormat = 'warn'\n"));
            assert!(told.judge(&statement, &position).is_ok());
        }
        let all = capture("[capture]\nexclude = ['hidden.*', 'half.a']\n");
        assert!(!all.may_include("hidden") && all.may_include("half") && !all.may_include("mysql"));
    }

    #[test]
    fn key_columns_belong_to_one_table() {
        let capture = capture("[capture]\nkeyColumns = { 'weixin.log' = ['a', 'b'] }\n");
        assert_eq!(capture.key_columns("weixin", "log").unwrap(), ["a", "b"]);
        assert!(capture.key_columns("weixin", "other").is_none());
    }
}
