//! The members of an ENUM or a SET column of the target. A value is written by its number: a text is
//! looked for by the column's collation, in its charset, and may be taken for another member.

use crate::value::CellValue;

/// The members, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Members {
    Enum(Vec<String>),
    Set(Vec<String>),
    /// The column is of another type.
    #[default]
    None,
}

impl Members {
    /// Reads them from a type as the server shows it, such as `enum('a','it''s')`.
    pub(super) fn of(declared: &str) -> Self {
        let Some((word, mut rest)) = declared.split_once('(') else { return Self::None };
        let of = match word.to_ascii_lowercase().as_str() {
            "enum" => Self::Enum,
            "set" => Self::Set,
            _ => return Self::None,
        };
        let mut members = Vec::new();
        while let Some((_, after)) = rest.split_once('\'') {
            let (member, next) = quoted(after);
            members.push(member);
            rest = next;
        }
        of(members)
    }

    /// The number of a value; `None` where it is not known, for example because the server shows a
    /// character as `?`.
    pub(super) fn number(&self, value: &CellValue<'_>) -> Option<u64> {
        let place = |members: &[String], name: &str| {
            Some(members.iter().position(|member| member == name)? as u64)
        };
        match (self, value) {
            (Self::Enum(members), CellValue::Text(name)) => Some(place(members, name)? + 1),
            (Self::Set(members), CellValue::Set(names)) => {
                let bits = names.iter().map(|name| Some(1 << place(members, name)?));
                let bits: Option<Vec<u64>> = bits.collect();
                bits.map(|bits| bits.iter().fold(0, |all, bit| all | bit))
            }
            _ => None,
        }
    }
}

/// A text up to its closing quote, and what follows.
fn quoted(text: &str) -> (String, &str) {
    let (mut member, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('\'') {
        member.push_str(before);
        match after.strip_prefix('\'') {
            Some(next) => {
                member.push('\'');
                rest = next;
            }
            None => return (member, after),
        }
    }
    (member, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_numbers() {
        let members = Members::of("enum('a','it''s','','b,c')");
        let number = |name: &'static str| members.number(&CellValue::Text(name.into()));
        assert_eq!([number("a"), number("it's"), number("b,c")], [Some(1), Some(2), Some(4)]);
        assert_eq!((number(""), number("A")), (Some(3), None));
        let set = Members::of("SET('a','b','c')");
        let bits = |names: &[&str]| {
            set.number(&CellValue::Set(names.iter().map(|name| (*name).to_owned()).collect()))
        };
        assert_eq!([bits(&[]), bits(&["a", "c"]), bits(&["d"])], [Some(0), Some(5), None]);
        assert_eq!(Members::of("varchar(5)"), Members::None);
    }
}
