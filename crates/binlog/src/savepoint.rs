//! The names of savepoints, in SAVEPOINT and in ROLLBACK TO ("SAVEPOINT, ROLLBACK TO SAVEPOINT, and
//! RELEASE SAVEPOINT Statements" in the MySQL manual).

use super::{
    error::{Fault, corrupt},
    sql::{SqlToken, Tokens},
};

/// The name of a savepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavepointName(Box<str>);

impl SavepointName {
    /// Reads the text after `SAVEPOINT` or `ROLLBACK TO`: the name, quoted or not. After ROLLBACK
    /// TO, the word SAVEPOINT may come before the name.
    pub(super) fn read(text: &[u8]) -> Result<Self, Fault> {
        let mut words = Tokens::of(text).filter_map(SqlToken::into_name);
        let first = words.next().ok_or_else(|| corrupt("a savepoint without a name"))?;
        let name = match words.next() {
            Some(second) if first.eq_ignore_ascii_case("savepoint") => second,
            _ => first,
        };
        Ok(Self::new(&name))
    }

    /// The name itself, without quotes.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name in lower case, because case does not count.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }

    /// Whether some servers take both for the same name, and others do not: server versions differ
    /// in whether accents count.
    pub fn may_be(&self, other: &Self) -> bool {
        let may_be =
            |(a, b): (char, char)| !a.is_ascii() || !b.is_ascii() || a.eq_ignore_ascii_case(&b);
        self.0.chars().count() == other.0.chars().count()
            && self.0.chars().zip(other.0.chars()).all(may_be)
    }

    /// Whether it has no letters whose case and accents only the server knows.
    pub fn is_plain(&self) -> bool {
        self.0.is_ascii()
    }
}

impl std::fmt::Display for SavepointName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SavepointName {
        SavepointName::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_is_read_however_it_is_quoted() {
        for (text, expected) in [
            (" `a`", "a"),
            (" a", "a"),
            (" \"a b\"", "a b"),
            (" `b ``q`", "b `q"),
            (" SAVEPOINT a", "a"),
            (" `savepoint`", "savepoint"),
            (" savepoint savepoint", "savepoint"),
        ] {
            assert_eq!(name(text).to_string(), expected, "{text}");
        }
        assert!(SavepointName::read(b" ").is_err());
    }

    #[test]
    fn names_are_compared_where_all_servers_agree() {
        assert_eq!(name("`Ab`").folded(), name("aB").folded());
        assert!(name("é1").may_be(&name("e1")) && name("e1").may_be(&name("É1")));
        assert!(!name("é1").may_be(&name("e2")) && !name("é").may_be(&name("ee")));
        assert!(name("e").is_plain() && !name("é").is_plain());
    }
}
