//! Which keys keep their order with each other: all keys that a server may take for one row's.
//!
//! For most collations, texts are equal that differ only in case, in accents or in spaces at their
//! end: `'key1'` and `'KEY1'` are one primary key. After a delete of one and an insert of the other
//! the row is there, so their changes must keep their order. Which texts are equal depends on the
//! collation, on its version, and on the server. So each text is folded here: all texts that some
//! collation takes for equal become the same text. Texts that are not equal may become the same,
//! too: then one sometimes waits for the other, which does no harm.

use std::borrow::Cow;

use icu_normalizer::{
    DecomposingNormalizerBorrowed, properties::CanonicalCombiningClassMapBorrowed,
};

/// What a record's key has in common with all keys that may be of the same row: itself for most.
pub fn order_key(key: &[u8]) -> Cow<'_, [u8]> {
    if !may_fold(key) {
        return Cow::Borrowed(key);
    }
    match std::str::from_utf8(key).map(fold_values) {
        Ok(folded) if folded.as_bytes() != key => Cow::Owned(folded.into_bytes()),
        _ => Cow::Borrowed(key),
    }
}

/// Whether there is anything to fold: in one pass, for in most keys there is not.
fn may_fold(key: &[u8]) -> bool {
    let mut last = 0;
    key.iter().any(|&byte| {
        let pair = (std::mem::replace(&mut last, byte), byte);
        let folds = matches!(byte, b'A'..=b'Z' | b'\\' | 0x80..) || byte.is_ascii_control();
        folds || matches!(pair, (b's', b's') | (b' ', b'"'))
    })
}

/// The JSON with the texts in it folded; names of members stay.
fn fold_values(json: &str) -> String {
    let mut folded = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('"') {
        let (before, quoted) = rest.split_at(at + 1);
        folded.push_str(before);
        let (text, after) = quoted.split_at(text_end(quoted));
        if after.starts_with("\":") {
            folded.push_str(text);
        } else {
            fold(&unescape(text), &mut folded);
        }
        let end = after.len().min(1);
        folded.push_str(&after[..end]);
        rest = &after[end..];
    }
    folded.push_str(rest);
    folded
}

/// Where the quote stands that ends a text.
fn text_end(text: &str) -> usize {
    let mut is_escaped = false;
    let is_end = |byte: u8| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    };
    text.bytes().position(is_end).unwrap_or(text.len())
}

/// The text that stands in a JSON string.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let text = serde_json::from_str(&format!("\"{text}\"")).unwrap_or_else(|_| text.to_owned());
    Cow::Owned(text)
}

fn fold(text: &str, folded: &mut String) {
    let marks = CanonicalCombiningClassMapBorrowed::new();
    // Alone it is an iota, and below a letter nothing.
    let text = text.replace('ͺ', "ι");
    let decomposed = DecomposingNormalizerBorrowed::new_nfkd().normalize(&text);
    let mut last = '\0';
    for c in decomposed.chars().flat_map(char::to_lowercase).map(twin) {
        // ß is ss to some and s to others.
        let is_second_s = (last, c) == ('s', 's');
        if marks.get_u8(c) != 0 || is_ignorable(c) || is_second_s {
            continue;
        }
        if matches!(c, '"' | '\\') {
            folded.push('\\');
        }
        folded.push_str(base(c).unwrap_or(c.encode_utf8(&mut [0; 4])));
        last = c;
    }
    let end = folded.trim_end_matches(' ').len();
    folded.truncate(end);
}

/// What a letter is taken for that has no decomposition.
fn base(c: char) -> Option<&'static str> {
    Some(match c {
        'æ' => "ae",
        'œ' => "oe",
        'ʣ' => "dz",
        'ʦ' | 'ƾ' => "ts",
        _ => return None,
    })
}

