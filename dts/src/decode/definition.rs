//! Statements that change definitions (DDL): which tables they are about.

use super::statement::{first_word, table_name, words};

/// A statement that may have changed the definition of a table, as it was logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// The schema that the session was in.
    schema: String,
    text: Vec<u8>,
}

impl Definition {
    pub(super) fn new(schema: &[u8], text: &[u8]) -> Self {
        Self { schema: String::from_utf8_lossy(schema).into_owned(), text: text.to_vec() }
    }

    /// Whether it may be about a table: it names one so, or drops a schema of this name. Rather
    /// once too often: the schema of a name is not looked at.
    pub fn may_concern(&self, schema: &str, table: &str) -> bool {
        self.drops_schema(schema) || words(&self.text).any(|word| is_same(&word, table))
    }

    /// Whether it takes rows of a table away, which the binlog does not name: TRUNCATE, DROP TABLE,
    /// DROP DATABASE, MariaDB's CREATE OR REPLACE TABLE, and what ALTER TABLE does to partitions.
    pub fn removes_rows(&self, schema: &str, table: &str) -> bool {
        let (verb, rest) = first_word(&self.text);
        let names_it = |rest| self.names(rest).any(|of| is(&of, schema, table));
        match verb.to_ascii_uppercase().as_slice() {
            b"TRUNCATE" => names_it(after_word(rest, b"TABLE")),
            b"DROP" if self.drops_schema(schema) => true,
            b"DROP" => after_table(rest, [b"IF", b"EXISTS"]).is_some_and(names_it),
            b"CREATE" => {
                let replaced = after_words(rest, [b"OR", b"REPLACE"]);
                replaced.and_then(|rest| after_table(rest, [])).is_some_and(names_it)
            }
            b"ALTER" => {
                let rest = after_word(after_word(rest, b"ONLINE"), b"IGNORE");
                let is_it = after_table(rest, [b"IF", b"EXISTS"]).is_some_and(names_it);
                (is_it && self.changes_partitions(&["DROP", "TRUNCATE", "CONVERT"]))
                    // The other one is a table, too.
                    || (self.changes_partitions(&["EXCHANGE"]) && self.may_concern(schema, table))
            }
            _ => false,
        }
    }

    /// Whether it gives a table that it names another name. Rather once too often: it may stand so
    /// in a comment.
    pub fn renames(&self) -> bool {
        let (verb, _) = first_word(&self.text);
        let words = || words(&self.text).map(|word| word.to_uppercase());
        let mut pairs = words().zip(words().skip(1));
        let is_of_table = |what: &str| !["COLUMN", "INDEX", "KEY"].contains(&what);
        match verb.to_ascii_uppercase().as_slice() {
            b"RENAME" => true,
            b"ALTER" => pairs.any(|(verb, what)| verb == "RENAME" && is_of_table(&what)),
            _ => false,
        }
    }

    /// Whether one of these verbs stands before PARTITION. Rather once too often: it may stand so
    /// in a comment.
    fn changes_partitions(&self, verbs: &[&str]) -> bool {
        let words = || words(&self.text).map(|word| word.to_uppercase());
        let mut pairs = words().zip(words().skip(1));
        pairs.any(|(verb, what)| verbs.contains(&&*verb) && what == "PARTITION")
    }

    fn drops_schema(&self, schema: &str) -> bool {
        let (verb, rest) = first_word(&self.text);
        let (word, rest) = first_word(rest);
        let is_drop = verb.eq_ignore_ascii_case(b"DROP")
            && (word.eq_ignore_ascii_case(b"DATABASE") || word.eq_ignore_ascii_case(b"SCHEMA"));
        let rest = after_word(after_word(rest, b"IF"), b"EXISTS");
        is_drop && table_name(rest).is_some_and(|((_, name), _)| is_same(&name, schema))
    }

    /// The tables of a list of names, with their schemas.
    fn names<'a>(&'a self, mut rest: &'a [u8]) -> impl Iterator<Item = (String, String)> + 'a {
        std::iter::from_fn(move || {
            let ((schema, table), after) = table_name(rest)?;
            rest = match after.trim_ascii_start() {
                [b',', more @ ..] => more,
                _ => &[],
            };
            Some((schema.unwrap_or_else(|| self.schema.clone()), table))
        })
    }
}

