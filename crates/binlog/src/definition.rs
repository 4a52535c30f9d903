//! Statements that change definitions (DDL): which tables they are about ("Data Definition
//! Statements" in the manuals of MySQL and MariaDB).

use super::{
    sql::{Name, SqlToken, Tokens},
    statement::skip_to_created_table,
};

/// A statement that names more tables than this counts as one that may have changed any table.
const MAX_RETYPED: usize = 16;

/// A statement that may have changed the definition of a table, as it was logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// The schema that the session was in.
    schema: String,
    text: Vec<u8>,
}

/// A table whose rows a statement removed or added without logging them in the binlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Schema and table.
    Table(String, String),
    /// All tables of a schema.
    Schema(String),
}

/// The tables that a statement may have made, or whose columns it may have given other types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retyped {
    /// Schema and table of each; often none.
    Tables(Vec<(String, String)>),
    /// The text does not show which tables.
    Any,
}

impl Removal {
    /// Whether this removal is of the given table.
    pub fn is_of(&self, schema: &str, table: &str) -> bool {
        match self {
            Self::Table(of, name) => is_same(of, schema) && is_same(name, table),
            Self::Schema(of) => is_same(of, schema),
        }
    }
}

impl Definition {
    /// A statement as a QUERY event has it, with the schema of its session.
    pub fn new(schema: &[u8], text: &[u8]) -> Self {
        Self { schema: String::from_utf8_lossy(schema).into_owned(), text: text.to_vec() }
    }

    /// Its first word.
    pub fn verb(&self) -> String {
        match self.tokens().next() {
            Some(SqlToken::Word(word)) => String::from_utf8_lossy(word).to_uppercase(),
            _ => String::new(),
        }
    }

