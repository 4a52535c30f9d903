//! What can stand in a column, and how it is declared.

/// A type with its options.
#[derive(Clone, Debug, PartialEq)]
pub enum Domain {
    /// An integer of so many bits.
    Int(u32),
    /// An unsigned integer of so many bits.
    UnsignedInt(u32),
    /// FLOAT, with what is declared after it.
    Float(&'static str),
    /// DOUBLE, with what is declared after it.
    Double(&'static str),
    /// DECIMAL(precision, scale).
    Decimal(u32, u32),
    /// BIT(n).
    Bit(u32),
    /// YEAR.
    Year,
    /// DATE.
    Date,
    /// TIME with so many digits of fraction.
    Time(u8),
    /// DATETIME with so many digits of fraction.
    DateTime(u8),
    /// TIMESTAMP with so many digits of fraction.
    Timestamp(u8),
    /// A text type as declared, without its character set, and how many characters fit.
    Text(&'static str, TextCharset, usize),
    /// A binary type as declared.
    Binary(&'static str),
    /// ENUM with these members.
    Enum(Vec<String>),
    /// SET with these members.
    Set(Vec<String>),
    /// JSON.
    Json,
    /// GEOMETRY, or one of its kinds by its name.
    Geometry(&'static str),
    /// VECTOR with so many numbers.
    Vector(usize),
    /// JSON of MariaDB, which is text.
    JsonText,
    /// TIMESTAMP with so many digits of fraction, up to 2106 (MariaDB 11.5).
    LateTimestamp(u8),
    /// UUID (MariaDB).
    Uuid,
    /// INET4 (MariaDB).
    Inet4,
    /// INET6 (MariaDB).
    Inet6,
}

/// A character set and collation that text columns are declared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextCharset {
    /// utf8mb4 with its default collation, which does not pad.
    Utf8mb4,
    /// utf8mb4 with a collation that pads.
    Utf8mb4Bin,
    /// utf8mb3.
    Utf8mb3,
    /// ascii.
    Ascii,
    /// latin1.
    Latin1,
    /// Any other, with its default collation; a server may hold text in it that it cannot convert.
    Named(&'static str),
    /// utf8mb4 with MariaDB's collation that does not pad.
    MariadbNopad,
}

impl TextCharset {
    fn declared(self) -> String {
        let declared = match self {
            Self::Named(name) => return format!("CHARSET {name}"),
            Self::Utf8mb4 => "CHARSET utf8mb4 COLLATE utf8mb4_0900_ai_ci",
            Self::Utf8mb4Bin => "CHARSET utf8mb4 COLLATE utf8mb4_bin",
            Self::Utf8mb3 => "CHARSET utf8mb3",
            Self::Ascii => "CHARSET ascii",
            Self::Latin1 => "CHARSET latin1",
            Self::MariadbNopad => "CHARSET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci",
        };
        declared.to_owned()
    }

    /// A literal with these characters, as far as the character set has them.
    pub(super) fn literal(self, text: &str) -> String {
        let kept = |c: &char| match self {
            Self::Utf8mb4 | Self::Utf8mb4Bin | Self::MariadbNopad | Self::Named(_) => true,
            Self::Utf8mb3 => c.len_utf8() < 4,
            Self::Ascii => c.is_ascii(),
            Self::Latin1 => {
                u32::from(*c) < 0x80 || (0xa0..0x100).contains(&u32::from(*c)) || *c == '€'
            }
        };
        let literal = hex_text(&text.chars().filter(kept).collect::<String>());
        match self {
            // It puts question marks for the characters that it has not.
            Self::Named(name) => format!("CONVERT({literal} USING {name})"),
            _ => literal,
        }
    }
}

impl Domain {
    /// The type as it stands in CREATE TABLE.
    pub fn declared(&self) -> String {
        match self {
            Self::Int(bits) => int_name(*bits).to_owned(),
            Self::UnsignedInt(bits) => format!("{} UNSIGNED", int_name(*bits)),
            Self::Float(rest) => format!("FLOAT{rest}"),
            Self::Double(rest) => format!("DOUBLE{rest}"),
            Self::Decimal(precision, scale) => format!("DECIMAL({precision},{scale})"),
            Self::Bit(bits) => format!("BIT({bits})"),
            Self::Year => "YEAR".to_owned(),
            Self::Date => "DATE".to_owned(),
            Self::Time(fraction) => format!("TIME({fraction})"),
            Self::DateTime(fraction) => format!("DATETIME({fraction})"),
            Self::Timestamp(fraction) | Self::LateTimestamp(fraction) => {
                format!("TIMESTAMP({fraction})")
            }
            Self::Text(kind, charset, _) => format!("{kind} {}", charset.declared()),
            Self::Binary(kind) => (*kind).to_owned(),
            Self::Enum(members) => format!("ENUM({})", member_list(members)),
            Self::Set(members) => format!("SET({})", member_list(members)),
            Self::Json | Self::JsonText => "JSON".to_owned(),
            Self::Geometry(kind) => (*kind).to_owned(),
            Self::Vector(dimensions) => format!("VECTOR({dimensions})"),
            Self::Uuid => "UUID".to_owned(),
            Self::Inet4 => "INET4".to_owned(),
            Self::Inet6 => "INET6".to_owned(),
        }
    }
}

fn int_name(bits: u32) -> &'static str {
    match bits {
        8 => "TINYINT",
        16 => "SMALLINT",
        24 => "MEDIUMINT",
        32 => "INT",
        _ => "BIGINT",
    }
}

fn member_list(members: &[String]) -> String {
    let quoted = members.iter().map(|member| format!("'{}'", member.replace('\'', "''")));
    quoted.collect::<Vec<_>>().join(",")
}

/// UTF-8 text as a literal in which no character needs quoting.
pub(super) fn hex_text(text: &str) -> String {
    format!("_utf8mb4 {}", hex(text.as_bytes()))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("X'{digits}'")
}

/// The words of a list, each as a literal.
pub(super) fn quoted(list: &str) -> Vec<String> {
    list.split(' ').map(|value| format!("'{value}'")).collect()
}

/// How many bytes the declared type holds; 255 where it does not say.
pub(super) fn binary_size(kind: &str) -> usize {
    let number: String = kind.chars().filter(char::is_ascii_digit).collect();
    number.parse().unwrap_or(255)
}
