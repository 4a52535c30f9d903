//! The QUERY event: what its statement means for the rows around it.

use super::{error::Fault, reader::Reader};

/// What a logged statement does to the group of events that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statement<'a> {
    Begin,
    Commit,
    Rollback,
    /// Takes back a part of the transaction; with the name of the savepoint.
    RollbackTo(&'a [u8]),
    /// With its name.
    Savepoint(&'a [u8]),
    /// Forgets a savepoint: changes no row.
    Release,
    XaStart,
    XaEnd,
    /// With the name of the transaction.
    XaCommit(&'a [u8]),
    /// With the name of the transaction.
    XaRollback(&'a [u8]),
    /// DDL and administration: a group of its own, or beside the rows of one (CREATE … SELECT).
    Definition,
    /// Changes rows without logging them as rows.
    Rows,
}

/// A statement that changed rows and was logged as text, and what it may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoggedStatement {
    /// The schemas that it used, or the session's own where the server does not say; empty if none
    /// is known.
    pub schemas: Vec<String>,
    /// Schema and name of its table, where it has just one and the text shows which.
    pub table: Option<(String, String)>,
}

/// A QUERY event ("Query_event" in the MySQL source documentation).
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

    /// An EXECUTE_LOAD_QUERY event: the same with more numbers in front.
    pub(super) fn read_load(body: &'a [u8]) -> Result<Self, Fault> {
        const MORE_BYTES: usize = 13;
        Self::read_with(body, MORE_BYTES)
    }

    fn read_with(body: &'a [u8], more_bytes: usize) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
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

    /// What a statement of this text may have changed.
    pub(super) fn logged(&self) -> LoggedStatement {
        let own = String::from_utf8_lossy(self.schema).into_owned();
        let table = target(self.text).and_then(|(schema, table)| {
            let schema = schema.unwrap_or_else(|| own.clone());
            (!schema.is_empty()).then_some((schema, table))
        });
        let used = used_schemas(self.variables).ok().flatten();
        let schemas = used.unwrap_or_else(|| Vec::from_iter((!own.is_empty()).then_some(own)));
        LoggedStatement { schemas, table }
    }
}

/// `Q_UPDATED_DB_NAMES` among the status variables: which schemas the statement used. `None` when
/// the server does not say, or there were too many.
fn used_schemas(variables: &[u8]) -> Result<Option<Vec<String>>, Fault> {
    const UPDATED_DB_NAMES: u8 = 12;
    const TOO_MANY: u8 = 254;
    let mut reader = Reader::new(variables);
    while !reader.is_empty() {
        match reader.u8()? {
            UPDATED_DB_NAMES => {
                let count = reader.u8()?;
                if count == TOO_MANY {
                    return Ok(None);
                }
                let names = reader.rest().split(|byte| *byte == 0).take(usize::from(count));
                let names = names.map(|name| String::from_utf8_lossy(name).into_owned());
                return Ok(Some(names.collect()));
            }
            code => {
                if !pass_variable(code, &mut reader)? {
                    return Ok(None);
                }
            }
        }
    }
    Ok(None)
}

/// Passes over a status variable; `false` when its length is not known.
fn pass_variable(code: u8, reader: &mut Reader<'_>) -> Result<bool, Fault> {
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
    /// Tells a statement by its first words. One that is not known to leave rows alone counts as
    /// changing them.
    pub(super) fn of(text: &'a [u8]) -> Self {
        match text {
            b"BEGIN" => return Self::Begin,
            b"COMMIT" => return Self::Commit,
            _ => {}
        }
        let (word, rest) = first_word(text);
        match word.to_ascii_uppercase().as_slice() {
            b"BEGIN" => Self::Begin,
            b"COMMIT" => Self::Commit,
            b"ROLLBACK" => Self::of_rollback(rest),
            b"SAVEPOINT" => Self::Savepoint(rest),
            b"RELEASE" => Self::Release,
            b"XA" => Self::of_xa(rest),
            b"CREATE" | b"ALTER" | b"DROP" | b"RENAME" | b"TRUNCATE" | b"GRANT" | b"REVOKE"
            | b"SET" | b"FLUSH" | b"ANALYZE" | b"OPTIMIZE" | b"REPAIR" | b"CHECK" | b"CACHE"
            | b"INSTALL" | b"UNINSTALL" | b"IMPORT" | b"RESET" | b"CHANGE" | b"PURGE" | b"KILL"
            | b"LOCK" | b"UNLOCK" | b"USE" => Self::Definition,
            _ => Self::Rows,
        }
    }

    fn of_rollback(text: &'a [u8]) -> Self {
        let (word, rest) = first_word(text);
        match word.to_ascii_uppercase().as_slice() {
            b"WORK" => Self::of_rollback(rest),
            b"TO" => Self::RollbackTo(rest),
            _ => Self::Rollback,
        }
    }

    fn of_xa(text: &'a [u8]) -> Self {
        let (word, rest) = first_word(text);
        match word.to_ascii_uppercase().as_slice() {
            b"START" | b"BEGIN" => Self::XaStart,
            b"END" => Self::XaEnd,
            b"COMMIT" => Self::XaCommit(rest),
            b"ROLLBACK" => Self::XaRollback(rest),
            _ => Self::Rows,
        }
    }
}

/// The table that a statement changes, with its schema if the text has it. `None` when there may be
/// more than one, or the text is not plain.
fn target(text: &[u8]) -> Option<(Option<String>, String)> {
    let (verb, mut rest) = first_word(text);
    let ends_with_table = match verb.to_ascii_uppercase().as_slice() {
        b"INSERT" | b"REPLACE" => true,
        b"UPDATE" | b"DELETE" => false,
        b"LOAD" => return load_target(rest),
        _ => return None,
    };
    loop {
        let (word, after) = first_word(rest);
        match word.to_ascii_uppercase().as_slice() {
            b"LOW_PRIORITY" | b"DELAYED" | b"HIGH_PRIORITY" | b"QUICK" | b"IGNORE" | b"INTO"
            | b"FROM" => rest = after,
            _ => break,
        }
    }
    let (names, after) = table_name(rest)?;
    let next = first_word(after).0.to_ascii_uppercase();
    let is_only = ends_with_table
        || matches!(next.as_slice(), b"SET" | b"WHERE" | b"ORDER" | b"LIMIT")
        || after.trim_ascii().is_empty();
    is_only.then_some(names)
}

/// `LOAD DATA … INTO TABLE name`: a file's name may stand before, so the words must be just these.
fn load_target(text: &[u8]) -> Option<(Option<String>, String)> {
    const BEFORE: &[u8] = b"INTO TABLE ";
    let upper = text.to_ascii_uppercase();
    let mut found =
        (0..upper.len()).filter(|at| upper.get(*at..).is_some_and(|t| t.starts_with(BEFORE)));
    let (at, None) = (found.next()?, found.next()) else { return None };
    let after = text.get(at.saturating_add(BEFORE.len())..)?;
    table_name(after).map(|(names, _)| names)
}

pub(super) type Named<'a> = ((Option<String>, String), &'a [u8]);

/// `name` or `schema.name`, with or without backquotes, and what follows.
pub(super) fn table_name(text: &[u8]) -> Option<Named<'_>> {
    let (first, rest) = identifier(text.trim_ascii_start())?;
    match rest.trim_ascii_start() {
        [b'.', after @ ..] => {
            let (table, rest) = identifier(after.trim_ascii_start())?;
            Some(((Some(first), table), rest))
        }
        _ => Some(((None, first), rest)),
    }
}

