//! What the definitions of captured tables say: keys, cascades, engines, charsets.

use service::glob;

use super::{
    generated::of_generated,
    noted::{NOT_SYSTEM, NotedTable, WITHOUT_PRIMARY, ask, named},
};
use source_table::quote::identifier;

use crate::{
    capture::Capture,
    check::{Finding, Severity},
    replica::{Conn, Product, Server},
};

/// The foreign keys of at most this many tables are read one by one, if the server does not list
/// them.
const MAX_SHOWN: usize = 500;

/// Looks at the tables that the user may see.
///
/// # Errors
///
/// When the server does not answer.
pub(super) async fn of_tables(
    conn: &mut Conn,
    server: &Server,
    capture: &Capture,
) -> mysql_async::Result<Vec<Finding>> {
    let mut found = Vec::new();
    found.extend(without_key(conn, capture).await?);
    found.extend(cascades(conn, server, capture).await?);
    found.extend(engines(conn, capture).await?);
    found.extend(charsets(conn, capture).await?);
    if server.product == Product::Mariadb {
        found.extend(old_fractions(conn, capture).await?);
        found.extend(of_generated(conn, capture).await?);
    }
    found.extend(unseen(conn, capture).await?);
    Ok(found)
}

async fn without_key(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Option<Finding>> {
    let query = format!(
        "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, '' FROM information_schema.TABLES t \
         {WITHOUT_PRIMARY} AND t.TABLE_SCHEMA {NOT_SYSTEM} ORDER BY 1, 2"
    );
    let mut tables = ask(conn, capture, &query).await?;
    tables.retain(|noted| {
        let (schema, table) = noted.table.split_once('.').unwrap_or_default();
        capture.key_columns(schema, table).is_none()
    });
    if !tables.is_empty() {
        let keyed = with_unique_key(conn, capture).await?;
        tables.retain(|noted| !keyed.iter().any(|other| other.table == noted.table));
    }
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "primary_key",
        what: format!(
            "captured tables without a primary key and without a unique key that is NOT NULL: {}",
            named(&tables)
        ),
        why: "only all its values together identify a row, so an update comes as a delete and an \
              insert, and equal rows cannot be distinguished"
            .into(),
        remedy: "ALTER TABLE … ADD PRIMARY KEY (…), or name the columns that identify a row in \
                 capture.keyColumns"
            .into(),
    }))
}

/// Tables with a unique key that a server uses instead of a missing primary key, also in its
/// binlog: a key of whole columns that cannot be NULL.
async fn with_unique_key(
    conn: &mut Conn,
    capture: &Capture,
) -> mysql_async::Result<Vec<NotedTable>> {
    let query = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, '' FROM information_schema.STATISTICS \
         WHERE NON_UNIQUE = 0 AND INDEX_NAME <> 'PRIMARY' AND TABLE_SCHEMA {NOT_SYSTEM} \
         GROUP BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME HAVING \
         SUM(NULLABLE = 'YES' OR SUB_PART IS NOT NULL OR COLUMN_NAME IS NULL) = 0"
    );
    ask(conn, capture, &query).await
}

/// Before MySQL 9.6 the storage engine carries cascades out, and the binlog does not have them.
async fn cascades(
    conn: &mut Conn,
    server: &Server,
    capture: &Capture,
) -> mysql_async::Result<Option<Finding>> {
    if server.is("innodb_native_foreign_keys", "OFF") {
        return Ok(None);
    }
    let tables = match server.product {
        Product::Mysql => listed_cascades(conn, capture).await?,
        Product::Mariadb => shown_cascades(conn, capture).await?,
    };
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "foreign_key_cascade",
        what: format!("foreign keys change captured tables: {}", named(&tables)),
        why: "this server does not write such changes into its binlog, so they are never seen"
            .into(),
        remedy: "let the application change the child rows itself (ON DELETE RESTRICT), or use \
                 MySQL 9.6 or later with innodb_native_foreign_keys = OFF"
            .into(),
    }))
}

