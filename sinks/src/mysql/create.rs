//! The statement that makes a table, or adds the columns that a table of the target lacks, from the
//! definition of the source's table.

use full_sync::{Table, TableColumn};

use super::{MysqlConfig, WriteMode, audit::AUDIT_COLUMNS, literal::named, table::TargetTable};
use crate::shape::Shape;

/// What the table of the target should have.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) config: &'a MysqlConfig,
    /// The source's table, if it is known.
    pub(super) source: Option<&'a Table>,
    pub(super) shape: &'a Shape,
}

impl Wish<'_> {
    /// The statement that adds what the target lacks; `None` when it lacks nothing, or nobody knows
    /// what it should have.
    pub(super) fn lacking(&self, target: &TargetTable) -> Option<String> {
        let source = self.source.filter(|source| source.columns.is_some())?;
        match target.columns.is_empty() {
            true => Some(self.create(source, target)),
            false => self.alter(source, target),
        }
    }

    /// The columns that come from the source, under their names at the target.
    fn columns<'t>(
        &self,
        source: &'t Table,
    ) -> impl Iterator<Item = (String, &'t TableColumn)> + use<'_, 't> {
        let columns = source.columns.iter().flatten();
        let taken = columns.filter(|column| self.shape.takes(&column.name));
        taken.map(|column| (self.shape.name_of(&column.name).into_owned(), column))
    }

    fn create(&self, source: &Table, target: &TargetTable) -> String {
        let is_audit = self.config.mode == WriteMode::Append;
        let mut parts: Vec<String> = Vec::new();
        if is_audit {
            parts.extend(AUDIT_COLUMNS.map(|(name, declared)| defined(name, declared)));
        }
        parts.extend(self.columns(source).map(|(name, column)| {
            // A row of an audit log may lack columns.
            defined(&name, &declaration(column, is_audit))
        }));
        if let Some(version) = &self.config.version_column {
            parts.push(defined(version, "BIGINT UNSIGNED"));
        }
        let key: Vec<String> = match is_audit {
            true => vec![AUDIT_COLUMNS[0].0.to_owned()],
            false => source
                .primary_key
                .iter()
                .map(|name| self.shape.name_of(name).into_owned())
                .collect(),
        };
        if !key.is_empty() {
            parts.push(format!("PRIMARY KEY ({})", names(&key)));
        }
        format!("CREATE TABLE IF NOT EXISTS {} ({})", quoted(target), parts.join(", "))
    }

    fn alter(&self, source: &Table, target: &TargetTable) -> Option<String> {
        let lacks = |name: &str| !target.columns.contains_key(name);
        let mut parts: Vec<String> = self
            .columns(source)
            .filter(|(name, _)| lacks(name))
            // Rows that are there have no value for it.
            .map(|(name, column)| {
                format!("ADD COLUMN {}", defined(&name, &declaration(column, true)))
            })
            .collect();
        if let Some(version) = self.config.version_column.as_ref().filter(|name| lacks(name)) {
            parts.push(format!("ADD COLUMN {}", defined(version, "BIGINT UNSIGNED")));
        }
        if self.config.mode == WriteMode::Append {
            let audit = AUDIT_COLUMNS.iter().filter(|(name, _)| lacks(name));
            parts.extend(audit.map(|(name, of)| format!("ADD COLUMN {}", defined(name, of))));
        }
        (!parts.is_empty()).then(|| format!("ALTER TABLE {} {}", quoted(target), parts.join(", ")))
    }
}

/// The table's name with its schema, between backticks.
pub(super) fn quoted(target: &TargetTable) -> String {
    match target.schema.is_empty() {
        true => named(&target.name),
        false => format!("{}.{}", named(&target.schema), named(&target.name)),
    }
}

fn names(columns: &[String]) -> String {
    columns.iter().map(|name| named(name)).collect::<Vec<_>>().join(", ")
}

fn defined(name: &str, declared: &str) -> String {
    format!("{} {declared}", named(name))
}

/// The type of a column, its charset, and whether it may be NULL.
fn declaration(column: &TableColumn, is_always_nullable: bool) -> String {
    let mut sql = column.declared.clone();
    if let Some(charset) = &column.charset {
        sql.push_str(" CHARACTER SET ");
        sql.push_str(charset);
    }
    if let Some(collation) = &column.collation {
        sql.push_str(" COLLATE ");
        sql.push_str(collation);
    }
    // Without a word, an old server takes a TIMESTAMP for NOT NULL.
    sql.push_str(if column.nullable || is_always_nullable { " NULL" } else { " NOT NULL" });
    sql
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use service::config::File;

    use super::*;
    use crate::{mysql::table::TargetColumn, value::Kind};

    fn config(toml: &str) -> Arc<MysqlConfig> {
        let file = File::parse(Path::new("test"), &format!("user = 'u'\n{toml}")).unwrap();
        let config = MysqlConfig::read(file.root()).unwrap();
        Arc::new(file.finish(config).unwrap())
    }

    fn source() -> Table {
        let column = |name: &str, declared: &str, nullable| TableColumn {
            name: name.into(),
            declared: declared.into(),
            nullable,
            ..TableColumn::default()
        };
        Table {
            schema: "shop".into(),
            table: "item".into(),
            columns: Some(vec![
                column("id", "int unsigned", false),
                column("name", "varchar(9)", true),
            ]),
            primary_key: vec!["id".into()],
        }
    }

    fn lacking(toml: &str, has: &[&str]) -> Option<String> {
        let column = TargetColumn { kind: Kind::Text, is_nullable: true, is_generated: false };
        let target = TargetTable {
            schema: "copy".into(),
            name: "item".into(),
            columns: has.iter().map(|name| ((*name).to_owned(), column)).collect(),
            from_source: Vec::new(),
        };
        let (source, shape) = (source(), Shape::default());
        Wish { config: &config(toml), source: Some(&source), shape: &shape }.lacking(&target)
    }

    #[test]
    fn a_table_is_made_as_the_sources_is_defined() {
        assert_eq!(
            lacking("versionColumn = '_seq'", &[]).unwrap(),
            "CREATE TABLE IF NOT EXISTS `copy`.`item` (`id` int unsigned NOT NULL, `name` \
             varchar(9) NULL, `_seq` BIGINT UNSIGNED, PRIMARY KEY (`id`))"
        );
        let audit = lacking("mode = 'append'", &[]).unwrap();
        assert!(audit.contains("`id` int unsigned NULL"), "{audit}");
        assert!(audit.ends_with("PRIMARY KEY (`ev_id`))"), "{audit}");
    }

    #[test]
    fn columns_are_added_that_the_target_lacks() {
        assert_eq!(lacking("", &["id", "name"]), None);
        assert_eq!(
            lacking("versionColumn = 'v'", &["id"]).unwrap(),
            "ALTER TABLE `copy`.`item` ADD COLUMN `name` varchar(9) NULL, ADD COLUMN `v` BIGINT \
             UNSIGNED"
        );
    }
}
