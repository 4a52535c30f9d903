//! A table of the target, as the target describes it.

use std::collections::BTreeMap;

use full_sync::Table;

use super::{
    client::{MysqlClient, TargetConn, TargetError},
    literal::push_text,
};
use crate::{shape::Shape, value::Kind};

/// A table of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetTable {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: BTreeMap<String, TargetColumn>,
    /// Those that a whole row of the source fills; empty when nobody has told how the source's
    /// table is defined.
    pub(super) from_source: Vec<String>,
}

/// A column of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TargetColumn {
    /// What values of it look like in an event: by the source's type, else by the target's.
    pub(super) kind: Kind,
    pub(super) is_nullable: bool,
    /// The target computes it.
    pub(super) is_generated: bool,
}

/// Describes a table of the target; without columns when it is not there.
///
/// # Errors
///
/// What the target says.
pub(super) async fn describe(
    (client, conn): (&MysqlClient, &mut TargetConn),
    (schema, name): (&str, &str),
    source: Option<&Table>,
    shape: &Shape,
) -> Result<TargetTable, TargetError> {
    let mut sql = "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE = 'YES', EXTRA LIKE '%GENERATED%' AND EXTRA NOT LIKE \
        '%DEFAULT_GENERATED%' FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = "
        .to_owned();
    match schema.is_empty() {
        true => sql.push_str("DATABASE()"),
        false => push_text(&mut sql, schema),
    }
    sql.push_str(" AND TABLE_NAME = ");
    push_text(&mut sql, name);
    let rows: Vec<(String, String, bool, bool)> = client.ask(conn, &sql).await?;
    let sources = source.and_then(|source| source.columns.as_ref()).into_iter().flatten();
    let kinds: BTreeMap<String, Kind> = sources
        .filter(|column| shape.takes(&column.name))
        .map(|column| (shape.name_of(&column.name).into_owned(), Kind::of(&column.declared)))
        .collect();
    let column = |(name, declared, is_nullable, is_generated): (String, String, bool, bool)| {
        let kind = kinds.get(&name).copied().unwrap_or_else(|| Kind::of(&declared));
        (name, TargetColumn { kind, is_nullable, is_generated })
    };
    let columns: BTreeMap<String, TargetColumn> = rows.into_iter().map(column).collect();
    let is_filled = |name: &&String| columns.get(*name).is_some_and(|of| !of.is_generated);
    let from_source = kinds.keys().filter(is_filled).cloned().collect();
    let (schema, name) = (schema.to_owned(), name.to_owned());
    Ok(TargetTable { schema, name, columns, from_source })
}
