//! Reads lines from a process, up to a maximal length.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// A line, or as much of it as is allowed.
pub(super) enum Line {
    Whole(Vec<u8>),
    Piece(Vec<u8>),
    /// The input has ended: what came after the last line break.
    End(Vec<u8>),
}

/// Not cancel-safe: when dropped, it loses what it has read.
pub(super) async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    max: usize,
) -> std::io::Result<Line> {
    let mut line = Vec::new();
    loop {
        let bytes = from.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(Line::End(line));
        }
        let end = memchr::memchr(b'\n', bytes);
        let taken = end.unwrap_or(bytes.len()).min(max - line.len());
        line.extend_from_slice(&bytes[..taken]);
        if end == Some(taken) {
            from.consume(taken + 1);
            return Ok(Line::Whole(line));
        }
        from.consume(taken);
        if line.len() == max {
            return Ok(Line::Piece(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    async fn lines(text: &str, max: usize) -> Vec<String> {
        let mut from = BufReader::with_capacity(3, text.as_bytes());
        let mut lines = Vec::new();
        loop {
            let (kind, line) = match read_line(&mut from, max).await.unwrap() {
                Line::Whole(line) => ('=', line),
                Line::Piece(line) => ('+', line),
                Line::End(rest) if rest.is_empty() => return lines,
                Line::End(rest) => ('$', rest),
            };
            lines.push(format!("{kind}{}", String::from_utf8(line).unwrap()));
        }
    }

    #[tokio::test]
    async fn lines_are_read_across_buffers_and_long_ones_in_pieces() {
        assert_eq!(lines("true\n\nfalse\n", 8).await, ["=true", "=", "=false"]);
        assert_eq!(lines("123456\n9\n", 4).await, ["+1234", "=56", "=9"]);
        assert_eq!(lines("no end", 8).await, ["$no end"]);
    }
}
