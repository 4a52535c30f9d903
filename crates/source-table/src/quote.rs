//! Names and texts in the form of SQL.

/// A name as an identifier (MySQL manual, "Schema Object Names").
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as a string. The text must not have a backslash, whose meaning depends on `sql_mode`.
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_name_or_a_text_is_doubled() {
        assert_eq!(identifier("a`b'c"), "`a``b'c`");
        assert_eq!(text("o'neil`"), "'o''neil`'");
    }
}
