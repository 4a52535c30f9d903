//! What to do about changes of captured tables whose rows the binlog does not have: statements that
//! were logged as text, and statements that remove rows as a whole.

use binlog::{Definition, FilePosition, LoggedStatement, Removal};
use full_sync::{CHECKSUMS, SYSTEM_SCHEMAS};
use tracing::warn;

use super::{Capture, Reaction};
use crate::{
    checkpoint::full_sync_of,
    error::{Error, Result},
};

/// Changes of captured tables that dts only logged, because the binlog has no rows for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaidInLog {
    /// Changes that were logged as statements.
    pub statements: u64,
    /// Tables whose rows a statement removed as a whole.
    pub removals: Vec<RemovedRows>,
}

/// Rows of a captured table that a statement removed, without events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedRows {
    /// `schema.table`; `schema.*` for a schema.
    pub table: String,
    /// How the statement begins: `TRUNCATE`.
    pub statement: String,
    /// Where it ends.
    pub position: FilePosition,
}

impl Capture {
    /// Decides about a change that was logged as a statement and ends at `position`. Returns
    /// whether the change was logged.
    ///
    /// # Errors
    ///
    /// Refused, when the change may be of a captured table, and the config does not say to only
    /// warn.
    pub fn judge(&self, statement: &LoggedStatement, position: &FilePosition) -> Result<bool> {
        if !self.may_concern(statement) {
            return Ok(false);
        }
        let FilePosition { file, pos } = position;
        let of = self.describe(statement);
        if self.statement_format == Reaction::Warn {
            warn!(%file, pos, of, "a change was logged as a statement: its rows are not published");
            return Ok(true);
        }
        Err(Error::refused(
            format!(
                "a change of {of} before {file}:{pos} was logged as a statement (a session has \
                 binlog_format other than ROW), so its rows are not known"
            ),
            "find the session that does this; then begin after the change (`dts position set`), or \
             set capture.statementFormat = \"warn\" to skip such changes, and load the table again",
        ))
    }

    /// Whether the statement may have changed a captured table: the one that it names, or another
    /// table in a schema that it used, by a view, a trigger or a function. If this is unknown, the
    /// answer is yes.
    fn may_concern(&self, statement: &LoggedStatement) -> bool {
        match (&statement.table, &statement.schemas) {
            (Some((schema, table)), _) if self.includes(schema, table) => true,
            (Some((schema, table)), _) if (schema.as_str(), table.as_str()) == CHECKSUMS => false,
            (_, Some(schemas)) => schemas.iter().any(|schema| self.may_include(schema)),
            // A table of the server itself cannot have triggers; the operator knows those of other
            // tables.
            (Some((schema, table)), None) => {
                !SYSTEM_SCHEMAS.contains(&schema.as_str()) && !self.excludes_by_name(schema, table)
            }
            (None, None) => true,
        }
    }

    fn excludes_by_name(&self, schema: &str, table: &str) -> bool {
        self.exclude.iter().any(|glob| glob.schema == schema && glob.table == table)
    }

    fn describe(&self, statement: &LoggedStatement) -> String {
        let used = statement.schemas.as_ref().map(|schemas| schemas.join(", "));
        match (&statement.table, used) {
            (Some((schema, table)), _) if self.includes(schema, table) => {
                format!("table {schema}.{table}")
            }
            (Some((schema, table)), used) => {
                let within = used.map(|used| format!(" in schema {used}")).unwrap_or_default();
                format!(
                    "{schema}.{table}, which may be a view, or have triggers or functions that \
                     change captured tables{within},"
                )
            }
            (None, Some(used)) => format!("tables of schema {used}"),
            (None, None) => "tables that the binlog does not name".to_owned(),
        }
    }

    /// Decides about a statement that ends at `position`, and that removed or replaced rows of
    /// captured tables without changes in the binlog. Returns the tables.
    ///
    /// # Errors
    ///
    /// Refused, when there are such tables, and the config does not say to only warn.
    pub fn judge_removals(
        &self,
        statement: &Definition,
        position: &FilePosition,
    ) -> Result<Vec<RemovedRows>> {
        let FilePosition { file, pos } = position;
        let mut logged = Vec::new();
        for removal in statement.removals() {
            let Some(table) = self.concerned(&removal) else { continue };
            let statement = statement.verb();
            if self.on_truncate == Reaction::Stop {
                return Err(refuse_removal(&table, &statement, position));
            }
            let full_sync = full_sync_of(&table);
            warn!(
                table,
                %file,
                pos,
                statement,
                full_sync,
                "rows of a captured table were removed without events: what its listeners wrote \
                 from them stays. Delete what they wrote from the table, then run this full sync \
                 for each of them (docs/delivery.md)"
            );
            logged.push(RemovedRows { table, statement, position: position.clone() });
        }
        Ok(logged)
    }

    /// The captured table, or the tables of a schema, that a removal may be of. A server may store
    /// a table under its name in lower case.
    fn concerned(&self, removal: &Removal) -> Option<String> {
        let (schema, table) = match removal {
            Removal::Table(schema, table) => (schema, table.as_str()),
            Removal::Schema(schema) => (schema, "*"),
        };
        let written = (schema.clone(), table.to_owned());
        let small = (schema.to_lowercase(), table.to_lowercase());
        let is_captured = |(schema, table): &(String, String)| match removal {
            Removal::Table(..) => self.includes(schema, table),
            Removal::Schema(_) => self.may_include(schema),
        };
        let found = [written, small].into_iter().find(is_captured);
        found.map(|(schema, table)| format!("{schema}.{table}"))
    }
}