async fn listed_cascades(
    conn: &mut Conn,
    capture: &Capture,
) -> mysql_async::Result<Vec<NotedTable>> {
    let query = "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONCAT('of ', REFERENCED_TABLE_NAME, \
        IF(DELETE_RULE IN ('CASCADE', 'SET NULL'), CONCAT(', ON DELETE ', DELETE_RULE), ''), \
        IF(UPDATE_RULE IN ('CASCADE', 'SET NULL'), CONCAT(', ON UPDATE ', UPDATE_RULE), '')) \
        FROM information_schema.REFERENTIAL_CONSTRAINTS \
        WHERE DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL') \
        ORDER BY 1, 2";
    ask(conn, capture, query).await
}

/// MariaDB lists the rules of foreign keys only to users with more than SELECT. But it says which
/// tables have foreign keys, and shows their definitions.
async fn shown_cascades(
    conn: &mut Conn,
    capture: &Capture,
) -> mysql_async::Result<Vec<NotedTable>> {
    let query = format!(
        "SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME, '' FROM information_schema.KEY_COLUMN_USAGE \
         WHERE REFERENCED_TABLE_NAME IS NOT NULL AND TABLE_SCHEMA {NOT_SYSTEM} ORDER BY 1, 2"
    );
    let rows: Vec<(String, String, String)> = conn.query(query).await?;
    let children: Vec<_> =
        rows.into_iter().filter(|(schema, table, _)| capture.includes(schema, table)).collect();
    let mut found = Vec::new();
    for (schema, table, _) in children.iter().take(MAX_SHOWN) {
        let show = format!("SHOW CREATE TABLE {}.{}", identifier(schema), identifier(table));
        let details = match conn.query_first::<(String, String), _>(show).await {
            Ok(shown) => cascades_in(&shown.map(|(_, text)| text).unwrap_or_default()),
            Err(mysql_async::Error::Server(_)) => vec!["its foreign keys cannot be seen".into()],
            Err(error) => return Err(error),
        };
        let table = format!("{schema}.{table}");
        found.extend(details.into_iter().map(|detail| NotedTable { table: table.clone(), detail }));
    }
    let unread = children.len().saturating_sub(MAX_SHOWN);
    if unread > 0 {
        let table = format!("those of {unread} more tables cannot be seen");
        found.push(NotedTable { table, detail: String::new() });
    }
    Ok(found)
}

/// The foreign keys of a definition that change rows of its table.
fn cascades_in(definition: &str) -> Vec<String> {
    let lines = definition.lines().filter(|line| line.trim_start().starts_with("CONSTRAINT `"));
    lines.filter_map(cascade_of).collect()
}

fn cascade_of(line: &str) -> Option<String> {
    let (_, referenced) = line.split_once(" FOREIGN KEY (")?.1.split_once(" REFERENCES ")?;
    let (parent, rest) = referenced.split_once(" (")?;
    let rules =
        ["ON DELETE CASCADE", "ON DELETE SET NULL", "ON UPDATE CASCADE", "ON UPDATE SET NULL"];
    let rules: Vec<&str> = rules.into_iter().filter(|rule| rest.contains(rule)).collect();
    let parent = parent.replace('`', "");
    (!rules.is_empty()).then(|| format!("of {parent}, {}", rules.join(", ")))
}

/// Engines whose changes may come as statements, or cannot be rolled back.
async fn engines(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Option<Finding>> {
    let query = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE FROM information_schema.TABLES \
         WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE IN ('MEMORY', 'MyISAM', 'CSV', 'ARCHIVE', \
         'MRG_MYISAM', 'FEDERATED', 'Aria') AND TABLE_SCHEMA {NOT_SYSTEM} ORDER BY 1, 2"
    );
    let tables = ask(conn, capture, &query).await?;
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "engine",
        what: format!("captured tables without transactions: {}", named(&tables)),
        why: "when a statement fails, the changes that it made stay, and this stops dts; and a \
              restart of the server empties a MEMORY table without a delete for each row \
              (capture.onTruncate)"
            .into(),
        remedy: "ALTER TABLE … ENGINE = InnoDB, or leave the table out with capture.exclude".into(),
    }))
}

