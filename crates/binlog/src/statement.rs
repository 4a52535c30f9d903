//! The QUERY event: what its statement means for the rows around it ("Query_event" in the MySQL
//! source documentation).

use std::borrow::Cow;

use super::{
    charset::Charset,
    error::Fault,
    reader::FieldReader,
    sql::{Name, SqlToken, Tokens},
};

/// What a logged statement does to its group of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statement<'a> {
    Begin,
    Commit,
    Rollback,
    /// Takes back a part of the transaction; with the name of the savepoint.
    RollbackTo(&'a [u8]),
    /// With its name.
    Savepoint(&'a [u8]),
    /// Changes no row: RELEASE SAVEPOINT, or only a comment.
    Nothing,
    XaStart,
    XaEnd,
    /// With the name of the transaction.
    XaCommit(&'a [u8]),
    /// With the name of the transaction.
    XaRollback(&'a [u8]),
    /// DDL and administration: a group of its own, or beside the rows of a group (CREATE … SELECT).
    Definition,
    /// Makes a table and fills it, without logging rows.
    CreateSelect,
    /// Changes rows without logging them as rows.
    Rows,
}

/// A statement that changed rows and was logged as text, and what it may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoggedStatement {
    /// The schemas of all tables that it used, also in its triggers and functions. `None` where the
    /// server does not say this: MariaDB never does. MySQL does not when there are more than 16, or
    /// for the parent tables of foreign keys.
    pub schemas: Option<Vec<String>>,
    /// Schema and name of the table that the text says it changes, if the text shows just one. The
    /// table may be a view, and have triggers.
    pub table: Option<(String, String)>,
}

/// A QUERY event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QueryEvent<'a> {
    pub(super) schema: &'a [u8],
    variables: &'a [u8],
    pub(super) text: &'a [u8],
}

impl<'a> QueryEvent<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        Self::read_with(body, 0)
    }

    /// An EXECUTE_LOAD_QUERY event: the same with more numbers before the text
    /// ("Execute_load_query_event").
    pub(super) fn read_load(body: &'a [u8]) -> Result<Self, Fault> {
        const MORE_BYTES: usize = 13;
        Self::read_with(body, MORE_BYTES)
    }

    fn read_with(body: &'a [u8], more_bytes: usize) -> Result<Self, Fault> {
        let mut reader = FieldReader::new(body);
        reader.u32()?;
        reader.u32()?;
        let schema_length = reader.u8()?;
        reader.u16()?;
        let variables_length = reader.u16()?;
        reader.take(more_bytes)?;
        let variables = reader.take(usize::from(variables_length))?;
        let schema = reader.take(usize::from(schema_length))?;
        reader.u8()?;
        Ok(Self { schema, variables, text: reader.rest() })
    }

    /// The text in UTF-8, if it can be read as text.
    pub(super) fn utf8(&self) -> Cow<'a, [u8]> {
        if self.text.is_ascii() {
            return Cow::Borrowed(self.text);
        }
        let charset = client_charset(self.variables);
        let text = charset.and_then(|charset| charset.to_utf8(self.text));
        text.map_or(Cow::Borrowed(self.text), |text| Cow::Owned(text.into_bytes()))
    }

    /// What a statement with this text may have changed.
    pub(super) fn logged(&self) -> LoggedStatement {
        let own = String::from_utf8_lossy(self.schema).into_owned();
        let table = target(&self.utf8()).and_then(|(schema, table)| {
            let schema = schema.unwrap_or(own);
            (!schema.is_empty()).then_some((schema, table))
        });
        LoggedStatement { schemas: used_schemas(self.variables), table }
    }
}

/// `Q_UPDATED_DB_NAMES` among the status variables: which schemas the statement used. `None` when
/// the server does not say, or there are too many.
fn used_schemas(variables: &[u8]) -> Option<Vec<String>> {
    const UPDATED_DB_NAMES: u8 = 12;
    const TOO_MANY: u8 = 254;
    let mut reader = variable(variables, UPDATED_DB_NAMES)?;
    let count = reader.u8().ok().filter(|count| *count != TOO_MANY)?;
    let names = reader.rest().split(|byte| *byte == 0).take(usize::from(count));
    let names: Vec<String> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    (!names.is_empty() && !names.iter().any(String::is_empty)).then_some(names)
}

/// `Q_CHARSET`: the character set in which the client wrote the statement.
fn client_charset(variables: &[u8]) -> Option<Charset> {
    const CHARSET: u8 = 4;
    Charset::of_collation(variable(variables, CHARSET)?.u16().ok()?)
}