fn refuse_removal(
    table: &str,
    statement: &str,
    FilePosition { file, pos }: &FilePosition,
) -> Error {
    Error::refused(
        format!(
            "a statement before {file}:{pos} that begins with {statement} removed rows of {table}, \
             and the binlog has no events for these rows: what listeners wrote from them would \
             stay"
        ),
        format!(
            "delete what the listeners wrote from the table; then begin after the statement (`dts \
             position set`), or set capture.onTruncate = \"warn\" to go on; then send the table \
             again (`{}`)",
            full_sync_of(table)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::tests::capture, *};

    fn position() -> FilePosition {
        FilePosition { file: "binlog.000007".into(), pos: 4 }
    }

    fn names(table: &str) -> Option<(String, String)> {
        let (schema, table) = table.split_once('.')?;
        Some((schema.to_owned(), table.to_owned()))
    }

    #[test]
    fn statements_count_by_their_table_and_the_schemas_that_they_used() {
        let config =
            "[capture]\ntables = ['weixin.a*', '*.hidden']\nexclude = ['hidden.*', 'x.named']\n";
        let unknown = None;
        for (schemas, table, concerns) in [
            (Some("weixin"), "weixin.abc", true),
            (Some("weixin"), "weixin.view_or_with_triggers", true),
            (Some("other"), "other.xyz", true),
            (Some("hidden"), "hidden.xyz", false),
            (Some("hidden weixin"), "hidden.with_triggers", true),
            (Some("hidden mysql"), "", false),
            (Some("hidden weixin"), "", true),
            (unknown, "", true),
            (unknown, "hidden.xyz", true),
            (unknown, "mysql.rds_heartbeat2", false),
            (unknown, "x.named", false),
            (Some("x weixin"), "x.named", true),
            (Some("mysql"), "mysql.rds_heartbeat2", false),
            (Some("percona weixin"), "percona.checksums", false),
            (unknown, "percona.checksums", false),
            (Some("percona weixin"), "percona.other", true),
        ] {
            let schemas = schemas.map(|names| names.split(' ').map(str::to_owned).collect());
            let statement = LoggedStatement { schemas, table: names(table) };
            let judged = capture(config).judge(&statement, &position());
            assert_eq!(judged.is_err(), concerns, "{statement:?}");
            let warning = capture(&format!("{config}statementFormat = 'warn'\n"));
            assert_eq!(warning.judge(&statement, &position()).unwrap(), concerns, "{statement:?}");
        }
        let all = capture("[capture]\nexclude = ['hidden.*', 'half.a']\n");
        assert!(!all.may_include("hidden") && all.may_include("half") && !all.may_include("mysql"));
    }

    #[test]
    fn the_message_says_what_may_have_changed() {
        let capture = capture("[capture]\ntables = ['shop.item']\n");
        for (schemas, table, part) in [
            (Some("shop"), "shop.item", "a change of table shop.item before binlog.000007:4 "),
            (
                Some("scratch,shop"),
                "scratch.log",
                "a change of scratch.log, which may be a view, or have triggers or functions that \
                 change captured tables in schema scratch, shop, before ",
            ),
            (Some("shop"), "", "a change of tables of schema shop before "),
            (None, "", "a change of tables that the binlog does not name before "),
        ] {
            let schemas = schemas.map(|names| names.split(',').map(str::to_owned).collect());
            let statement = LoggedStatement { schemas, table: names(table) };
            let error = capture.judge(&statement, &position()).unwrap_err().to_string();
            assert!(error.starts_with(part), "{error}");
        }
    }

    #[test]
    fn rows_removed_without_events_are_counted_by_captured_table_or_stop_dts() {
        let config = "[capture]\ntables = ['shop.*']\nexclude = ['shop.tmp_*']\n";
        let (warning, stopping) =
            (capture(config), capture(&format!("{config}onTruncate = 'stop'\n")));
        for (text, tables) in [
            ("TRUNCATE TABLE item", 1),
            ("TRUNCATE TABLE tmp_1", 0),
            ("TRUNCATE TABLE other.item", 0),
            ("DROP TABLE a, tmp_1, other.b, c", 2),
            ("TRUNCATE TABLE Shop.ITEM", 1),
            ("DROP DATABASE shop", 1),
            ("DROP DATABASE other", 0),
            ("ALTER TABLE other.a EXCHANGE PARTITION p WITH TABLE shop.b", 1),
            ("ALTER TABLE item ADD a INT", 0),
        ] {
            let statement = Definition::new(b"shop", text.as_bytes());
            let logged = warning.judge_removals(&statement, &position()).unwrap();
            assert_eq!(logged.len(), tables, "{text}");
            let stopped = stopping.judge_removals(&statement, &position());
            assert_eq!(stopped.is_err(), tables > 0, "{text}");
        }
        let statement = Definition::new(b"shop", b"truncate table item");
        let error = stopping.judge_removals(&statement, &position()).unwrap_err().to_string();
        for part in ["before binlog.000007:4 ", "TRUNCATE", "of shop.item", "LISTENER shop.item"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }
}
