//! The lines in some bytes of a file, and the pieces of lines that are too long.

/// A line, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Without the line feed.
    pub(super) text: &'a [u8],
    /// 0: a whole line; else which piece of it, from 1.
    pub(super) number: u32,
    /// The line ends with it.
    pub(super) is_last: bool,
    /// How many bytes of the file it takes, with its line feed.
    pub(super) taken: usize,
}

/// The next piece of some bytes, or nothing when more bytes are needed. `pieces` of the line that
/// they begin with were taken before. When the file `is_over`, its last line needs no line feed.
pub(super) fn next(bytes: &[u8], pieces: u32, max: usize, is_over: bool) -> Option<Piece<'_>> {
    let within = bytes.get(..=max).unwrap_or(bytes);
    let piece = |text, is_last, taken| {
        let number = if is_last && pieces == 0 { 0 } else { pieces + 1 };
        Some(Piece { text, number, is_last, taken })
    };
    match memchr::memchr(b'\n', within) {
        Some(end) => piece(bytes.get(..end)?, true, end + 1),
        None if bytes.len() > max => {
            let end = char_boundary(bytes, max);
            piece(bytes.get(..end)?, false, end)
        }
        None if is_over && !bytes.is_empty() => piece(bytes, true, bytes.len()),
        None => None,
    }
}

/// The place up to `max` where no character of UTF-8 is cut, if there is one near.
fn char_boundary(bytes: &[u8], max: usize) -> usize {
    let is_inner = |at: &usize| bytes.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (max.saturating_sub(3)..=max).rev().find(|at| *at > 0 && !is_inner(at)).unwrap_or(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pieces, as `number text`, and what is left.
    fn pieces(text: &str, is_over: bool) -> (Vec<String>, usize) {
        let (mut rest, mut count, mut found) = (text.as_bytes(), 0, Vec::new());
        while let Some(piece) = next(rest, count, 8, is_over) {
            let text = String::from_utf8_lossy(piece.text);
            found.push(format!("{}{} {text}", piece.number, if piece.is_last { "" } else { "+" }));
            count = if piece.is_last { 0 } else { piece.number };
            rest = &rest[piece.taken..];
        }
        (found, rest.len())
    }

    #[test]
    fn lines_are_cut_only_where_they_are_too_long() {
        let some = |pieces: &[&str]| pieces.iter().map(|&piece| piece.to_owned()).collect();
        assert_eq!(pieces("a\n\n12345678\nrest", false), (some(&["0 a", "0 ", "0 12345678"]), 4));
        assert_eq!(pieces("123456789\nb\n", false), (some(&["1+ 12345678", "2 9", "0 b"]), 0));
        assert_eq!(pieces("1234567é\n", false), (some(&["1+ 1234567", "2 é"]), 0));
        assert_eq!(pieces("12345678", false), (some(&[]), 8));
        assert_eq!(pieces("12345678", true), (some(&["0 12345678"]), 0));
        assert_eq!(pieces("123456781234567812", true).0, ["1+ 12345678", "2+ 12345678", "3 12"]);
    }
}