fn identifier(text: &[u8]) -> Option<(String, &[u8])> {
    let (name, rest) = match text {
        [b'`', rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b'`')?;
            let (name, rest) = rest.split_at_checked(end)?;
            // A doubled backquote is a part of the name: too rare to be read.
            (name, rest.get(1..).filter(|rest| rest.first() != Some(&b'`'))?)
        }
        _ => {
            let is_part =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
            let end = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
            text.split_at_checked(end)?
        }
    };
    let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
    Some((name.to_owned(), rest))
}

/// All words of a text, those in quotes as what they stand for.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = String> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_word = |byte: &u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'`' | b'"' | 0x80..)
        };
        let start = rest.iter().position(is_word)?;
        let (word, after) = quoted_or_plain(rest.get(start..)?);
        rest = after;
        Some(word)
    })
}

/// The word that a text begins with, and what follows. A quote that does not end takes the rest.
fn quoted_or_plain(text: &[u8]) -> (String, &[u8]) {
    let Some((&quote @ (b'`' | b'"'), mut rest)) = text.split_first() else {
        let is_part =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
        let end = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end).unwrap_or_default();
        return (String::from_utf8_lossy(word).into_owned(), rest);
    };
    let mut word = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == quote && rest.first() != Some(&quote) {
            break;
        }
        if byte == quote {
            rest = rest.get(1..).unwrap_or_default();
        }
        word.push(byte);
    }
    (String::from_utf8_lossy(&word).into_owned(), rest)
}

