//! The statement that makes a table, or adds the columns that a table of the target lacks, from the
//! definition of the source's table.

use full_sync::{Table, TableColumn};

use super::{
    MysqlConfig,
    audit::AUDIT_COLUMNS,
    define::{declaration, defined},
    literal::named,
    table::TargetTable,
};
use crate::shape::{AddedKind, Shape};

/// What the table of the target should have.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) config: &'a MysqlConfig,
    /// The source's table, if it is known.
    pub(super) source: Option<&'a Table>,
    pub(super) shape: &'a Shape,
    /// Each change is a row of its own.
    pub(super) is_audit: bool,
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

    /// The columns of the source that a table lacks which is there, and keeps rows as they are now.
    pub(super) fn new_columns(&self, target: &TargetTable) -> Vec<String> {
        let Some(source) = self.source.filter(|_| !target.columns.is_empty() && !self.is_audit)
        else {
            return Vec::new();
        };
        let names = self.columns(source).map(|(name, _)| name);
        names.filter(|name| target.column(name).is_none()).collect()
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

    /// The columns that are computed or constant, as they are declared.
    fn added(&self) -> impl Iterator<Item = (&str, String)> {
        self.shape.added().map(|(name, kind)| {
            let declared = match kind {
                AddedKind::Flag => "TINYINT(1)",
                AddedKind::Integer => "BIGINT",
                AddedKind::Number => "DOUBLE",
                AddedKind::Text => "LONGTEXT CHARACTER SET utf8mb4",
            };
            (name, defined(name, declared))
        })
    }

    fn version(&self) -> Option<&str> {
        self.config.version_column.as_deref().filter(|_| !self.is_audit)
    }

    /// The columns by which a row is found.
    fn key(&self, source: &Table) -> Vec<String> {
        let key = source.primary_key.iter();
        match self.is_audit {
            true => vec![AUDIT_COLUMNS[0].0.to_owned()],
            false => key.map(|name| self.shape.name_of(name).into_owned()).collect(),
        }
    }

    fn create(&self, source: &Table, target: &TargetTable) -> String {
        let is_audit = self.is_audit;
        let mut parts: Vec<String> = Vec::new();
        if is_audit {
            parts.extend(AUDIT_COLUMNS.map(|(name, declared)| defined(name, declared)));
        }
        parts.extend(self.columns(source).map(|(name, column)| {
            // A row of an audit log may lack columns.
            defined(&name, &declaration(column, is_audit))
        }));
        parts.extend(self.added().map(|(_, defined)| defined));
        if let Some(version) = self.version() {
            parts.push(defined(version, "BIGINT UNSIGNED"));
        }
        let key = self.key(source);
        if !key.is_empty() {
            parts.push(format!("PRIMARY KEY ({})", names(&key)));
        }
        format!("CREATE TABLE IF NOT EXISTS {} ({})", target.quoted(), parts.join(", "))
    }

    fn alter(&self, source: &Table, target: &TargetTable) -> Option<String> {
        let lacks = |name: &str| target.column(name).is_none();
        let mut parts: Vec<String> = self
            .columns(source)
            .filter(|(name, _)| lacks(name))
            // Rows that are there have no value for it.
            .map(|(name, column)| {
                format!("ADD COLUMN {}", defined(&name, &declaration(column, true)))
            })
            .collect();
        let added = self.added().filter(|(name, _)| lacks(name));
        parts.extend(added.map(|(_, defined)| format!("ADD COLUMN {defined}")));
        if let Some(version) = self.version().filter(|name| lacks(name)) {
            parts.push(format!("ADD COLUMN {}", defined(version, "BIGINT UNSIGNED")));
        }
        if self.is_audit {
            let audit = AUDIT_COLUMNS.iter().filter(|(name, _)| lacks(name));
            // Rows that are there have no value for them.
            let nullable = |of: &str| of.replace("NOT NULL", "NULL");
            parts.extend(
                audit.map(|(name, of)| format!("ADD COLUMN {}", defined(name, &nullable(of)))),
            );
        }
        let key = self.key(source);
        let places: Option<Vec<usize>> = key.iter().map(|name| target.column(name)).collect();
        if !key.is_empty() && !places.is_some_and(|places| target.is_unique(&places)) {
            parts.push(format!("ADD UNIQUE ({})", names(&key)));
        }
        (!parts.is_empty()).then(|| format!("ALTER TABLE {} {}", target.quoted(), parts.join(", ")))
    }
}

fn names(columns: &[String]) -> String {
    columns.iter().map(|name| named(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use service::config::File;

    use super::*;
    use crate::mysql::table::TargetColumn;

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
        let column =
            |name: &&str| TargetColumn { name: (*name).to_owned(), ..TargetColumn::default() };
        let target = TargetTable {
            schema: "copy".into(),
            name: "item".into(),
            columns: has.iter().map(column).collect(),
            from_source: Vec::new(),
            unique: vec![vec![0]],
        };
        let (source, shape, config) = (source(), Shape::default(), config(toml));
        let is_audit = config.is_audit;
        Wish { config: &config, source: Some(&source), shape: &shape, is_audit }.lacking(&target)
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
            lacking("", &["name", "id"]).unwrap(),
            "ALTER TABLE `copy`.`item` ADD UNIQUE (`id`)"
        );
        let audit = lacking("mode = 'append'", &["id", "name"]).unwrap();
        assert!(
            audit.contains(
                "ADD COLUMN `ev_id` VARCHAR(191) CHARACTER SET ascii COLLATE \
                                ascii_bin NULL,"
            ),
            "{audit}"
        );
        assert!(audit.ends_with("ADD UNIQUE (`ev_id`)"), "{audit}");
        assert_eq!(
            lacking("versionColumn = 'v'", &["id"]).unwrap(),
            "ALTER TABLE `copy`.`item` ADD COLUMN `name` varchar(9) NULL, ADD COLUMN `v` BIGINT \
             UNSIGNED"
        );
    }
}