/// The value of a status variable, if it is there and all variables before it are known.
fn variable(variables: &[u8], wanted: u8) -> Option<FieldReader<'_>> {
    let mut reader = FieldReader::new(variables);
    while !reader.is_empty() {
        let code = reader.u8().ok()?;
        if code == wanted {
            return Some(reader);
        }
        skip_variable(code, &mut reader).ok().filter(|is_known| *is_known)?;
    }
    None
}

/// Skips a status variable; `false` when its length is not known.
fn skip_variable(code: u8, reader: &mut FieldReader<'_>) -> Result<bool, Fault> {
    let length = match code {
        // flags2, auto_increment, master_data_written
        0 | 3 | 10 => 4,
        // sql_mode, table_map_for_update
        1 | 9 => 8,
        // charset
        4 => 6,
        // lc_time_names, charset_database
        7 | 8 => 2,
        // microseconds
        13 => 3,
        // time_zone, catalog
        5 | 6 => usize::from(reader.u8()?),
        // invoker: user and host
        11 => {
            let user = usize::from(reader.u8()?);
            reader.take(user)?;
            usize::from(reader.u8()?)
        }
        _ => return Ok(false),
    };
    reader.take(length)?;
    Ok(true)
}

impl<'a> Statement<'a> {
    /// Recognises a statement by its first words. An unknown statement counts as one that changes
    /// rows.
    pub(super) fn of(text: &'a [u8]) -> Self {
        match text {
            b"BEGIN" => return Self::Begin,
            b"COMMIT" => return Self::Commit,
            _ => {}
        }
        let mut tokens = Tokens::of_statement(text);
        let Some(first) = tokens.next() else { return Self::Nothing };
        let SqlToken::Word(word) = first else { return Self::Rows };
        match word.to_ascii_uppercase().as_slice() {
            b"BEGIN" => Self::Begin,
            b"COMMIT" => Self::Commit,
            b"ROLLBACK" => Self::of_rollback(tokens),
            b"SAVEPOINT" => Self::Savepoint(tokens.rest()),
            b"RELEASE" => Self::Nothing,
            b"XA" => Self::of_xa(tokens),
            b"CREATE" if makes_table_of_query(tokens.clone()) => Self::CreateSelect,
            // MariaDB's ANALYZE of a statement runs the statement, and shows how.
            b"ANALYZE" if !is_of_tables(tokens) => Self::Rows,
            b"CREATE" | b"ALTER" | b"DROP" | b"RENAME" | b"TRUNCATE" | b"GRANT" | b"REVOKE"
            | b"SET" | b"FLUSH" | b"ANALYZE" | b"OPTIMIZE" | b"REPAIR" | b"CHECK" | b"CACHE"
            | b"INSTALL" | b"UNINSTALL" | b"IMPORT" | b"RESET" | b"CHANGE" | b"PURGE" | b"KILL"
            | b"LOCK" | b"UNLOCK" | b"USE" => Self::Definition,
            _ => Self::Rows,
        }
    }

    fn of_rollback(mut tokens: Tokens<'a>) -> Self {
        tokens.accept("WORK");
        if tokens.accept("TO") { Self::RollbackTo(tokens.rest()) } else { Self::Rollback }
    }

    fn of_xa(mut tokens: Tokens<'a>) -> Self {
        match tokens.next() {
            Some(word) if word.is("START") || word.is("BEGIN") => Self::XaStart,
            Some(word) if word.is("END") => Self::XaEnd,
            Some(word) if word.is("COMMIT") => Self::XaCommit(tokens.rest()),
            Some(word) if word.is("ROLLBACK") => Self::XaRollback(tokens.rest()),
            _ => Self::Rows,
        }
    }
}

/// Whether ANALYZE is followed by tables, whose keys are then analysed.
fn is_of_tables(mut tokens: Tokens<'_>) -> bool {
    tokens.skip_any(&["LOCAL", "NO_WRITE_TO_BINLOG"]);
    tokens.accept("TABLE") || tokens.accept("TABLES")
}

/// Moves from CREATE to the name of a table; `false` where something other than a table is made.
pub(super) fn skip_to_created_table(tokens: &mut Tokens<'_>) -> bool {
    tokens.take_all(&["OR", "REPLACE"]);
    tokens.accept("TEMPORARY");
    let is_table = tokens.accept("TABLE");
    tokens.take_all(&["IF", "NOT", "EXISTS"]);
    is_table
}

/// Whether CREATE is followed by a table with the rows of a query: SELECT, TABLE or VALUES. No
/// other definition has one of these words, apart from VALUES in the bounds of partitions.
fn makes_table_of_query(mut tokens: Tokens<'_>) -> bool {
    if !skip_to_created_table(&mut tokens) || tokens.take_name().is_none() {
        return false;
    }
    while let Some(token) = tokens.next() {
        match token {
            // A name, even if it looks like a keyword.
            SqlToken::Sign(b'.') => drop(tokens.next()),
            SqlToken::Word(_) if token.is("SELECT") || token.is("TABLE") => return true,
            SqlToken::Word(_) if token.is("VALUES") && !is_bound(tokens.clone()) => return true,
            _ => {}
        }
    }
    false
}