    /// Whether it may be about a table: it names a table like this, or drops a schema of this name.
    /// The schema in front of a name is not compared, so this may be true too often, but never too
    /// rarely.
    pub fn may_concern(&self, schema: &str, table: &str) -> bool {
        let is_it = |token: SqlToken<'_>| match token {
            SqlToken::Word(word) => is_same(&String::from_utf8_lossy(word), table),
            SqlToken::Quoted(name) => is_same(&name, table),
            SqlToken::Text | SqlToken::Sign(_) => false,
        };
        self.dropped_schema().is_some_and(|dropped| is_same(&dropped, schema))
            || self.tokens().any(is_it)
    }

    /// Whether it removes rows of a table: see [`Definition::removals`].
    pub fn removes_rows(&self, schema: &str, table: &str) -> bool {
        self.removals().iter().any(|removal| removal.is_of(schema, table))
    }

    /// The tables whose rows it removes or adds, while the binlog does not have the rows: TRUNCATE,
    /// DROP TABLE, DROP DATABASE, MariaDB's CREATE OR REPLACE TABLE, and what ALTER TABLE does to
    /// partitions and tablespaces.
    pub fn removals(&self) -> Vec<Removal> {
        let mut tokens = self.tokens();
        let Some(verb) = tokens.next() else { return Vec::new() };
        if verb.is("TRUNCATE") {
            tokens.accept("TABLE");
            return self.tables_of_list(tokens);
        }
        if let Some(schema) = self.dropped_schema() {
            return vec![Removal::Schema(schema)];
        }
        if verb.is("DROP") && take_table(&mut tokens) {
            return self.tables_of_list(tokens);
        }
        if verb.is("CREATE") && tokens.clone().take_all(&["OR", "REPLACE", "TABLE"]) {
            skip_to_created_table(&mut tokens);
            return tokens.take_name().map(|name| self.removed(name)).into_iter().collect();
        }
        if verb.is("ALTER") { self.removals_by_alter(tokens) } else { Vec::new() }
    }

    /// The tables that it may have made, or whose columns may have other types now.
    pub fn retyped(&self) -> Retyped {
        let mut tokens = self.tokens();
        let Some(verb) = tokens.next() else { return Retyped::Tables(Vec::new()) };
        let mut names = Vec::new();
        if verb.is("CREATE") && skip_to_created_table(&mut tokens.clone()) {
            skip_to_created_table(&mut tokens);
            names.push(tokens.take_name());
        } else if verb.is("ALTER") && skip_to_altered_table(&mut tokens) {
            names.push(tokens.take_name());
            while skip_past_any(&mut tokens, &["TO", "AS", "TABLE", "RENAME"]) {
                tokens.skip_any(&["TO", "AS", "TABLE"]);
                names.extend(tokens.clone().take_name().map(Some));
            }
        } else if verb.is("RENAME") && take_table(&mut tokens) {
            while tokens.skip_past("TO") {
                names.push(tokens.take_name());
            }
        } else if verb.is("OPTIMIZE") || verb.is("REPAIR") {
            tokens.skip_any(&["LOCAL", "NO_WRITE_TO_BINLOG"]);
            if take_table(&mut tokens) {
                names.extend(list(tokens).map(Some));
            }
        } else if (verb.is("CREATE") || verb.is("DROP")) && is_of_index(tokens.clone()) {
            tokens.skip_past("ON");
            names.push(tokens.take_name());
        }
        let is_long = names.len() > MAX_RETYPED;
        let names = names.into_iter().map(|name| name.map(|name| self.whole(name)));
        let tables = names.collect::<Option<_>>().filter(|_| !is_long);
        tables.map_or(Retyped::Any, Retyped::Tables)
    }

    /// Whether it gives another name to a table that it names.
    fn renames(&self) -> bool {
        let mut tokens = self.tokens();
        let Some(verb) = tokens.next() else { return false };
        while verb.is("ALTER") && skip_past_any(&mut tokens, &["RENAME"]) {
            let is_part = ["COLUMN", "INDEX", "KEY"].iter().any(|part| tokens.accept(part));
            if !is_part && !tokens.is_empty() {
                return true;
            }
        }
        verb.is("RENAME")
    }

    /// Whether another table may have this name since then. It may be true too often, but never too
    /// rarely.
    pub fn may_replace(&self, schema: &str, table: &str) -> bool {
        let is_it = |(of, name): &(String, String)| is_same(of, schema) && is_same(name, table);
        self.renames()
            && match self.retyped() {
                Retyped::Tables(tables) => tables.iter().any(is_it),
                Retyped::Any => true,
            }
    }

    /// Whether it may have made, changed, renamed or dropped a table, or many. It may be true too
    /// often, but never too rarely.
    pub fn is_of_tables(&self) -> bool {
        const VERBS: [&str; 4] = ["CREATE", "ALTER", "DROP", "RENAME"];
        const WHAT: [&str; 3] = ["TABLE", "DATABASE", "SCHEMA"];
        let mut tokens = self.tokens();
        let Some(verb) = tokens.next() else { return false };
        VERBS.iter().any(|known| verb.is(known))
            && tokens.any(|token| WHAT.iter().any(|what| token.is(what)))
    }

    /// Whether it gives or takes privileges, so that an account may see other tables than before.
    pub fn is_of_privileges(&self) -> bool {
        let first = self.tokens().next();
        first.is_some_and(|verb| verb.is("GRANT") || verb.is("REVOKE"))
    }

    fn tokens(&self) -> Tokens<'_> {
        Tokens::of_statement(&self.text)
    }

    fn dropped_schema(&self) -> Option<String> {
        let mut tokens = self.tokens();
        let is_drop =
            tokens.accept("DROP") && (tokens.accept("DATABASE") || tokens.accept("SCHEMA"));
        tokens.take_all(&["IF", "EXISTS"]);
        is_drop.then(|| tokens.take_name())?.map(|(_, schema)| schema)
    }

    fn removals_by_alter(&self, mut tokens: Tokens<'_>) -> Vec<Removal> {
        if !skip_to_altered_table(&mut tokens) {
            return Vec::new();
        }
        let Some(altered) = tokens.take_name() else { return Vec::new() };
        let mut removals = Vec::new();
        let mut takes_rows = false;
        let is_partition = |tokens: &Tokens<'_>| tokens.clone().accept("PARTITION");
        let is_space = |tokens: &Tokens<'_>| {
            let mut ahead = tokens.clone();
            ahead.accept("TABLESPACE") || ahead.accept("PARTITION")
        };
        while let Some(token) = tokens.next() {
            let is = |verbs: &[&str]| verbs.iter().any(|verb| token.is(verb));
            if is(&["DROP", "TRUNCATE"]) {
                takes_rows |= is_partition(&tokens);
            } else if is(&["DISCARD", "IMPORT"]) {
                takes_rows |= is_space(&tokens);
            } else if is(&["EXCHANGE", "CONVERT"]) && is_partition(&tokens) {
                takes_rows = true;
                removals.extend(other_table(tokens.clone()).map(|name| self.removed(name)));
            } else if is(&["CONVERT"]) && tokens.accept("TABLE") {
                takes_rows = true;
                removals.extend(tokens.take_name().map(|name| self.removed(name)));
            }
        }
        if takes_rows {
            removals.insert(0, self.removed(altered));
        }
        removals
    }

    fn tables_of_list(&self, tokens: Tokens<'_>) -> Vec<Removal> {
        list(tokens).map(|name| self.removed(name)).collect()
    }

    fn removed(&self, name: Name) -> Removal {
        let (schema, table) = self.whole(name);
        Removal::Table(schema, table)
    }

    fn whole(&self, (schema, table): Name) -> (String, String) {
        (schema.unwrap_or_else(|| self.schema.clone()), table)
    }
}

