//! Topic names: from schema and table to a name that every bus accepts, and filters over them.

use std::fmt::Write as _;

use regex::Regex;

/// Kafka's limit on a topic's name, in bytes.
const MAX_TOPIC_BYTES: usize = 249;

/// What the names of topics that are not tables' begin with, up to a dot,
const RESERVED_BEGINNINGS: [&str; 2] = ["dts-checkpoint", "parked"];

/// and those that are whole names.
const RESERVED_NAMES: [&str; 3] = ["control", "ddl", "transactions"];

/// What a shortened name ends in: a dash and 16 hexadecimal digits.
const HASH_BYTES: usize = 17;

/// Makes topic names: `{prefix}.{schema}.{table}`, or by another template; each part escaped.
///
/// Every UTF-16 unit outside `[A-Za-z0-9_-]` becomes `_xHHHH`; a literal `_x` becomes `_x005Fx`, so
/// two tables never share a name. A name over 249 bytes keeps its beginning and ends in a hash.
#[derive(Clone, Debug)]
pub struct TopicName {
    prefix: String,
    /// What follows the prefix and its dot.
    pieces: Vec<PatternPiece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternPiece {
    Text(String),
    Schema,
    Table,
}

/// The template of a bus that is not told another.
pub(crate) const DEFAULT_TEMPLATE: &str = "{prefix}.{schema}.{table}";

impl TopicName {
    /// Names under a prefix: a topic for each table.
    pub fn new(prefix: &str) -> Self {
        let pieces =
            vec![PatternPiece::Schema, PatternPiece::Text(".".to_owned()), PatternPiece::Table];
        Self { prefix: prefix.to_owned(), pieces }
    }

    /// Names by a template, which begins with `{prefix}.` and may hold `{schema}` and `{table}`:
    /// `{prefix}.{schema}` is a topic for each schema, `{prefix}.all` one for everything.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn with_template(prefix: &str, template: &str) -> Result<Self, String> {
        let Some(rest) = template.strip_prefix("{prefix}.") else {
            return Err("does not begin with {prefix}.".to_owned());
        };
        let pieces = parse_pieces(rest)?;
        match pieces.first() {
            None => Err("names nothing after the prefix".to_owned()),
            Some(PatternPiece::Text(text)) if is_taken(text) => {
                Err(format!("begins with {text}, which is for topics that are not tables'"))
            }
            Some(_) => Ok(Self { prefix: prefix.to_owned(), pieces }),
        }
    }

    /// Whether a topic holds several tables: then its name does not tell which.
    pub fn is_shared(&self) -> bool {
        !self.pieces.contains(&PatternPiece::Schema) || !self.pieces.contains(&PatternPiece::Table)
    }

    /// The topic of a table.
    pub fn of(&self, schema: &str, table: &str) -> String {
        let mut rest = String::new();
        for piece in &self.pieces {
            match piece {
                PatternPiece::Text(text) => rest.push_str(text),
                PatternPiece::Schema => escape(schema, &mut rest),
                PatternPiece::Table => escape(table, &mut rest),
            }
        }
        let mut name = format!("{}.", self.prefix);
        if is_taken(&rest) {
            escape_first(&rest, &mut name);
        } else {
            name.push_str(&rest);
        }
        if name.len() > MAX_TOPIC_BYTES { shorten(&name) } else { name }
    }

    /// A filter for tables by globs over schema and table; `*` and `?` are the wildcards.
    ///
    /// It also lets every topic with a shortened name pass, since that does not tell its table, and
    /// those whose names were reserved: who subscribes still compares the names in the event.
    pub fn filter(&self, globs: &[(String, String)]) -> TopicFilter {
        let prefix = regex::escape(&self.prefix);
        let patterns = globs.iter().map(|(schema, table)| {
            let mut pattern = format!("{prefix}\\.");
            for piece in &self.pieces {
                match piece {
                    PatternPiece::Text(text) => pattern.push_str(&regex::escape(text)),
                    PatternPiece::Schema => escape_glob(schema, &mut pattern),
                    PatternPiece::Table => escape_glob(table, &mut pattern),
                }
            }
            pattern
        });
        let shortened = format!("{prefix}\\..{{{}}}-[0-9a-f]{{16}}", self.kept_bytes());
        let escaped = |name: &str, more: &str| {
            let mut pattern = String::new();
            escape_first(name, &mut pattern);
            pattern + more
        };
        let beginnings = RESERVED_BEGINNINGS.map(|name| escaped(name, ".*"));
        let names = RESERVED_NAMES.map(|name| escaped(name, ""));
        let reserved = [beginnings.as_slice(), names.as_slice()].concat().join("|");
        let reserved = format!("{prefix}\\.(?:{reserved})");
        TopicFilter { patterns: patterns.chain([shortened, reserved]).collect() }
    }

    /// How much of a shortened name stands between the prefix with its dot and the hash.
    fn kept_bytes(&self) -> usize {
        (MAX_TOPIC_BYTES - HASH_BYTES).saturating_sub(self.prefix.len() + 1)
    }
}

