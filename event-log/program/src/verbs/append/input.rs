//! Standard input, as it comes, and the lines in it.

use std::io::{self, ErrorKind, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

/// No line is longer, without its line feed.
const MAX_LINE_BYTES: usize = 16 << 20;
const READ_BYTES: usize = 64 << 10;
/// Chunks that were read and are not taken yet.
const MAX_CHUNKS: usize = 4;

/// Standard input, read by a thread of its own: a read that waits cannot be stopped, and must not
/// hold up the end of the program.
pub(super) struct Input {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
}

impl Input {
    pub(super) fn start() -> Self {
        let (sender, chunks) = mpsc::channel(MAX_CHUNKS);
        std::thread::spawn(move || read(&sender));
        Self { chunks }
    }

    /// Waits for what comes next; nothing at the end.
    pub(super) async fn next(&mut self) -> io::Result<Bytes> {
        self.chunks.recv().await.unwrap_or(Ok(Bytes::new()))
    }
}

fn read(to: &mpsc::Sender<io::Result<Bytes>>) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let chunk = match io::stdin().lock().read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => Ok(Bytes::copy_from_slice(buffer.get(..bytes).unwrap_or_default())),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_over = chunk.is_err();
        if to.blocking_send(chunk).is_err() || is_over {
            return;
        }
    }
}

/// What was read, and is no whole line yet.
#[derive(Default)]
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    /// Lines before this were taken.
    start: usize,
    /// There is no line feed between `start` and this.
    searched: usize,
}

impl LineBuffer {
    pub(super) fn add(&mut self, chunk: &[u8]) {
        self.bytes.drain(..self.start);
        (self.searched, self.start) = (self.searched - self.start, 0);
        self.bytes.extend_from_slice(chunk);
    }

    /// The next line, without its line feed. When it is the end of the input, the last line needs
    /// none.
    ///
    /// # Errors
    ///
    /// When the line is too long.
    pub(super) fn next_line(&mut self, is_end: bool) -> Result<Option<Vec<u8>>, String> {
        let found = memchr::memchr(b'\n', &self.bytes[self.searched..]);
        let end = found.map_or(self.bytes.len(), |at| self.searched + at);
        if end - self.start > MAX_LINE_BYTES {
            return Err(format!("is longer than {} MiB", MAX_LINE_BYTES >> 20));
        }
        let line = self.bytes[self.start..end].to_vec();
        (self.start, self.searched) = match found {
            Some(_) => (end + 1, end + 1),
            None if is_end && !line.is_empty() => (end, end),
            None => {
                self.searched = end;
                return Ok(None);
            }
        };
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_however_they_come() {
        let text = b"one\n\nthree\xff\nlast";
        for size in 1..text.len() {
            let (mut buffer, mut lines) = (LineBuffer::default(), Vec::new());
            for chunk in text.chunks(size) {
                buffer.add(chunk);
                while let Some(line) = buffer.next_line(false).unwrap() {
                    lines.push(line);
                }
            }
            while let Some(line) = buffer.next_line(true).unwrap() {
                lines.push(line);
            }
            assert_eq!(lines, [&b"one"[..], b"", b"three\xff", b"last"], "{size}");
        }
    }

    #[test]
    fn a_line_that_never_ends_is_refused() {
        let mut buffer = LineBuffer::default();
        buffer.add(&vec![b'x'; MAX_LINE_BYTES]);
        assert_eq!(buffer.next_line(false), Ok(None));
        buffer.add(b"x");
        assert_eq!(buffer.next_line(false).unwrap_err(), "is longer than 16 MiB");
    }
}
