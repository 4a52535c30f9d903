//! Writes whole numbers that a double does not hold exactly as texts. JavaScript, jq and others
//! read every number of JSON as a double.

/// The largest whole number up to which a double holds every whole number: 2^53 - 1.
const MAX_SAFE: &str = "9007199254740991";

/// The JSON text, with quotes around each whole number above 2^53 - 1 or below the negative of
/// that. Everything else stays the same, byte by byte. Numbers with a fraction or an exponent are
/// doubles in the source already.
pub(super) fn quote(json: &str) -> String {
    let mut quoted = String::with_capacity(json.len() + 16);
    let mut rest = json;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        let (before, token) = rest.split_at(at);
        quoted.push_str(before);
        let is_text = token.starts_with('"');
        let (token, after) =
            token.split_at(if is_text { text_end(token) } else { number_end(token) });
        if !is_text && is_unsafe(token) {
            quoted.extend(["\"", token, "\""]);
        } else {
            quoted.push_str(token);
        }
        rest = after;
    }
    quoted.push_str(rest);
    quoted
}

/// The length of the text at the start of `json`, with its quotes.
fn text_end(json: &str) -> usize {
    let bytes = json.as_bytes();
    let mut at = 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        // After a backslash comes one byte, or `u` and digits.
        at += 2;
    }
    json.len()
}

fn number_end(json: &str) -> usize {
    let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    json.find(|c| !is_of_number(c)).unwrap_or(json.len())
}

fn is_unsafe(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_whole && (digits.len(), digits) > (MAX_SAFE.len(), MAX_SAFE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_doubles_round_become_texts_and_all_else_stays() {
        let json = r#"{"a":9007199254740991,"b":9007199254740992,"c":-9007199254740992, "d" : [18446744073709551615 ,0,-1,1.5e300,12345678901234567890.5,1E30],"9007199254740992":"9007199254740992 \" 9007199254740993 \\","e":null,"f":7}"#;
        let expected = r#"{"a":9007199254740991,"b":"9007199254740992","c":"-9007199254740992", "d" : ["18446744073709551615" ,0,-1,1.5e300,12345678901234567890.5,1E30],"9007199254740992":"9007199254740992 \" 9007199254740993 \\","e":null,"f":7}"#;
        assert_eq!(quote(json), expected);
        assert!(serde_json::from_str::<serde_json::Value>(&quote(json)).is_ok());
    }

    #[test]
    fn a_number_alone_and_a_broken_text_do_not_panic() {
        assert_eq!(quote("123456789012345678"), "\"123456789012345678\"");
        for odd in ["\"", "\"\\", "-", "", "\"\u{e4}\\"] {
            assert_eq!(quote(odd), odd);
        }
    }
}
