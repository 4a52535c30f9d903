//! Names and texts, as SQL has them.

/// A name as an identifier (MySQL manual, "Schema Object Names").
pub(crate) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as a string. It must have no backslash, which `sql_mode` gives two meanings.
pub(crate) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_name_or_a_text_is_doubled() {
        assert_eq!(identifier("a`b'c"), "`a``b'c`");
        assert_eq!(text("o'neil`"), "'o''neil`'");
    }
}
