//! The parts of a template's text: what stands there as it is, and what is between marks.

/// A part of a template. Comments are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// As it is.
    Text(&'t str),
    /// `{{ … }}`.
    Value(&'t str),
    /// `{% … %}`.
    Statement(&'t str),
}

/// What a template calls by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Called<'t> {
    Filter(&'t str),
    Test(&'t str),
}

/// The marks before and after a part that is not text.
const MARKS: [[&str; 2]; 3] = [["{{", "}}"], ["{%", "%}"], ["{#", "#}"]];

/// The parts of a template, in their order. A part without its end reaches to the end.
pub(super) fn parts(template: &str) -> Vec<Part<'_>> {
    let (mut parts, mut rest) = (Vec::new(), template);
    let first = |text: &str| {
        let found = MARKS.into_iter().filter_map(|marks| Some((text.find(marks[0])?, marks)));
        found.min_by_key(|(at, _)| *at)
    };
    while let Some((at, [begin, end])) = first(rest) {
        let (text, marked) = rest.split_at(at);
        let marked = &marked[begin.len()..];
        let close = if begin == "{#" { marked.find(end) } else { end_of(marked, end) };
        let inner = &marked[..close.unwrap_or(marked.len())];
        rest = marked.get(inner.len() + end.len()..).unwrap_or_default();
        parts.push(Part::Text(text));
        match begin {
            "{{" => parts.push(Part::Value(inner)),
            "{%" => parts.push(Part::Statement(inner)),
            _ => {}
        }
    }
    parts.push(Part::Text(rest));
    parts
}

/// Where the mark stands that ends a part: not in a text between quotes.
fn end_of(marked: &str, end: &str) -> Option<usize> {
    let mut quotes = Quotes::default();
    let mut places = marked.char_indices();
    places.find(|(at, c)| !quotes.has(*c) && marked[*at..].starts_with(end)).map(|(at, _)| at)
}

/// Whether a character is in a text between quotes.
#[derive(Default)]
struct Quotes {
    /// The quote that the text began with.
    open: Option<char>,
    is_escaped: bool,
}

impl Quotes {
    fn has(&mut self, c: char) -> bool {
        let is_escaped = std::mem::take(&mut self.is_escaped);
        match self.open {
            None if matches!(c, '"' | '\'') => self.open = Some(c),
            None => return false,
            Some(_) if is_escaped => {}
            Some(_) if c == '\\' => self.is_escaped = true,
            Some(quote) if c == quote => self.open = None,
            Some(_) => {}
        }
        true
    }
}

/// The filters and tests that a template names.
pub(super) fn called<'t>(parts: &[Part<'t>]) -> Vec<Called<'t>> {
    let mut called = Vec::new();
    for part in parts {
        let (Part::Value(inner) | Part::Statement(inner)) = part else { continue };
        let words = words(inner);
        for (at, word) in words.iter().enumerate() {
            let next = |after: usize| words.get(at + after).copied().filter(|word| is_name(word));
            match (*word, next(1)) {
                ("|", Some(name)) => called.push(Called::Filter(name)),
                ("is", Some("not")) => called.extend(next(2).map(Called::Test)),
                ("is", Some(name)) => called.push(Called::Test(name)),
                _ => {}
            }
        }
    }
    called
}

/// The names that stand between marks, of whatever they are.
pub(super) fn names<'t>(parts: &[Part<'t>]) -> Vec<&'t str> {
    let inner = parts.iter().filter_map(|part| match part {
        Part::Value(inner) | Part::Statement(inner) => Some(*inner),
        Part::Text(_) => None,
    });
    inner.flat_map(words).filter(|word| is_name(word)).collect()
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, and single other characters; texts between quotes are left out.
fn words(inner: &str) -> Vec<&str> {
    let (mut words, mut quotes, mut begin) = (Vec::new(), Quotes::default(), None);
    for (at, c) in inner.char_indices() {
        let is_quoted = quotes.has(c);
        if !is_quoted && (c.is_alphanumeric() || c == '_') {
            begin = begin.or(Some(at));
            continue;
        }
        words.extend(begin.take().map(|begin| &inner[begin..at]));
        if !is_quoted && !c.is_whitespace() {
            words.push(&inner[at..at + c.len_utf8()]);
        }
    }
    words.extend(begin.map(|begin| &inner[begin..]));
    words
}

/// The first value that stands between the quotes of a text of JSON.
pub(super) fn value_in_quotes<'t>(parts: &[Part<'t>]) -> Option<&'t str> {
    let (mut is_in_quotes, mut is_escaped) = (false, false);
    for part in parts {
        match part {
            Part::Value(inner) if is_in_quotes => return Some(inner.trim_matches(['-', ' '])),
            Part::Value(_) | Part::Statement(_) => {}
            Part::Text(text) => {
                for byte in text.bytes() {
                    let was_escaped = std::mem::take(&mut is_escaped);
                    match byte {
                        b'\\' if is_in_quotes && !was_escaped => is_escaped = true,
                        b'"' if !was_escaped => is_in_quotes = !is_in_quotes,
                        _ => {}
                    }
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_in_a_text_between_quotes_ends_nothing() {
        let found = parts("a{{ '}}' ~ x }}}{# {{ y }} #}{% if z %}b");
        let expected = [
            Part::Text("a"),
            Part::Value(" '}}' ~ x "),
            Part::Text("}"),
            // Here was the comment.
            Part::Text(""),
            Part::Statement(" if z "),
            Part::Text("b"),
        ];
        assert_eq!(found, expected);
        assert_eq!(parts("{{ x"), [Part::Text(""), Part::Value(" x"), Part::Text("")]);
    }

    #[test]
    fn filters_and_tests_are_found_wherever_they_stand() {
        let found =
            parts("{{ a|lower | replace('|no', \"is no\") }}{% if b is not odd %}{% endif %}");
        let names = [Called::Filter("lower"), Called::Filter("replace"), Called::Test("odd")];
        assert_eq!(called(&found), names);
        assert_eq!(called(&parts("{{ this }} | text is text")), []);
    }

    #[test]
    fn a_value_between_quotes_of_json_is_found() {
        let found = |text| value_in_quotes(&parts(text));
        assert_eq!(found(r#"{"a":{{ x }},"b\"":[{{ y }}]}"#), None);
        assert_eq!(found(r#"{"a":"b\" {{ x }}"}"#), Some("x"));
        assert_eq!(found(r#"[{% for e in l %}"{{- e -}}"{% endfor %}]"#), Some("e"));
    }
}
