//! How the values of a column are compared on the server, and the members of an ENUM or SET.

use crate::{
    key::{Comparison, KeyPart},
    quote::identifier,
    table::Column,
    value::Form,
};

impl Column {
    /// The whole column as a part of a key; its place is among those of the table.
    pub(crate) fn part(&self, place: usize) -> Option<KeyPart> {
        Some(KeyPart {
            column: place,
            prefix: None,
            descending: false,
            name: identifier(&self.name),
            comparison: self.comparison()?,
            sorted_by: self.sorted_by(),
        })
    }

    pub(crate) fn comparison(&self) -> Option<Comparison> {
        let cast = |target: String| Comparison::Cast(format!("CAST(? AS {target})"));
        Some(match &self.form {
            Form::Integer { .. } | Form::Bit | Form::Year => Comparison::Number,
            Form::Float | Form::Double => Comparison::Double,
            Form::Decimal { precision, scale } => cast(format!("DECIMAL({precision},{scale})")),
            Form::Date => cast("DATE".to_owned()),
            Form::Time(_) => Comparison::Time,
            Form::DateTime(fraction) | Form::Timestamp(fraction) => {
                cast(format!("DATETIME({fraction})"))
            }
            Form::Address(kind) => cast((*kind).to_owned()),
            Form::Enum(_) => Comparison::Member { count: self.members().len() as u64 },
            Form::Set(_) => Comparison::Bits { count: self.members().len() as u64 },
            Form::Binary => Comparison::Text("UNHEX(?)".to_owned()),
            Form::Text { charset, .. } => {
                let collation = self.collation.as_deref()?;
                let text = format!("CONVERT(UNHEX(?) USING {charset}) COLLATE {collation}");
                Comparison::Text(text)
            }
            Form::Geometry | Form::Vector => Comparison::Digits,
            Form::Json => return None,
        })
    }

    /// What the order of its values depends on beyond [`Column::comparison`]. Changing a TIMESTAMP
    /// into a DATETIME moves the values by the session's time zone, and members may change places.
    pub(crate) fn sorted_by(&self) -> String {
        match &self.form {
            Form::Enum(_) | Form::Set(_) => format!(" {}", self.declared),
            Form::Timestamp(_) => " timestamp".to_owned(),
            _ => String::new(),
        }
    }

    /// The members of an ENUM or SET, as its declaration has them.
    pub(crate) fn members(&self) -> Vec<String> {
        let mut members = Vec::new();
        let mut rest = self.declared.as_str();
        while let Some((_, quoted)) = rest.split_once('\'') {
            let mut member = String::new();
            let mut chars = quoted.char_indices().peekable();
            let mut end = quoted.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '\'' if chars.next_if(|(_, next)| *next == '\'').is_none() => {
                        end = at + 1;
                        break;
                    }
                    '\\' => match chars.next() {
                        Some((_, 'n')) => member.push('\n'),
                        Some((_, 'r')) => member.push('\r'),
                        Some((_, '0')) => member.push('\0'),
                        Some((_, other)) => member.push(other),
                        None => {}
                    },
                    c => member.push(c),
                }
            }
            members.push(member);
            rest = quoted.get(end..).unwrap_or_default();
        }
        members
    }
}
