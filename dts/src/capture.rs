//! Which tables are captured, and which columns order the records of each.

mod judge;

use std::collections::BTreeMap;

use full_sync::{CHECKSUMS, Captured, SYSTEM_SCHEMAS};
use service::{config::Section, glob};

pub use self::judge::{RemovedRows, SaidInLog};

/// The `[capture]` section.
#[derive(Debug)]
pub struct Capture {
    tables: Vec<TableGlob>,
    exclude: Vec<TableGlob>,
    key_columns: BTreeMap<String, Vec<String>>,
    /// What to do about a change that was logged as a statement.
    statement_format: Reaction,
    /// What to do about a statement that removes rows.
    on_truncate: Reaction,
}

/// What to do about a change of a captured table whose rows are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    /// dts stops before the change.
    Stop,
    /// The change is logged and skipped.
    Warn,
}

impl Reaction {
    const WORDS: [&str; 2] = ["stop", "warn"];

    fn read(section: &Section, key: &str, default: Self) -> Self {
        match section.choice(key, Self::WORDS) {
            Some(0) => Self::Stop,
            Some(_) => Self::Warn,
            None => default,
        }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            tables: Vec::new(),
            exclude: Vec::new(),
            key_columns: BTreeMap::new(),
            statement_format: Reaction::Stop,
            on_truncate: Reaction::Warn,
        }
    }
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
            statement_format: Reaction::read(section, "statementFormat", Reaction::Stop),
            on_truncate: Reaction::read(section, "onTruncate", Reaction::Warn),
        }
    }

    /// Whether any table of a schema may be captured.
    pub(crate) fn may_include(&self, schema: &str) -> bool {
        let wanted = if self.tables.is_empty() || SYSTEM_SCHEMAS.contains(&schema) {
            self.is_free(schema, "")
        } else {
            self.tables.iter().any(|glob| glob::matches(&glob.schema, schema))
        };
        let is_excluded =
            |glob: &TableGlob| glob.table == "*" && glob::matches(&glob.schema, schema);
        wanted && !self.exclude.iter().any(is_excluded)
    }

    /// Whether changes of a table are published.
    pub fn includes(&self, schema: &str, table: &str) -> bool {
        let any = |globs: &[TableGlob]| globs.iter().any(|glob| glob.matches(schema, table));
        let wanted = self.tables.is_empty() || any(&self.tables);
        wanted && self.is_free(schema, table) && !any(&self.exclude)
    }

    /// Whether globs alone can choose a table. Tables of the server or of a tool are captured only
    /// if their schema is named.
    fn is_free(&self, schema: &str, table: &str) -> bool {
        let is_reserved = SYSTEM_SCHEMAS.contains(&schema) || (schema, table) == CHECKSUMS;
        !is_reserved || self.tables.iter().any(|glob| glob.schema == schema)
    }

    /// The globs over schema and table that choose tables; none if all but the system's tables are
    /// captured.
    pub(crate) fn globs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tables.iter().map(|glob| (glob.schema.as_str(), glob.table.as_str()))
    }

    /// The captured tables, in the form that other programs read.
    pub(crate) fn captured(&self) -> Captured {
        let pair = |glob: &TableGlob| (glob.schema.clone(), glob.table.clone());
        Captured {
            tables: self.tables.iter().map(pair).collect(),
            exclude: self.exclude.iter().map(pair).collect(),
        }
    }

    /// The columns that replace the primary key of a table without one.
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
            section.note(key, &format!("{text:?} is not a table, nor a pattern of tables"), remedy);
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

    pub(super) fn capture(text: &str) -> Capture {
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
        assert!(!capture.captured().includes("sys", "version"));
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
            assert_eq!(capture.captured().includes(schema, table), expected, "{schema}.{table}");
        }
    }

    #[test]
    fn the_tables_of_the_server_and_of_tools_are_captured_only_where_their_schema_is_named() {
        for (tables, schema, table, expected) in [
            ("'*.*'", "shop", "item", true),
            ("'*.*'", "mysql", "rds_heartbeat2", false),
            ("'my*.*'", "mysql", "user", false),
            ("'*.*', 'mysql.user'", "mysql", "user", true),
            ("'mysql.u*'", "mysql", "user", true),
            ("'mysql.u*'", "mysql", "db", false),
            ("'*.*'", "percona", "checksums", false),
            ("'*.*'", "percona", "heartbeat", true),
            ("'percona.*'", "percona", "checksums", true),
        ] {
            let capture = capture(&format!("[capture]\ntables = [{tables}]\n"));
            assert_eq!(capture.includes(schema, table), expected, "{tables}: {schema}.{table}");
        }
        assert!(!capture("").includes("percona", "checksums"));
    }

    #[test]
    fn key_columns_belong_to_one_table() {
        let capture = capture("[capture]\nkeyColumns = { 'weixin.log' = ['a', 'b'] }\n");
        assert_eq!(capture.key_columns("weixin", "log").unwrap(), ["a", "b"]);
        assert!(capture.key_columns("weixin", "other").is_none());
    }
}