/// Which topics a subscription gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicFilter {
    /// Regular expressions, each for a whole name; none means every topic.
    patterns: Vec<String>,
}

impl TopicFilter {
    /// Those that one of these expressions matches whole.
    pub(crate) fn of(patterns: Vec<String>) -> Self {
        Self { patterns }
    }

    /// Regular expressions (RE2 syntax), each for a whole name.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// The names that are asked for as they are, without a wildcard.
    pub(crate) fn literals(&self) -> impl Iterator<Item = String> {
        self.patterns.iter().filter_map(|pattern| {
            let name = pattern.replace('\\', "");
            (regex::escape(&name) == *pattern).then_some(name)
        })
    }

    /// A short name for it: another one for other patterns.
    pub(crate) fn digest(&self) -> String {
        format!("{:016x}", fnv(self.patterns.join("\n").as_bytes()))
    }

    /// What passes this one or another.
    pub(crate) fn or(&self, other: &Self) -> Self {
        if self.patterns.is_empty() || other.patterns.is_empty() {
            return Self::default();
        }
        let mut patterns = self.patterns.clone();
        patterns.extend(other.patterns.iter().filter(|one| !self.patterns.contains(one)).cloned());
        Self { patterns }
    }

    /// A test for names.
    pub fn matcher(&self) -> impl Fn(&str) -> bool + Send + Sync + use<> {
        let all = self.patterns.is_empty();
        let patterns: Vec<Regex> = self
            .patterns
            .iter()
            .filter_map(|pattern| Regex::new(&format!("^(?:{pattern})$")).ok())
            .collect();
        move |topic| all || patterns.iter().any(|pattern| pattern.is_match(topic))
    }
}

fn parse_pieces(mut rest: &str) -> Result<Vec<PatternPiece>, String> {
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let placeholders = [("{schema}", PatternPiece::Schema), ("{table}", PatternPiece::Table)];
        let found = placeholders.into_iter().find(|(text, _)| rest.starts_with(text));
        if let Some((text, piece)) = found {
            rest = &rest[text.len()..];
            pieces.push(piece);
            continue;
        }
        let length = rest.find('{').unwrap_or(rest.len());
        let text = &rest[..length];
        if text.is_empty() || !text.chars().all(|c| is_plain(c) || c == '.') {
            return Err(format!("has {rest:?}, which is no part of a topic's name"));
        }
        pieces.push(PatternPiece::Text(text.to_owned()));
        rest = &rest[length..];
    }
    Ok(pieces)
}

/// Whether what follows the prefix is the name of a topic that is not a table's.
fn is_taken(rest: &str) -> bool {
    let first = rest.split('.').next().unwrap_or_default();
    RESERVED_BEGINNINGS.contains(&first) || RESERVED_NAMES.contains(&rest)
}

/// So that what has a reserved name has a topic of its own: its first character is escaped.
fn escape_first(name: &str, out: &mut String) {
    let mut chars = name.chars();
    if let Some(first) = chars.next() {
        escape_char(first, out);
    }
    out.push_str(chars.as_str());
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn escape(part: &str, out: &mut String) {
    let mut chars = part.chars().peekable();
    while let Some(c) = chars.next() {
        let starts_escape = c == '_' && chars.peek() == Some(&'x');
        if is_plain(c) && !starts_escape {
            out.push(c);
        } else {
            escape_char(c, out);
        }
    }
}

fn escape_char(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        let _ = write!(out, "_x{unit:04X}");
    }
}

/// As [`escape`], into a regular expression, with `*` and `?` standing for names' characters.
fn escape_glob(glob: &str, out: &mut String) {
    const ONE: &str = "(?:_x[0-9A-F]{4}|[A-Za-z0-9_-])";
    let mut literal = String::new();
    for c in glob.chars() {
        match c {
            '*' | '?' => {
                // What the wildcard stands for may begin with x, so a `_` before it may be escaped.
                let ends_in_underscore = literal.ends_with('_');
                if ends_in_underscore {
                    literal.pop();
                }
                flush_literal(&mut literal, out);
                if ends_in_underscore {
                    out.push_str("(?:_|_x005F)");
                }
                out.push_str(if c == '*' { "[A-Za-z0-9_-]*" } else { ONE });
            }
            _ => literal.push(c),
        }
    }
    flush_literal(&mut literal, out);
}

