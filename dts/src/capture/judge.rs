//! What to do about changes of captured tables whose rows the binlog does not have, since they were
//! logged as statements.

use tracing::warn;

use super::{CHECKSUMS, Capture, Reaction, SYSTEM_SCHEMAS};
use crate::{
    decode::{LoggedStatement, Position},
    error::{Error, Result},
};

/// Changes of captured tables that were told in the log, since the binlog has no rows of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Changes that were logged as statements.
    pub statements: u64,
}

impl Capture {
    /// What to do about a change that was logged as a statement, in front of `position`. Says
    /// whether it was told.
    ///
    /// # Errors
    ///
    /// Refused, when it may be of a captured table, and is not just to be told.
    pub fn judge(&self, statement: &LoggedStatement, position: &Position) -> Result<bool> {
        if !self.may_concern(statement) {
            return Ok(false);
        }
        let Position { file, pos } = position;
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
            "find who does that; then begin behind it (`dts position set`), or set \
             capture.statementFormat = \"warn\" to pass over such changes, and load the table anew",
        ))
    }

    /// Whether it may have changed a captured table: the one that it names, or another of a schema
    /// that it used, by a view, a trigger or a function. What is not known counts as yes.
    fn may_concern(&self, statement: &LoggedStatement) -> bool {
        match (&statement.table, &statement.schemas) {
            (Some((schema, table)), _) if self.includes(schema, table) => true,
            (Some((schema, table)), _) if (schema.as_str(), table.as_str()) == CHECKSUMS => false,
            (_, Some(schemas)) => schemas.iter().any(|schema| self.may_include(schema)),
            // No trigger can be on a table of the server's own; of another the operator knows.
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
}

#[cfg(test)]
mod tests {
    use super::{super::tests::capture, *};

    fn position() -> Position {
        Position { file: "binlog.000007".into(), pos: 4 }
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
            let telling = capture(&format!("{config}statementFormat = 'warn'\n"));
            assert_eq!(telling.judge(&statement, &position()).unwrap(), concerns, "{statement:?}");
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
}
