//! Reads an event that looks exactly as [`EventWriter`](crate::EventWriter) and
//! [`FullSyncText`](crate::FullSyncText) write it: known members, in their order, without a space
//! between tokens. This is the fast way, for millions of events; serde reads all others.

use std::borrow::Cow;

use crate::{Action, ChangeEvent, Origin, Source};

/// Values may be nested so deep. Serde reads what is deeper.
const MAX_DEPTH: usize = 64;

/// The event; `None` for what is not exactly of that form, whether or not it is an event.
pub(crate) fn read(text: &str) -> Option<ChangeEvent<'_>> {
    let mut rest = UnreadText(text);
    rest.pass("{\"EvId\":")?;
    let id = rest.string()?;
    rest.pass(",\"Schema\":")?;
    let schema = rest.string()?;
    rest.pass(",\"TableName\":")?;
    let table_name = rest.string()?;
    rest.pass(",\"Action\":")?;
    let action = rest.one_of(&[Action::Insert, Action::Update, Action::Delete], Action::as_str)?;
    rest.pass(",\"PK\":")?;
    let key = rest.object()?;
    rest.pass(",\"Data\":")?;
    let data = rest.object()?;
    let old = rest.optional(",\"Old\":", UnreadText::object)?;
    let oversized = rest.optional(",\"Oversized\":", UnreadText::number)?;
    let absent = rest.optional(",\"Absent\":", UnreadText::strings)?.unwrap_or_default();
    let seq = rest.optional(",\"Seq\":", UnreadText::number)?;
    rest.pass(",\"Origin\":")?;
    let origin = rest.one_of(&[Origin::Binlog, Origin::FullSync], Origin::as_str)?;
    let listener = rest.optional(",\"Listener\":", UnreadText::string)?;
    rest.pass(",\"Ts\":")?;
    let ts = rest.number()?;
    rest.pass(",\"Source\":")?;
    let source = rest.source()?;
    rest.pass("}")?;
    let event = ChangeEvent {
        id,
        schema,
        table_name,
        action,
        key,
        data,
        old,
        oversized,
        absent,
        seq,
        origin,
        listener,
        ts,
        source,
    };
    rest.0.is_empty().then_some(event)
}

/// The members of an object of columns, each with its value as JSON text; `None` for what is not
/// exactly of that form.
pub(crate) fn columns(object: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let mut rest = UnreadText(object);
    let mut columns = Vec::new();
    if rest.pass("{}").is_none() {
        let mut before = "{";
        while rest.pass(before).is_some() {
            let name = rest.string()?;
            rest.pass(":")?;
            columns.push((name, rest.value()?));
            before = ",";
        }
        rest.pass("}")?;
    }
    rest.0.is_empty().then_some(columns)
}

/// What is not read yet. After a method gave `None`, it must not be used any more.
#[derive(Clone, Copy)]
struct UnreadText<'a>(&'a str);

impl<'a> UnreadText<'a> {
    fn pass(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// What follows `name`, if that comes next.
    fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.pass(name).is_none() {
            return Some(None);
        }
        read(self).map(Some)
    }