async fn charsets(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Option<Finding>> {
    let query = format!(
        "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.CHARACTER_SET_NAME, l.ID \
         FROM information_schema.COLUMNS c JOIN information_schema.COLLATIONS l \
         ON l.COLLATION_NAME = c.COLLATION_NAME \
         WHERE c.TABLE_SCHEMA {NOT_SYSTEM} ORDER BY 1, 2, 3"
    );
    let rows: Vec<(String, String, String, String, u16)> = conn.query(query).await?;
    let tables: Vec<NotedTable> = rows
        .into_iter()
        .filter(|(schema, table, _, _, collation)| {
            !binlog::knows_collation(*collation) && capture.includes(schema, table)
        })
        .map(|(schema, table, column, charset, _)| NotedTable {
            table: format!("{schema}.{table}.{column}"),
            detail: charset,
        })
        .collect();
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "character_set",
        what: format!("columns in charsets that are not handled: {}", named(&tables)),
        why: "dts stops at the first change of such a table".into(),
        remedy: "ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4, or leave the table out with \
                 capture.exclude"
            .into(),
    }))
}

/// Columns whose fraction the binlog of a MariaDB does not show.
async fn old_fractions(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Option<Finding>> {
    let query = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, GROUP_CONCAT(COLUMN_NAME ORDER BY ORDINAL_POSITION) \
         FROM information_schema.COLUMNS WHERE DATETIME_PRECISION > 0 \
         AND COLUMN_TYPE LIKE '%mariadb-5.3%' AND TABLE_SCHEMA {NOT_SYSTEM} \
         GROUP BY TABLE_SCHEMA, TABLE_NAME ORDER BY 1, 2"
    );
    let tables = ask(conn, capture, &query).await?;
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Stop,
        name: "mysql56_temporal_format",
        what: format!("times with a fraction in the format before 10.1.2: {}", named(&tables)),
        why: "the binlog does not say that they have a fraction, so their values cannot be read"
            .into(),
        remedy:
            "SET GLOBAL mysql56_temporal_format = ON, then ALTER TABLE … FORCE for each of them; \
                 or leave them out with capture.exclude"
                .into(),
    }))
}

/// Tables or globs that the config names, and the user does not see.
async fn unseen(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Option<Finding>> {
    let query = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA {NOT_SYSTEM}"
    );
    let seen: Vec<(String, String)> = conn.query(query).await?;
    let is_seen = |of_schema: &str, of_table: &str| {
        let fits = |(schema, table): &(String, String)| {
            glob::matches(of_schema, schema) && glob::matches(of_table, table)
        };
        seen.iter().any(fits)
    };
    let unseen: Vec<NotedTable> = capture
        .globs()
        .filter(|(schema, table)| !is_seen(schema, table))
        .map(|(schema, table)| NotedTable {
            table: format!("{schema}.{table}"),
            detail: String::new(),
        })
        .collect();
    let has_dots = unseen.iter().any(|noted| noted.table.matches('.').count() > 1);
    let dots = match has_dots {
        true => "; the name of a schema ends at the first dot, so write ? for a dot in it: a?b.*",
        false => "",
    };
    Ok((!unseen.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "capture.tables",
        what: format!("tables in capture.tables that the user cannot see: {}", named(&unseen)),
        why: "they do not exist, or the user may not SELECT from them: then dts cannot check them \
              here, and full syncs of them are refused"
            .into(),
        remedy: format!("correct the name, or run the GRANT that `dts check` prints{dots}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_foreign_keys_that_change_rows_are_found_in_a_definition() {
        let definition = "CREATE TABLE `child` (\n  `id` int(11) NOT NULL COMMENT 'CONSTRAINT `a` \
            FOREIGN KEY (`p`) REFERENCES `q` (`id`) ON DELETE CASCADE',\n  PRIMARY KEY (`id`),\n  \
            CONSTRAINT `one` FOREIGN KEY (`p`) REFERENCES `parent` (`id`) ON DELETE CASCADE,\n  \
            CONSTRAINT `two` FOREIGN KEY (`q`) REFERENCES `other` (`id`),\n  \
            CONSTRAINT `three` FOREIGN KEY (`r`) REFERENCES `s`.`t` (`id`) \
            ON DELETE SET NULL ON UPDATE CASCADE\n) ENGINE=InnoDB";
        let found = cascades_in(definition);
        assert_eq!(
            found,
            ["of parent, ON DELETE CASCADE", "of s.t, ON DELETE SET NULL, ON UPDATE CASCADE",]
        );
    }
}
