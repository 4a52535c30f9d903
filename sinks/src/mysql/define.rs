//! How columns of the target are defined: words of SQL.

use full_sync::TableColumn;

use super::literal::named;

/// A column's name and its definition.
pub(super) fn defined(name: &str, declared: &str) -> String {
    format!("{} {declared}", named(name))
}

/// The type of a column, its charset, and whether it may be NULL.
pub(super) fn declaration(column: &TableColumn, is_always_nullable: bool) -> String {
    let mut sql = column.declared.clone();
    if let Some(charset) = &column.charset {
        sql.push_str(" CHARACTER SET ");
        sql.push_str(charset);
    }
    if let Some(collation) = &column.collation {
        sql.push_str(" COLLATE ");
        sql.push_str(collation);
    }
    sql.push_str(nullability(column.nullable || is_always_nullable));
    sql
}

/// Without a word, an old server takes a TIMESTAMP for NOT NULL.
pub(super) fn nullability(is_nullable: bool) -> &'static str {
    if is_nullable { " NULL" } else { " NOT NULL" }
}

/// Whether two types hold the same. Some servers show the width of integers, and others do not.
pub(super) fn is_same_type(one: &str, other: &str) -> bool {
    let plain = |declared: &str| match declared.split_once('(') {
        Some((word, rest)) if word.to_ascii_lowercase().ends_with("int") => {
            let after = rest.split_once(')').map_or("", |(_, after)| after);
            format!("{word}{after}").replace(" zerofill", "")
        }
        _ => declared.replace(" zerofill", ""),
    };
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_of_an_integer_is_not_its_type() {
        assert!(is_same_type("int(10) unsigned", "int unsigned"));
        assert!(!is_same_type("int", "bigint") && !is_same_type("varchar(5)", "varchar(9)"));
        assert!(!is_same_type("enum('a')", "enum('A')"));
    }
}
