//! The words of a statement: as much of SQL's rules as is needed to distinguish keywords and
//! names from strings and comments ("Language Structure" in the MySQL manual).
//!
//! Servers run the text inside some comments (`/*!80000 … */`, `/*M!100101 … */`). This text is
//! read like the rest of the statement, whatever version the comment names.

/// A schema, if one is written, and a table.
pub(super) type Name = (Option<String>, String);

/// A piece of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SqlToken<'a> {
    /// A keyword, a name or a number, without quotes.
    Word(&'a [u8]),
    /// Text in backquotes, which is a name; or in double quotes, which is a name or a string.
    Quoted(String),
    /// A string in single quotes.
    Text,
    /// Any other sign.
    Sign(u8),
}

impl SqlToken<'_> {
    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword.as_bytes()))
    }

    /// The name, if the token can be one.
    pub(super) fn into_name(self) -> Option<String> {
        match self {
            Self::Word(word) => Some(String::from_utf8_lossy(word).into_owned()),
            Self::Quoted(name) => Some(name),
            Self::Text | Self::Sign(_) => None,
        }
    }
}

/// The tokens of a statement that are not read yet.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// All of a text.
    pub(super) fn of(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// The tokens of a statement, without what may stand before it: opening brackets, semicolons,
    /// and MariaDB's `SET STATEMENT … FOR`.
    pub(super) fn of_statement(text: &'a [u8]) -> Self {
        let mut tokens = Self::of(text);
        loop {
            while tokens.take_sign(b'(') || tokens.take_sign(b';') {}
            let mut inner = tokens.clone();
            if !(inner.take_all(&["SET", "STATEMENT"]) && inner.skip_past("FOR")) {
                return tokens;
            }
            tokens = inner;
        }
    }

    /// The text that is not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether nothing is left to read.
    pub(super) fn is_empty(&self) -> bool {
        self.clone().next().is_none()
    }

    /// Takes the next token if it is this keyword.
    pub(super) fn accept(&mut self, keyword: &str) -> bool {
        self.take_if(|token| token.is(keyword))
    }

    /// Takes the next tokens if they are these keywords.
    pub(super) fn take_all(&mut self, keywords: &[&str]) -> bool {
        let mut ahead = self.clone();
        let are_next = keywords.iter().all(|keyword| ahead.accept(keyword));
        if are_next {
            *self = ahead;
        }
        are_next
    }

    /// Takes the next tokens as long as each is one of these keywords.
    pub(super) fn skip_any(&mut self, keywords: &[&str]) {
        while keywords.iter().any(|keyword| self.accept(keyword)) {}
    }

    /// Takes the next token if it is this sign.
    pub(super) fn take_sign(&mut self, sign: u8) -> bool {
        self.take_if(|token| *token == SqlToken::Sign(sign))
    }

    /// Takes `name` or `schema.name`.
    pub(super) fn take_name(&mut self) -> Option<Name> {
        let mut ahead = self.clone();
        let first = ahead.next()?.into_name()?;
        *self = ahead.clone();
        if !ahead.take_sign(b'.') {
            return Some((None, first));
        }
        let second = ahead.next()?.into_name()?;
        *self = ahead;
        Some((Some(first), second))
    }

    /// Skips everything up to and including the next such keyword that is outside of brackets. If
    /// there is none, skips everything and returns false.
    pub(super) fn skip_past(&mut self, keyword: &str) -> bool {
        let mut depth = 0_usize;
        for token in self.by_ref() {
            match token {
                SqlToken::Sign(b'(') => depth = depth.saturating_add(1),
                SqlToken::Sign(b')') => depth = depth.saturating_sub(1),
                token if depth == 0 && token.is(keyword) => return true,
                _ => {}
            }
        }
        false
    }

    fn take_if(&mut self, fits: impl FnOnce(&SqlToken<'a>) -> bool) -> bool {
        let mut ahead = self.clone();
        let is_next = ahead.next().is_some_and(|token| fits(&token));
        if is_next {
            *self = ahead;
        }
        is_next
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = SqlToken<'a>;

    fn next(&mut self) -> Option<SqlToken<'a>> {
        let text = without_blanks(self.rest);
        let (&first, after) = text.split_first()?;
        let token;
        (token, self.rest) = match first {
            b'`' => {
                let (name, rest) = quoted(after, b'`', Escapes::None);
                (SqlToken::Quoted(name), rest)
            }
            b'"' => {
                let (name, rest) = quoted(after, b'"', Escapes::Backslash);
                (SqlToken::Quoted(name), rest)
            }
            b'\'' => (SqlToken::Text, quoted(after, b'\'', Escapes::Backslash).1),
            byte if is_part(byte) => {
                let end = text.iter().position(|&byte| !is_part(byte)).unwrap_or(text.len());
                let (word, rest) = text.split_at_checked(end).unwrap_or_default();
                (SqlToken::Word(word), rest)
            }
            sign => (SqlToken::Sign(sign), after),
        };
        Some(token)
    }
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

/// Skips blanks and comments, and the marks of a comment that a server runs.
fn without_blanks(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        text = match text {
            [b'/', b'*', b'!', rest @ ..] | [b'/', b'*', b'M', b'!', rest @ ..] => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                rest.get(digits..).unwrap_or_default()
            }
            [b'/', b'*', rest @ ..] => after(rest, b"*/"),
            [b'*', b'/', rest @ ..] => rest,
            [b'-', b'-'] => &[],
            [b'-', b'-', blank, ..] if blank.is_ascii_whitespace() => after(text, b"\n"),
            [b'#', ..] => after(text, b"\n"),
            _ => return text,
        };
    }
}