/// The letter that another one is taken for.
fn twin(c: char) -> char {
    let moved = |by: u32| char::from_u32(u32::from(c).wrapping_add(by)).unwrap_or(c);
    match c {
        'ß' => 's',
        'ø' => 'o',
        'đ' | 'ð' => 'd',
        'ł' => 'l',
        'ħ' => 'h',
        'ı' => 'i',
        'ς' => 'σ',
        'ґ' => 'г',
        // Hiragana as Katakana, small as large.
        'ぁ'..='ゖ' | 'ゝ' | 'ゞ' => twin(moved(0x60)),
        'ァ' | 'ィ' | 'ゥ' | 'ェ' | 'ォ' | 'ッ' | 'ャ' | 'ュ' | 'ョ' | 'ヮ' => moved(1),
        'ヵ' => 'カ',
        'ヶ' => 'ケ',
        // Hebrew letters at the end of a word.
        'ך' | 'ם' | 'ן' | 'ף' | 'ץ' => moved(1),
        // Digits.
        '\u{660}'..='\u{669}' => moved(0x30_u32.wrapping_sub(0x660)),
        '\u{6f0}'..='\u{6f9}' => moved(0x30_u32.wrapping_sub(0x6f0)),
        '\u{966}'..='\u{96f}' => moved(0x30_u32.wrapping_sub(0x966)),
        '\u{e50}'..='\u{e59}' => moved(0x30_u32.wrapping_sub(0xe50)),
        // Georgian: the capitals of old.
        '\u{2d00}'..='\u{2d25}' => moved(0x10d0_u32.wrapping_sub(0x2d00)),
        // To some all of these are the same.
        '\u{10000}'.. => '\u{fffd}',
        _ => c,
    }
}

/// What is nothing to a collation.
fn is_ignorable(c: char) -> bool {
    let is_format = matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{488}' | '\u{489}' | '\u{61c}' | '\u{640}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}'
    );
    // The middle dot is a part of ŀ.
    is_format || c.is_control() || c == '·'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_a_collation_takes_for_equal_are_the_same() {
        for equal in [
            ["key1", "KEY1"],
            ["key1", "key1  "],
            ["e", "É"],
            ["strasse", "Straße"],
            ["strase", "straße"],
            ["muller", "MÜLLER"],
            ["ßs", "sß"],
            ["sss", "sß"],
            ["encyclopaedia", "Encyclopædia"],
            ["lodz", "Łódź"],
            ["ａｂｃ１", "abc1"],
            ["ﬁn", "fin"],
            ["かな", "カナ"],
            ["ｶﾅ", "かな"],
            ["がん", "かん"],
            ["ΟΔΟΣ", "οδος"],
            ["a\u{200b}b", "ab"],
            ["a \u{301} ", "a"],
            ["かつた", "かった"],
            ["ヵ月", "カ月"],
            ["ґанна", "ГАННА"],
            ["paral·lel", "paraŀlel"],
            ["Ⴂ", "გ"],
            ["😀", "🎉"],
            [r"a\u0000b", "ab"],
            ["＂a＼", r#"\"a\\"#],
            ["٣", "3"],
            ["שלום", "שלומ"],
        ] {
            let [one, two] = equal.map(|text| format!(r#"{{"Code":"{text}","n":1}}"#));
            assert_eq!(order_key(one.as_bytes()), order_key(two.as_bytes()), "{equal:?}");
        }
    }

    #[test]
    fn other_keys_stay_apart_and_most_stay_as_they_are() {
        for (one, two) in [
            (r#"{"a":"x","b":"y"}"#, r#"{"a":"y","b":"x"}"#),
            (r#"{"a":"x\"","b":1}"#, r#"{"a":"x","b":1}"#),
            (r#"{"a":"1001"}"#, r#"{"a":"101"}"#),
            (r#"{"a":" x"}"#, r#"{"a":"x"}"#),
        ] {
            assert_ne!(order_key(one.as_bytes()), order_key(two.as_bytes()), "{one} {two}");
        }
        let uuid = r#"{"id":"3e11fa47-aaee-4c57-9bdb-00e0f0aa1bce"}"#;
        for same in [r#"{"Id":17}"#, r#"{"id":"x-1","Day":"2026-01-01"}"#, "17", uuid] {
            assert!(matches!(order_key(same.as_bytes()), Cow::Borrowed(_)), "{same}");
        }
        assert!(matches!(order_key(b"\"\xff\""), Cow::Borrowed(_)));
    }
}
