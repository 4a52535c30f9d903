//! The QUERY event: what its statement means for the rows around it.

use super::{error::Fault, reader::Reader};

/// What a logged statement does to the group of events that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    Begin,
    Commit,
    Rollback,
    /// Takes back a part of the transaction.
    RollbackTo,
    /// Changes no row: SAVEPOINT and the like.
    Savepoint,
    Xa,
    /// DDL and administration: a group of its own, or beside the rows of one (CREATE … SELECT).
    Definition,
    /// Changes rows without logging them as rows.
    Rows,
}

/// The statement's text, from the event's body ("Query_event" in the MySQL source documentation).
pub(super) fn text(body: &[u8]) -> Result<&[u8], Fault> {
    let mut reader = Reader::new(body);
    reader.u32()?;
    reader.u32()?;
    let schema_length = reader.u8()?;
    reader.u16()?;
    let variables_length = reader.u16()?;
    reader.take(usize::from(variables_length))?;
    reader.take(usize::from(schema_length))?;
    reader.u8()?;
    Ok(reader.rest())
}

impl Statement {
    /// Tells a statement by its first words. One that is not known to leave rows alone counts as
    /// changing them.
    pub(super) fn of(text: &[u8]) -> Self {
        match text {
            b"BEGIN" => return Self::Begin,
            b"COMMIT" => return Self::Commit,
            _ => {}
        }
        let (word, rest) = first_word(text);
        match word.to_ascii_uppercase().as_slice() {
            b"BEGIN" => Self::Begin,
            b"COMMIT" => Self::Commit,
            b"ROLLBACK" if first_word(rest).0.is_empty() => Self::Rollback,
            b"ROLLBACK" => Self::RollbackTo,
            b"SAVEPOINT" | b"RELEASE" => Self::Savepoint,
            b"XA" => Self::Xa,
            b"CREATE" | b"ALTER" | b"DROP" | b"RENAME" | b"TRUNCATE" | b"GRANT" | b"REVOKE"
            | b"SET" | b"FLUSH" | b"ANALYZE" | b"OPTIMIZE" | b"REPAIR" | b"CHECK" | b"CACHE"
            | b"INSTALL" | b"UNINSTALL" | b"IMPORT" | b"RESET" | b"CHANGE" | b"PURGE" | b"KILL"
            | b"LOCK" | b"UNLOCK" | b"USE" => Self::Definition,
            _ => Self::Rows,
        }
    }
}

/// The first word, in front of which blanks, comments and brackets are passed over, and the rest.
/// What stands in a comment that the server executes (`/*!80000 … */`) counts.
fn first_word(mut text: &[u8]) -> (&[u8], &[u8]) {
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
    let end = text.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len());
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
        let cases: [(&str, Statement); 18] = [
            ("BEGIN", Statement::Begin),
            ("COMMIT", Statement::Commit),
            ("COMMIT /* implicit, from Xid_log_event */", Statement::Commit),
            ("ROLLBACK", Statement::Rollback),
            ("ROLLBACK /* why */", Statement::Rollback),
            ("rollback to `s`", Statement::RollbackTo),
            ("SAVEPOINT `s`", Statement::Savepoint),
            ("XA START X'31',X'',1", Statement::Xa),
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
}