    fn strings(&mut self) -> Option<Vec<Cow<'a, str>>> {
        self.pass("[")?;
        let mut strings = vec![self.string()?];
        while self.pass(",").is_some() {
            strings.push(self.string()?);
        }
        self.pass("]")?;
        Some(strings)
    }

    /// The one of these words that comes next, in quotes.
    fn one_of<T: Copy>(&mut self, words: &[T], text: impl Fn(T) -> &'static str) -> Option<T> {
        let (word, rest) = self.0.strip_prefix('"')?.split_once('"')?;
        self.0 = rest;
        words.iter().copied().find(|known| text(*known) == word)
    }

    fn take(&mut self, bytes: usize) -> Option<&'a str> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    /// An object, as JSON text.
    fn object(&mut self) -> Option<&'a str> {
        let bytes = self.0.as_bytes();
        let end = if bytes.first() == Some(&b'{') { value_end(bytes, 0, 0)? } else { return None };
        self.take(end)
    }

    /// Any value, as JSON text.
    fn value(&mut self) -> Option<&'a str> {
        let end = value_end(self.0.as_bytes(), 0, 0)?;
        self.take(end)
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        let end = string_end(self.0.as_bytes(), 0)?;
        let text = self.take(end)?.strip_prefix('"')?.strip_suffix('"')?;
        match memchr::memchr(b'\\', text.as_bytes()) {
            None => Some(Cow::Borrowed(text)),
            Some(first) => unescape(text, first).map(Cow::Owned),
        }
    }

    fn number(&mut self) -> Option<u64> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let text = self.take(digits)?;
        (text == "0" || !text.starts_with('0')).then(|| text.parse().ok())?
    }

    fn source(&mut self) -> Option<Source<'a>> {
        self.pass("{\"serverId\":")?;
        let server_id = self.number()?.try_into().ok()?;
        let gtid = self.optional(",\"gtid\":", Self::string)?;
        self.pass(",\"file\":")?;
        let file = self.string()?;
        self.pass(",\"pos\":")?;
        let pos = self.number()?;
        self.pass(",\"row\":")?;
        let row = self.number()?;
        self.pass("}")?;
        Some(Source { server_id, gtid, file, pos, row })
    }
}

/// Text whose first escape stands at `first`, where all escapes are of the next character.
fn unescape(text: &str, mut first: usize) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let (before, escape) = rest.split_at_checked(first)?;
        plain.push_str(before);
        let mut escape = escape.chars();
        match (escape.next(), escape.next()) {
            (None, _) => return Some(plain),
            (Some(_), Some(escaped @ ('"' | '\\' | '/'))) => plain.push(escaped),
            _ => return None,
        }
        rest = escape.as_str();
        first = memchr::memchr(b'\\', rest.as_bytes()).unwrap_or(rest.len());
    }
}

/// Where the JSON value that begins at `at` ends (RFC 8259, without whitespace).
fn value_end(json: &[u8], at: usize, depth: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => string_end(json, at),
        b'{' if depth < MAX_DEPTH => members_end(json, at, |at| {
            let colon = string_end(json, at)?;
            (json.get(colon) == Some(&b':')).then(|| value_end(json, colon + 1, depth + 1))?
        }),
        b'[' if depth < MAX_DEPTH => members_end(json, at, |at| value_end(json, at, depth + 1)),
        b't' => word_end(json, at, b"true"),
        b'f' => word_end(json, at, b"false"),
        b'n' => word_end(json, at, b"null"),
        _ => number_end(json, at),
    }
}

/// Where an object or an array that begins at `at` ends.
fn members_end(
    json: &[u8],
    at: usize,
    member_end: impl Fn(usize) -> Option<usize>,
) -> Option<usize> {
    // The closing bracket comes two after the opening one in ASCII.
    let closing = *json.get(at)? + 2;
    if json.get(at + 1) == Some(&closing) {
        return Some(at + 2);
    }
    let mut end = at;
    loop {
        end = member_end(end + 1)?;
        match json.get(end)? {
            b',' => {}
            byte if *byte == closing => return Some(end + 1),
            _ => return None,
        }
    }
}

fn word_end(json: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    json.get(at..)?.starts_with(word).then_some(at + word.len())
}