/// Some servers ignore case in the names of tables.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

/// Takes TABLE, and what may be between it and the first name. A TEMPORARY table is not taken.
fn take_table(tokens: &mut Tokens<'_>) -> bool {
    let is_table = tokens.accept("TABLE") || tokens.accept("TABLES");
    tokens.take_all(&["IF", "EXISTS"]);
    is_table
}

fn skip_to_altered_table(tokens: &mut Tokens<'_>) -> bool {
    tokens.skip_any(&["ONLINE", "IGNORE"]);
    take_table(tokens)
}

/// Whether CREATE or DROP is followed by an index.
fn is_of_index(mut tokens: Tokens<'_>) -> bool {
    tokens.take_all(&["OR", "REPLACE"]);
    tokens.skip_any(&["ONLINE", "OFFLINE", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR"]);
    tokens.accept("INDEX")
}

/// The table that a partition is exchanged with, or that a partition becomes.
fn other_table(mut tokens: Tokens<'_>) -> Option<Name> {
    tokens.accept("PARTITION");
    tokens.take_name()?;
    let is_next = tokens.take_all(&["WITH", "TABLE"]) || tokens.take_all(&["TO", "TABLE"]);
    is_next.then(|| tokens.take_name())?
}

/// The names of a list.
fn list(mut tokens: Tokens<'_>) -> impl Iterator<Item = Name> {
    let mut is_over = false;
    std::iter::from_fn(move || {
        let name = (!is_over).then(|| tokens.take_name())?;
        is_over = !tokens.take_sign(b',');
        name
    })
}

fn skip_past_any(tokens: &mut Tokens<'_>, keywords: &[&str]) -> bool {
    tokens.any(|token| keywords.iter().any(|keyword| token.is(keyword)))
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
            ("SET STATEMENT max_statement_time = 1 FOR ALTER TABLE item ADD x INT", true),
            ("/*M!100101 ALTER TABLE item ADD x INT */", true),
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
    fn a_statement_that_renames_a_table_is_recognised() {
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
    fn a_table_that_is_only_renamed_away_is_not_replaced() {
        for (text, expected) in [
            ("RENAME TABLE item TO old", false),
            ("RENAME TABLE item TO old, new TO item", true),
            ("RENAME TABLE item TO other.item", false),
            ("RENAME TABLE new TO shop.Item", true),
            ("ALTER TABLE new RENAME TO item", true),
            ("ALTER TABLE item ADD x INT", false),
        ] {
            assert_eq!(definition(text).may_replace("shop", "item"), expected, "{text}");
        }
    }

    #[test]
    fn statements_about_tables_are_recognised() {
        for (text, expected) in [
            ("ALTER TABLE item ADD x INT", true),
            ("create table `a` (id INT)", true),
            ("RENAME TABLE a TO b", true),
            ("DROP SCHEMA shop", true),
            ("CREATE VIEW v AS SELECT * FROM item", false),
            ("GRANT SELECT ON TABLE shop.item TO u", false),
            ("TRUNCATE TABLE item", false),
        ] {
            assert_eq!(definition(text).is_of_tables(), expected, "{text}");
        }
        assert!(definition("grant select on shop.* to u").is_of_privileges());
        assert!(definition("REVOKE SELECT ON shop.item FROM u").is_of_privileges());
        assert!(!definition("CREATE USER u").is_of_privileges());
    }

    #[test]
    fn a_statement_that_removes_rows_is_recognised() {
        for (text, expected) in [
            ("TRUNCATE item", true),
            ("truncate table `shop` . `item`", true),
            ("TRUNCATE TABLE `shop`.`item` /* generated by server */", true),
            ("TRUNCATE /* why */ TABLE \"item\"", true),
            ("TRUNCATE TABLE other.item", false),
            ("SET STATEMENT max_statement_time = 1 FOR TRUNCATE TABLE item", true),
            ("DROP TABLE IF EXISTS a, `item` /* generated by server */", true),
            ("DROP TABLE other.item", false),
            ("DROP INDEX item ON a", false),
            ("DROP DATABASE shop", true),
            ("DROP TEMPORARY TABLE item", false),
            ("DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `item`", false),
            ("CREATE OR REPLACE TABLE item (a INT)", true),
            ("CREATE OR REPLACE TABLE shop.item LIKE shop.b", true),
            ("CREATE OR REPLACE TEMPORARY TABLE item (a INT)", false),
            ("CREATE OR REPLACE VIEW item AS SELECT 1", false),
            ("CREATE TABLE item (a INT)", false),
            ("ALTER TABLE item DROP COLUMN a", false),
            ("ALTER TABLE `item` DROP PARTITION p1, p2", true),
            ("ALTER TABLE `item` DROP COLUMN a /* DROP PARTITION p1 */", false),
            ("alter table if exists shop.item truncate partition all", true),
            ("ALTER TABLE item CONVERT PARTITION p1 TO TABLE other", true),
            ("ALTER TABLE other CONVERT PARTITION p1 TO TABLE item", true),
            ("ALTER TABLE other CONVERT TABLE item TO PARTITION p1 VALUES LESS THAN (9)", true),
            ("ALTER ONLINE TABLE item DROP PARTITION p1", true),
            ("ALTER TABLE item EXCHANGE PARTITION p1 WITH TABLE other", true),
            ("ALTER TABLE other EXCHANGE PARTITION p1 WITH TABLE item", true),
            ("ALTER TABLE other EXCHANGE PARTITION item WITH TABLE third", false),
            ("ALTER TABLE item DISCARD TABLESPACE", true),
            ("ALTER TABLE item IMPORT PARTITION p1 TABLESPACE", true),
            ("ALTER TABLE other DROP PARTITION p1", false),
            ("ALTER TABLE item CONVERT TO CHARACTER SET utf8mb4", false),
            ("ALTER TABLE item ADD PARTITION (PARTITION p4 VALUES LESS THAN (9))", false),
        ] {
            assert_eq!(definition(text).removes_rows("shop", "item"), expected, "{text}");
        }
    }

    #[test]
    fn all_tables_that_lose_rows_are_named() {
        let removals = definition("DROP TABLE a, `b`.`c` /* d */").removals();
        let table = |schema: &str, table: &str| Removal::Table(schema.into(), table.into());
        assert_eq!(removals, [table("shop", "a"), table("b", "c")]);
        let removals = definition("DROP SCHEMA IF EXISTS `s`").removals();
        assert_eq!(removals, [Removal::Schema("s".into())]);
        let exchanged = "ALTER TABLE a EXCHANGE PARTITION p WITH TABLE x.b WITHOUT VALIDATION";
        assert_eq!(definition(exchanged).removals(), [table("shop", "a"), table("x", "b")]);
    }

    #[test]
    fn only_statements_that_can_change_the_types_of_columns_name_tables() {
        for (text, expected) in [
            ("GRANT SELECT ON shop.item TO a", ""),
            ("CREATE OR REPLACE VIEW v AS SELECT * FROM item", ""),
            ("DROP TABLE item", ""),
            ("TRUNCATE TABLE item", ""),
            ("FLUSH TABLES", ""),
            ("ANALYZE TABLE item", ""),
            ("CREATE TRIGGER r AFTER INSERT ON item FOR EACH ROW SET @a = 1", ""),
            ("CREATE TABLE IF NOT EXISTS item (u UUID)", "shop.item"),
            ("CREATE OR REPLACE TEMPORARY TABLE x.t LIKE y.u", "x.t"),
            ("CREATE TABLE `item` SELECT UUID() AS u", "shop.item"),
            ("ALTER TABLE item ADD u UUID", "shop.item"),
            ("ALTER ONLINE TABLE IF EXISTS x.`a b` RENAME TO c, ADD u INET6", "x.a b,shop.c"),
            ("ALTER TABLE a RENAME x.b", "shop.a,x.b"),
            ("ALTER TABLE a EXCHANGE PARTITION p WITH TABLE b", "shop.a,shop.b"),
            ("ALTER TABLE a CONVERT PARTITION p TO TABLE b", "shop.a,shop.b"),
            ("ALTER VIEW v AS SELECT 1", ""),
            ("RENAME TABLE a TO b, x.c TO y.d", "shop.b,y.d"),
            ("OPTIMIZE LOCAL TABLE a, x.b", "shop.a,x.b"),
            ("CREATE UNIQUE INDEX i ON x.a (b)", "x.a"),
            ("DROP INDEX i ON a", "shop.a"),
            ("SET STATEMENT a = 1 FOR ALTER TABLE item FORCE", "shop.item"),
        ] {
            let Retyped::Tables(tables) = definition(text).retyped() else { panic!("{text}") };
            let named: Vec<String> = tables.iter().map(|(s, t)| format!("{s}.{t}")).collect();
            assert_eq!(named.join(","), expected, "{text}");
        }
        assert_eq!(definition("ALTER TABLE 'odd' FORCE").retyped(), Retyped::Any);
    }
}