fn is((schema, table): &(String, String), wanted_schema: &str, wanted_table: &str) -> bool {
    is_same(schema, wanted_schema) && is_same(table, wanted_table)
}

/// Some servers take names that differ only in their case for the same.
fn is_same(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

/// What follows words, if the text begins with all of them.
fn after_words<'a, const N: usize>(text: &'a [u8], words: [&[u8]; N]) -> Option<&'a [u8]> {
    words.into_iter().try_fold(text, |text, word| {
        let (first, rest) = first_word(text);
        first.eq_ignore_ascii_case(word).then_some(rest)
    })
}

/// The names behind TABLE, and behind words that may follow it. A TEMPORARY table is another.
fn after_table<'a, const N: usize>(text: &'a [u8], optional: [&[u8]; N]) -> Option<&'a [u8]> {
    let names = after_words(text, [b"TABLE"])?;
    Some(after_words(names, optional).unwrap_or(names))
}

/// What follows a word, if the text begins with it; else the text.
fn after_word<'a>(text: &'a [u8], word: &[u8]) -> &'a [u8] {
    let (first, rest) = first_word(text);
    if first.eq_ignore_ascii_case(word) { rest } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(text: &str) -> Definition {
        Definition::new(b"shop", text.as_bytes())
    }

    #[test]
    fn a_statement_may_be_about_the_tables_that_it_names() {
        for (text, expected) in [
            ("ALTER TABLE item ADD x INT", true),
            ("alter table `Item` add x int", true),
            ("RENAME TABLE a TO `b`, `item` TO c", true),
            ("CREATE INDEX i ON shop.item (a)", true),
            ("ALTER TABLE items ADD x INT", false),
            ("CREATE TABLE `my item` (a INT)", false),
            ("DROP DATABASE IF EXISTS `shop`", true),
            ("DROP SCHEMA shop2", false),
        ] {
            assert_eq!(definition(text).may_concern("shop", "item"), expected, "{text}");
        }
        assert!(definition("ALTER TABLE `a``b` ADD c INT").may_concern("shop", "a`b"));
        assert!(definition("ALTER TABLE `two words` ADD c INT").may_concern("shop", "two words"));
    }

    #[test]
    fn a_statement_that_renames_a_table_is_told() {
        for (text, expected) in [
            ("RENAME TABLE item TO _item_del, _item_gho TO item", true),
            ("ALTER TABLE b RENAME TO item", true),
            ("alter table b rename item", true),
            ("ALTER TABLE item RENAME COLUMN a TO b, RENAME INDEX c TO d", false),
            ("ALTER TABLE item RENAME KEY c TO d", false),
            ("ALTER TABLE item ADD a INT", false),
        ] {
            assert_eq!(definition(text).renames(), expected, "{text}");
        }
    }

    #[test]
    fn a_statement_that_takes_the_rows_away_is_told() {
        for (text, expected) in [
            ("TRUNCATE item", true),
            ("truncate table `shop` . `item`", true),
            ("TRUNCATE TABLE other.item", false),
            ("DROP TABLE IF EXISTS a, `item` /* generated by server */", true),
            ("DROP TABLE other.item", false),
            ("DROP INDEX item ON a", false),
            ("DROP DATABASE shop", true),
            ("DROP TEMPORARY TABLE item", false),
            ("CREATE OR REPLACE TABLE item (a INT)", true),
            ("CREATE OR REPLACE TABLE shop.item LIKE shop.b", true),
            ("CREATE OR REPLACE TEMPORARY TABLE item (a INT)", false),
            ("CREATE TABLE item (a INT)", false),
            ("ALTER TABLE item DROP COLUMN a", false),
            ("ALTER TABLE `item` DROP PARTITION p1, p2", true),
            ("alter table if exists shop.item truncate partition all", true),
            ("ALTER TABLE item CONVERT PARTITION p1 TO TABLE other", true),
            ("ALTER ONLINE TABLE item DROP PARTITION p1", true),
            ("ALTER TABLE item EXCHANGE PARTITION p1 WITH TABLE other", true),
            ("ALTER TABLE other EXCHANGE PARTITION p1 WITH TABLE item", true),
            ("ALTER TABLE other DROP PARTITION p1", false),
            ("ALTER TABLE item ADD PARTITION (PARTITION p4 VALUES LESS THAN (9))", false),
        ] {
            assert_eq!(definition(text).removes_rows("shop", "item"), expected, "{text}");
        }
    }
}