fn string_end(json: &[u8], at: usize) -> Option<usize> {
    if json.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += escape_bytes(json.get(at + 1..)?)?,
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

/// How long an escape is, with its backslash.
fn escape_bytes(behind_backslash: &[u8]) -> Option<usize> {
    match behind_backslash {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(2),
        [b'u', digits @ ..] => digits.get(..4)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

fn number_end(json: &[u8], at: usize) -> Option<usize> {
    let digits_end = |at: usize| {
        let digits = json.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (digits > 0).then_some(at + digits)
    };
    let start = at + usize::from(json.get(at) == Some(&b'-'));
    let mut end = match json.get(start)? {
        b'0' => start + 1,
        _ => digits_end(start)?,
    };
    if json.get(end) == Some(&b'.') {
        end = digits_end(end + 1)?;
    }
    if let Some(b'e' | b'E') = json.get(end) {
        let sign = usize::from(matches!(json.get(end + 1), Some(b'+' | b'-')));
        end = digits_end(end + 1 + sign)?;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::Columns;

    const FULL_SYNC: &str = concat!(
        r#"{"EvId":"fs-1:b.000001:99#{\"id\":7,\"p\":\"a\\\\\"}","Schema":"shop","TableName":"t","#,
        r#""Action":"insert","PK":{"id":7},"Data":{"id":7,"a":-0.50e+3,"b":"\u00e4\n","c":null,"#,
        r#""d":[true,false,[],{}],"e":{"x":[{"y":"ü"}]},"f":1e400},"Oversized":0,"#,
        r#""Seq":9007199254740991,"Origin":"full_sync","Listener":"search","Ts":5,"#,
        r#""Source":{"serverId":7,"file":"b.000001","pos":99,"row":0}}"#
    );
    const CHANGED: &str = concat!(
        r#"{"EvId":"3e11fa47-71ca-11e1-9e33-c80aa9429562:23#2i","Schema":"s","TableName":"t","#,
        r#""Action":"update","PK":{},"Data":{},"Old":{"a":0},"#,
        r#""Absent":["b","c"],"Origin":"binlog","Ts":17,"#,
        r#""Source":{"serverId":1,"gtid":"3e11:23","file":"b.1","pos":4,"row":2}}"#
    );

    fn by_serde(text: &str) -> Option<ChangeEvent<'_>> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn what_we_write_is_read_so() {
        for text in [FULL_SYNC, CHANGED] {
            let event = read(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(Some(event), by_serde(text));
        }
        assert_eq!(read(FULL_SYNC).unwrap().id, r#"fs-1:b.000001:99#{"id":7,"p":"a\\"}"#);
    }

    #[test]
    fn columns_are_read_in_their_order_and_another_form_is_left_to_serde() {
        let read = columns(r#"{"a":-1.5e3,"b\"":{"c":[1,"}"]},"d":null}"#).unwrap();
        let expected = [("a", "-1.5e3"), ("b\"", r#"{"c":[1,"}"]}"#), ("d", "null")];
        assert!(read.iter().map(|(name, value)| (&**name, *value)).eq(expected), "{read:?}");
        assert_eq!(columns("{}").map(|columns| columns.len()), Some(0));
        for other in
            ["", "{", "{\"a\":1", "{\"a\":1,}", "{,}", "{} ", "{\"a\" :1}", "[]", "{\"a\":01}"]
        {
            assert!(columns(other).is_none(), "{other}");
        }
    }

    #[test]
    fn another_form_is_left_to_serde() {
        for other in [
            CHANGED.replace(",", ", "),
            CHANGED.replace("\"Ts\":17,", "") + " ",
            CHANGED.replace("\"a\"", "\"\\u0061\"").replace("b.1", "b\\u002e1"),
            CHANGED.replace("{}", &format!("{}1{}", "[".repeat(100), "]".repeat(100))),
        ] {
            assert!(read(&other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_is_changed_anywhere_is_read_as_by_serde_or_not_at_all() {
        const PIECES: &[&str] = &[
            "\"", "\\", "{", "}", "[", "]", ",", ":", "0", "1", "-", ".", "e", " ", "\n", "é",
            "\\u00",
        ];
        let seed = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let (mut read_so, mut members_read) = (0, 0);
        for text in [FULL_SYNC, CHANGED].iter().cycle().take(100_000) {
            let mut text: Vec<char> = text.chars().collect();
            for _ in 0..random.random_range(1..4) {
                let (at, piece) =
                    (random.random_range(0..text.len()), random.random_range(0..PIECES.len()));
                let until = at + random.random_range(0..3usize).min(text.len() - at);
                text.splice(at..until, PIECES[piece].chars());
            }
            let text = String::from_iter(text);
            if let Some(event) = read(&text) {
                read_so += 1;
                assert_eq!(Some(event), by_serde(&text), "{text}");
            }
            // The whole is an object of members, too.
            if let Some(columns) = columns(&text) {
                members_read += 1;
                let by_serde: Columns<'_> = serde_json::from_str(&text).expect(&text);
                assert!(columns.into_iter().eq(by_serde.entries()), "{text}");
            }
        }
        assert!(read_so > 1000 && members_read > 1000, "{read_so} {members_read}");
    }
}