/// Whether VALUES belongs to a partition's bound: VALUES LESS THAN, VALUES IN.
fn is_bound(mut tokens: Tokens<'_>) -> bool {
    tokens.accept("LESS") || tokens.accept("IN")
}

/// The table that a statement changes, with its schema if the text has one. `None` when there may
/// be more than one table, or the text is not plain.
fn target(text: &[u8]) -> Option<Name> {
    const MODIFIERS: &[&str] =
        &["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "QUICK", "IGNORE", "INTO", "FROM"];
    /// What may follow the name where it is the only table.
    const NEXT: &[&str] = &["SET", "WHERE", "ORDER", "LIMIT", "RETURNING"];
    let mut tokens = Tokens::of_statement(text);
    if tokens.accept("ANALYZE") && tokens.accept("FORMAT") {
        tokens.take_sign(b'=');
        tokens.next();
    }
    let verb = tokens.next()?;
    if verb.is("CREATE") {
        return skip_to_created_table(&mut tokens).then(|| tokens.take_name())?;
    }
    if verb.is("LOAD") {
        let is_found = tokens.skip_past("INTO") && tokens.accept("TABLE");
        return is_found.then(|| tokens.take_name())?;
    }
    tokens.skip_any(MODIFIERS);
    let name = tokens.take_name()?;
    let is_only = verb.is("INSERT") || verb.is("REPLACE");
    let may_be_only = verb.is("UPDATE") || verb.is("DELETE");
    let ends = tokens.is_empty() || NEXT.iter().any(|keyword| tokens.accept(keyword));
    (is_only || (may_be_only && ends)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_recognised_by_its_first_words() {
        let cases = [
            ("BEGIN", Statement::Begin),
            ("COMMIT", Statement::Commit),
            ("COMMIT /* implicit, from Xid_log_event */", Statement::Commit),
            ("ROLLBACK", Statement::Rollback),
            ("ROLLBACK /* why */", Statement::Rollback),
            ("rollback to `s`", Statement::RollbackTo(b" `s`")),
            ("ROLLBACK WORK", Statement::Rollback),
            ("ROLLBACK WORK TO s", Statement::RollbackTo(b" s")),
            ("SAVEPOINT `s`", Statement::Savepoint(b" `s`")),
            ("RELEASE SAVEPOINT s", Statement::Nothing),
            ("XA START X'31',X'',1", Statement::XaStart),
            ("XA END X'31',X'',1", Statement::XaEnd),
            ("XA COMMIT X'31',X'',1", Statement::XaCommit(b" X'31',X'',1")),
            ("XA ROLLBACK X'31',X'',1", Statement::XaRollback(b" X'31',X'',1")),
            ("create table t (a int)", Statement::Definition),
            ("/* app */ DROP TABLE t", Statement::Definition),
            ("-- why\nTRUNCATE t", Statement::Definition),
            ("# why\n # more\nALTER TABLE t", Statement::Definition),
            ("/*!40000 ALTER TABLE t DISABLE KEYS */", Statement::Definition),
            ("/*M!100101 CREATE TABLE t (a INT) */", Statement::Definition),
            (
                "SET STATEMENT max_statement_time = 1 FOR ALTER TABLE t ADD a INT",
                Statement::Definition,
            ),
            ("SET PASSWORD FOR a = 'b'", Statement::Definition),
            ("ANALYZE TABLE t", Statement::Definition),
            ("ANALYZE NO_WRITE_TO_BINLOG TABLE t", Statement::Definition),
            ("/*!80000 INSERT INTO t VALUES (1) */", Statement::Rows),
            ("(INSERT INTO t VALUES (1))", Statement::Rows),
            ("UPDATE t SET a = 1", Statement::Rows),
            ("WITH x AS (SELECT 1) DELETE FROM t", Statement::Rows),
            ("SET STATEMENT max_statement_time = 1 FOR INSERT INTO t VALUES (1)", Statement::Rows),
            ("ANALYZE UPDATE t SET a = 1", Statement::Rows),
            ("ANALYZE FORMAT = JSON DELETE FROM t", Statement::Rows),
            ("HANDLER t OPEN", Statement::Rows),
            ("'odd'", Statement::Rows),
            ("# Dum", Statement::Nothing),
            ("", Statement::Nothing),
        ];
        for (text, expected) in cases {
            assert_eq!(Statement::of(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_table_that_is_made_from_a_query_is_recognised() {
        for (text, expected) in [
            ("CREATE TABLE t (id INT PRIMARY KEY) SELECT id FROM u", true),
            ("create or replace table s.t as (select 1)", true),
            (
                "CREATE TEMPORARY TABLE IF NOT EXISTS t AS WITH a AS (SELECT 1) SELECT * FROM a",
                true,
            ),
            ("CREATE TABLE t TABLE u", true),
            ("CREATE TABLE t AS VALUES ROW(1)", true),
            ("/*M!100101 CREATE TABLE t SELECT 1 */", true),
            ("CREATE TABLE t (a INT COMMENT 'SELECT', `select` INT) COMMENT \"SELECT\"", false),
            ("CREATE TABLE s.select (a INT REFERENCES s.table (b), c INT AS (a + 1))", false),
            ("CREATE TABLE t (a INT) START TRANSACTION", false),
            (
                "CREATE TABLE t (a INT) PARTITION BY RANGE (a) (PARTITION p VALUES LESS THAN (1))",
                false,
            ),
            ("CREATE TABLE t (a INT) PARTITION BY LIST (a) (PARTITION p VALUES IN (1))", false),
            ("CREATE TABLE t LIKE u /* SELECT */", false),
            ("CREATE VIEW v AS SELECT 1", false),
            (
                "CREATE DEFINER=`a`@`%` TRIGGER r AFTER INSERT ON t FOR EACH ROW SELECT 1 INTO @a",
                false,
            ),
        ] {
            let is = Statement::of(text.as_bytes()) == Statement::CreateSelect;
            assert_eq!(is, expected, "{text}");
        }
    }

    #[test]
    fn the_table_of_a_plain_statement_is_found() {
        for (text, expected) in [
            ("INSERT INTO t VALUES (1)", Some((None, "t"))),
            ("insert low_priority ignore `a b`.`c` select * from x", Some((Some("a b"), "c"))),
            ("REPLACE s . t SET a = 1", Some((Some("s"), "t"))),
            ("UPDATE ignore t SET a = 1", Some((None, "t"))),
            ("DELETE QUICK FROM s.t", Some((Some("s"), "t"))),
            ("DELETE FROM t WHERE a = 1", Some((None, "t"))),
            ("LOAD DATA INFILE 'x' INTO TABLE `t` FIELDS", Some((None, "t"))),
            ("LOAD DATA INFILE 'into table x ' INTO TABLE t", Some((None, "t"))),
            ("CREATE TABLE s.t SELECT 1", Some((Some("s"), "t"))),
            ("SET STATEMENT a = 1 FOR UPDATE t SET a = 1", Some((None, "t"))),
            ("ANALYZE FORMAT = JSON INSERT INTO s.t SELECT 1", Some((Some("s"), "t"))),
            ("UPDATE t, u SET t.a = 1", None),
            ("UPDATE t AS x SET a = 1", None),
            ("DELETE t FROM t JOIN u", None),
            ("INSERT INTO `a``b` VALUES (1)", Some((None, "a`b"))),
            ("DELETE FROM t USING t JOIN u", None),
            ("SELECT `s`.`f`()", None),
            ("CALL p()", None),
        ] {
            let found = target(text.as_bytes());
            let found = found.as_ref().map(|(schema, table)| (schema.as_deref(), table.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn names_are_read_in_the_charset_of_the_client() {
        // SET NAMES gbk: second bytes of characters may be backquotes. The text is 表`s`.
        let text = b"INSERT INTO `s`.`\x81\x60\xb1\xed` VALUES (1)";
        let variables = [0, 0, 0, 0, 0, 4, 28, 0, 28, 0, 255, 0];
        let table = |variables: &[u8], text: &[u8]| {
            QueryEvent { schema: b"", variables, text }.logged().table
        };
        assert_eq!(table(&variables, text), Some(("s".to_owned(), "\u{4e63}\u{8868}".to_owned())));
        let utf8 = "DELETE FROM s.表".as_bytes();
        assert_eq!(table(&[], utf8), Some(("s".to_owned(), "表".to_owned())));
    }

    #[test]
    fn the_schemas_that_a_statement_used_are_those_that_the_server_names() {
        let variables = [&[0, 1, 2, 3, 4, 6, 3][..], b"std", &[12, 2], b"a\0b\0"].concat();
        let named = |variables: &[u8]| {
            let event = QueryEvent { schema: b"own", variables, text: b"CALL p()" };
            event.logged().schemas
        };
        assert_eq!(named(&variables), Some(vec!["a".to_owned(), "b".to_owned()]));
        for (variables, why) in [
            (&[12, 254][..], "too many"),
            (&[12, 1, 0], "any, for a foreign key"),
            (&[200, 1], "after an unknown one"),
            (&[0, 1], "cut short"),
            (&[], "MariaDB"),
        ] {
            assert_eq!(named(variables), None, "{why}");
        }
    }
}