fn after<'a>(text: &'a [u8], end: &[u8]) -> &'a [u8] {
    let at = text.windows(end.len()).position(|window| window == end);
    at.and_then(|at| text.get(at.saturating_add(end.len())..)).unwrap_or_default()
}

/// Whether a backslash escapes the next sign inside quotes. (A doubled quote is always one quote.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escapes {
    None,
    Backslash,
}

/// The text before the closing quote, and what follows that quote. A doubled quote is one quote of
/// the text. Without a closing quote, the text goes to the end.
fn quoted(text: &[u8], quote: u8, escapes: Escapes) -> (String, &[u8]) {
    let (mut inner, mut rest) = (Vec::new(), text);
    while let Some((&byte, after)) = rest.split_first() {
        let next = after.first().copied();
        let is_escape = byte == b'\\' && escapes == Escapes::Backslash;
        rest = match next {
            _ if byte == quote && next != Some(quote) => {
                rest = after;
                break;
            }
            Some(kept) if byte == quote || is_escape => {
                inner.push(kept);
                after.get(1..).unwrap_or_default()
            }
            _ => {
                inner.push(byte);
                after
            }
        };
    }
    (String::from_utf8_lossy(&inner).into_owned(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of a text: words and signs as they are, names in brackets, strings as `'`.
    fn tokens(text: &str) -> String {
        let written = Tokens::of(text.as_bytes()).map(|token| match token {
            SqlToken::Word(word) => String::from_utf8_lossy(word).into_owned(),
            SqlToken::Quoted(name) => format!("[{name}]"),
            SqlToken::Text => "'".to_owned(),
            SqlToken::Sign(sign) => char::from(sign).to_string(),
        });
        written.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_strings_and_comments_are_recognised() {
        for (text, expected) in [
            ("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES ( 1 )"),
            ("a.`b c`.\"d\"", "a . [b c] . [d]"),
            ("`a``b` \"c\"\"d\" 'e''f' g", "[a`b] [c\"d] ' g"),
            (r"'it\'s' x 'a\\' y", "' x ' y"),
            (r"`a\` b", r"[a\] b"),
            ("a /* b ' */ c -- d '\n e # f '\n g", "a c e g"),
            ("1--1", "1 - - 1"),
            ("a --", "a"),
            ("/*!40000 ALTER TABLE t */ x", "ALTER TABLE t x"),
            ("/*M!100101 CREATE TABLE t (a INT) */", "CREATE TABLE t ( a INT )"),
            ("DROP /*!40005 TEMPORARY */ TABLE t", "DROP TEMPORARY TABLE t"),
            ("schön.表", "schön . 表"),
            ("'never closed", "'"),
            ("`never closed", "[never closed]"),
            ("", ""),
        ] {
            assert_eq!(tokens(text), expected, "{text}");
        }
    }

    #[test]
    fn what_comes_before_a_statement_is_skipped() {
        for (text, expected) in [
            ("(SELECT 1)", "SELECT"),
            ("; /* a */ ( (UPDATE t", "UPDATE"),
            ("SET STATEMENT max_statement_time = 1 FOR INSERT INTO t", "INSERT"),
            ("set statement a = (SELECT b FOR UPDATE), c = 'FOR' for DROP TABLE t", "DROP"),
            ("SET STATEMENT a = 1 FOR SET STATEMENT b = 2 FOR DELETE FROM t", "DELETE"),
            ("SET PASSWORD = 'x'", "SET"),
        ] {
            let first = Tokens::of_statement(text.as_bytes()).next().unwrap();
            assert!(first.is(expected), "{text}: {first:?}");
        }
    }

    #[test]
    fn a_name_may_have_a_schema() {
        for (text, expected, left) in [
            ("t x", Some((None, "t")), "x"),
            ("`s` . `t` x", Some((Some("s"), "t")), "x"),
            ("s.table x", Some((Some("s"), "table")), "x"),
            ("'s' x", None, "' x"),
            ("(s)", None, "( s )"),
        ] {
            let mut all = Tokens::of(text.as_bytes());
            let name = all.take_name();
            let name = name.as_ref().map(|(schema, table)| (schema.as_deref(), table.as_str()));
            assert_eq!(name, expected, "{text}");
            assert_eq!(tokens(std::str::from_utf8(all.rest()).unwrap()), left, "{text}");
        }
    }
}