/// The first word, in front of which blanks, comments and brackets are passed over, and the rest.
/// What stands in a comment that the server executes (`/*!80000 … */`) counts.
pub(super) fn first_word(mut text: &[u8]) -> (&[u8], &[u8]) {
    loop {
        text = text.trim_ascii_start();
        text = match text {
            [b'/', b'*', b'!', rest @ ..] => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                rest.get(digits..).unwrap_or_default()
            }
            [b'/', b'*', rest @ ..] => after(rest, b"*/"),
            [b'-', b'-', rest @ ..] | [b'#', rest @ ..] => after(rest, b"\n"),
            [b'(' | b';', rest @ ..] => rest,
            _ => break,
        };
    }
    let is_part = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let end = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or_default()
}

fn after<'a>(text: &'a [u8], end: &[u8]) -> &'a [u8] {
    let at = text.windows(end.len()).position(|window| window == end);
    at.and_then(|at| text.get(at.saturating_add(end.len())..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_told_by_its_first_words() {
        let cases: [(&str, Statement<'_>); 24] = [
            ("BEGIN", Statement::Begin),
            ("COMMIT", Statement::Commit),
            ("COMMIT /* implicit, from Xid_log_event */", Statement::Commit),
            ("ROLLBACK", Statement::Rollback),
            ("ROLLBACK /* why */", Statement::Rollback),
            ("rollback to `s`", Statement::RollbackTo(b" `s`")),
            ("ROLLBACK WORK", Statement::Rollback),
            ("ROLLBACK WORK TO s", Statement::RollbackTo(b" s")),
            ("SAVEPOINT `s`", Statement::Savepoint(b" `s`")),
            ("RELEASE SAVEPOINT s", Statement::Release),
            ("XA START X'31',X'',1", Statement::XaStart),
            ("XA END X'31',X'',1", Statement::XaEnd),
            ("XA COMMIT X'31',X'',1", Statement::XaCommit(b" X'31',X'',1")),
            ("XA ROLLBACK X'31',X'',1", Statement::XaRollback(b" X'31',X'',1")),
            ("create table t (a int)", Statement::Definition),
            ("/* app */ DROP TABLE t", Statement::Definition),
            ("-- why\nTRUNCATE t", Statement::Definition),
            ("# why\n # more\nALTER TABLE t", Statement::Definition),
            ("/*!40000 ALTER TABLE t DISABLE KEYS */", Statement::Definition),
            ("/*!80000 INSERT INTO t VALUES (1) */", Statement::Rows),
            ("(INSERT INTO t VALUES (1))", Statement::Rows),
            ("UPDATE t SET a = 1", Statement::Rows),
            ("WITH x AS (SELECT 1) DELETE FROM t", Statement::Rows),
            ("", Statement::Rows),
        ];
        for (text, expected) in cases {
            assert_eq!(Statement::of(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn the_table_of_a_statement_is_told_where_it_is_plain() {
        for (text, expected) in [
            ("INSERT INTO t VALUES (1)", Some((None, "t"))),
            ("insert low_priority ignore `a b`.`c` select * from x", Some((Some("a b"), "c"))),
            ("REPLACE s . t SET a = 1", Some((Some("s"), "t"))),
            ("UPDATE ignore t SET a = 1", Some((None, "t"))),
            ("DELETE QUICK FROM s.t", Some((Some("s"), "t"))),
            ("DELETE FROM t WHERE a = 1", Some((None, "t"))),
            ("LOAD DATA INFILE 'x' INTO TABLE `t` FIELDS", Some((None, "t"))),
            ("LOAD DATA INFILE 'into table x ' INTO TABLE t", None),
            ("UPDATE t, u SET t.a = 1", None),
            ("UPDATE t AS x SET a = 1", None),
            ("DELETE t FROM t JOIN u", None),
            ("INSERT INTO `a``b` VALUES (1)", None),
            ("CALL p()", None),
        ] {
            let found = target(text.as_bytes());
            let found = found.as_ref().map(|(schema, table)| (schema.as_deref(), table.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn the_schemas_that_a_statement_used_are_those_that_the_server_names() {
        let variables = [&[0, 1, 2, 3, 4, 6, 3][..], b"std", &[12, 2], b"a\0b\0"].concat();
        let named = |variables: &[u8]| {
            let event = QueryEvent { schema: b"own", variables, text: b"CALL p()" };
            event.logged().schemas
        };
        assert_eq!(named(&variables), ["a", "b"]);
        assert_eq!(named(&[12, 254]), ["own"]);
        assert_eq!(named(&[200, 1]), ["own"]);
        assert_eq!(named(&[0, 1]), ["own"]);
    }
}