fn flush_literal(literal: &mut String, out: &mut String) {
    let mut escaped = String::new();
    escape(literal, &mut escaped);
    out.push_str(&regex::escape(&escaped));
    literal.clear();
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn shorten(name: &str) -> String {
    let hash = fnv(name.as_bytes());
    let mut short = name[..MAX_TOPIC_BYTES - HASH_BYTES].to_owned();
    let _ = write!(short, "-{hash:016x}");
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_never_shared() {
        let names = TopicName::new("dbevents");
        assert_eq!(names.of("weixin", "wx_config"), "dbevents.weixin.wx_config");
        assert_eq!(names.of("weixin", "wx_xyz"), "dbevents.weixin.wx_x005Fxyz");
        assert_eq!(names.of("a.b", "c d"), "dbevents.a_x002Eb.c_x0020d");
        assert_eq!(names.of("表", "😀"), "dbevents._x8868._xD83D_xDE00");
        assert_ne!(names.of("s", "a_x0020b"), names.of("s", "a b"));
        assert_eq!(names.of("parked", "t"), "dbevents._x0070arked.t");
        let glob = names.filter(&[("par*".to_owned(), "*".to_owned())]);
        assert!(glob.matcher()(&names.of("parked", "t")));
    }

    #[test]
    fn a_template_puts_several_tables_into_one_topic() {
        let by_schema = TopicName::with_template("db", "{prefix}.{schema}").unwrap();
        assert_eq!(by_schema.of("a.b", "t"), "db.a_x002Eb");
        assert!(by_schema.is_shared() && !TopicName::new("db").is_shared());
        let filter = by_schema.filter(&[("a*".to_owned(), "x".to_owned())]);
        assert!(filter.matcher()("db.abc") && !filter.matcher()("db.b"));
        let all = TopicName::with_template("db", "{prefix}.all").unwrap();
        assert_eq!((all.of("a", "t"), all.of("b", "u")), ("db.all".into(), "db.all".into()));
        assert!(all.filter(&[("a".to_owned(), "x".to_owned())]).matcher()("db.all"));
        let mixed = TopicName::with_template("db", "{prefix}.x-{table}.{schema}").unwrap();
        assert_eq!(mixed.of("s", "t"), "db.x-t.s");
        assert!(!mixed.is_shared());
        let wrong = [
            "{schema}.{table}",
            "{prefix}.",
            "{prefix}.a b",
            "{prefix}.{row}",
            "{prefix}.control",
            "{prefix}.parked.x",
            "{prefix}",
        ];
        for template in wrong {
            assert!(TopicName::with_template("db", template).is_err(), "{template}");
        }
    }

    #[test]
    fn no_table_has_the_name_of_a_topic_that_the_programs_keep_for_themselves() {
        let named = |template: &str, schema: &str, table: &str| {
            let names = TopicName::with_template("db", template).unwrap();
            let glob = names.filter(&[(format!("{schema}*"), format!("{table}*"))]);
            let name = names.of(schema, table);
            assert!(glob.matcher()(&name), "{name}");
            name
        };
        assert_eq!(named("{prefix}.{schema}", "control", "t"), "db._x0063ontrol");
        assert_eq!(named("{prefix}.{table}", "s", "ddl"), "db._x0064dl");
        assert_eq!(named("{prefix}.{table}.{schema}", "s", "parked"), "db._x0070arked.s");
        assert_eq!(named("{prefix}.{schema}.{table}", "control", "t"), "db.control.t");
        let all = TopicName::new("db").filter(&[("*".to_owned(), "*".to_owned())]);
        assert_eq!(all.literals().count(), 0);
    }

    #[test]
    fn a_long_name_is_cut_and_told_apart_by_a_hash() {
        let names = TopicName::new("dbevents");
        let one = names.of("schema", &format!("{}1", "表".repeat(64)));
        let two = names.of("schema", &format!("{}2", "表".repeat(64)));
        assert_eq!(one.len(), MAX_TOPIC_BYTES);
        assert_ne!(one, two);
        let filter = names.filter(&[("schema".to_owned(), "other".to_owned())]);
        assert!(filter.matcher()(&one), "a listener must look at it to know");
        assert!(!filter.matcher()(&names.of("schema", "short")));
    }

    #[test]
    fn globs_match_as_they_would_on_the_tables_names() {
        let names = TopicName::new("db");
        let cases = [
            ("weixin", "wx_*", "weixin", "wx_config", true),
            ("weixin", "wx_*", "weixin", "other", false),
            ("weixin", "*", "weixin2", "t", false),
            ("*", "*", "a.b", "c d", true),
            ("s", "a?c", "s", "a c", true),
            ("s", "a?c", "s", "abbc", false),
            ("s", "a b", "s", "a b", true),
            ("s", "a_x*", "s", "a_xyz", true),
            ("s", "a_?", "s", "a_x", true),
            ("s", "a_*", "s", "a_x", true),
        ];
        for (schema_glob, table_glob, schema, table, expected) in cases {
            let filter = names.filter(&[(schema_glob.to_owned(), table_glob.to_owned())]);
            let found = filter.matcher()(&names.of(schema, table));
            assert_eq!(found, expected, "{schema_glob}.{table_glob} on {schema}.{table}");
        }
        assert!(TopicFilter::default().matcher()("anything"));
    }

    #[test]
    fn what_passes_one_of_two_filters_passes_both_together() {
        let names = TopicName::new("db");
        let tables = |table: &str| names.filter(&[("s".to_owned(), table.to_owned())]);
        let both = tables("a").or(&tables("b"));
        assert!(both.matcher()("db.s.a") && both.matcher()("db.s.b") && !both.matcher()("db.s.c"));
        assert_eq!(both.or(&tables("a")), both, "nothing is in it twice");
        assert_ne!(both.digest(), tables("a").digest());
        for every in [both.or(&TopicFilter::default()), TopicFilter::default().or(&both)] {
            assert!(every.matcher()("anything"));
        }
    }
}
