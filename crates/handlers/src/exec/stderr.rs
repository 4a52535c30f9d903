//! What a handler process writes to its standard error: all lines go to our log, and the last ones
//! are the reason when a call fails.
//!
//! Whether a line belongs to a failed call is known only at the end of the call. So lines wait for
//! a moment before they are logged: a traceback comes just before the end.

use std::{
    collections::VecDeque,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::io::ioctl_fionread;
use tokio::{
    io::{AsyncBufRead, BufReader},
    process::ChildStderr,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, Span, info, warn};

use super::line::{Line, read_line};

/// A longer line is logged in pieces.
const MAX_LINE_BYTES: usize = 8 << 10;

/// After so long without another line the waiting lines are logged, before the call has ended.
const HOLD: Duration = Duration::from_millis(500);

/// At most so many lines wait.
const MAX_HELD_LINES: usize = 100;

/// At most so many lines and bytes are shown as the reason of a failure.
const MAX_SAID_LINES: usize = 20;
const MAX_SAID_BYTES: usize = 2 << 10;

/// How long we still read the standard error of a killed process: a descendant that escaped may
/// keep the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// All that a running process wrote before its answer is in the pipe by then, or was read. So long
/// we wait for our reader at most, and so long between two looks.
const ON_ITS_WAY: Duration = Duration::from_millis(20);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The standard error of a process. When this is dropped, the process counts as killed.
pub(super) struct Stderr {
    lines: SharedLines,
    /// All was read.
    over: CancellationToken,
    /// The pipe once more, to ask what is still in it; `None` where the system gives no more files.
    pipe: Option<OwnedFd>,
    _alive: DropGuard,
}

type SharedLines = Arc<Mutex<StderrLines>>;

struct StderrLines {
    lane: usize,
    /// Not logged yet.
    held: VecDeque<String>,
    /// The last lines of this call, logged or not.
    last: VecDeque<String>,
    has_failed: bool,
}

impl Stderr {
    pub(super) fn read(pipe: ChildStderr, lane: usize) -> Self {
        let (ended, over) = (CancellationToken::new(), CancellationToken::new());
        let lines = Arc::new(Mutex::new(StderrLines::of(lane)));
        let again = pipe.as_fd().try_clone_to_owned().ok();
        let reading = read_until_ended(pipe, Arc::clone(&lines), (ended.clone(), over.clone()));
        tokio::spawn(reading.instrument(Span::current()));
        Self { lines, over, pipe: again, _alive: ended.drop_guard() }
    }

    /// A call begins: earlier lines belong to earlier calls.
    pub(super) fn begin_call(&self) {
        let mut lines = lock(&self.lines);
        lines.log();
        lines.last.clear();
    }

    /// A call failed, and the process goes on. Gives the last lines.
    pub(super) async fn call_failed(&self) -> Option<String> {
        let _ = timeout(ON_ITS_WAY, self.is_read()).await;
        let mut lines = lock(&self.lines);
        lines.has_failed = true;
        lines.log();
        lines.has_failed = false;
        lines.said()
    }

    /// Waits until our reader has taken what is in the pipe.
    async fn is_read(&self) {
        loop {
            // What was taken a moment ago may not be a line yet.
            tokio::time::sleep(LOOK_EVERY).await;
            if self.pipe.as_ref().is_some_and(|pipe| ioctl_fionread(pipe) == Ok(0)) {
                return;
            }
        }
    }

    /// The process is dead after a failed call. Gives the last lines.
    pub(super) async fn last_words(&self) -> Option<String> {
        lock(&self.lines).has_failed = true;
        // A descendant that escaped may keep it open.
        let _ = timeout(LAST_WORDS, self.over.cancelled()).await;
        let mut lines = lock(&self.lines);
        lines.log();
        lines.said()
    }
}

impl StderrLines {
    fn of(lane: usize) -> Self {
        Self { lane, held: VecDeque::new(), last: VecDeque::new(), has_failed: false }
    }

    fn push(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        self.last.push_back(text.clone());
        let is_too_much = |last: &VecDeque<String>| {
            let bytes: usize = last.iter().map(String::len).sum();
            last.len() > MAX_SAID_LINES || (bytes > MAX_SAID_BYTES && last.len() > 1)
        };
        while is_too_much(&self.last) {
            self.last.pop_front();
        }
        self.held.push_back(text);
        if self.held.len() >= MAX_HELD_LINES {
            self.log();
        }
    }

    fn log(&mut self) {
        let lane = self.lane;
        for line in self.held.drain(..) {
            if self.has_failed {
                warn!(target: "handler", lane, "{line}");
            } else {
                info!(target: "handler", lane, "{line}");
            }
        }
    }

    /// The last lines, cut to what is shown.
    fn said(&mut self) -> Option<String> {
        let lines: Vec<String> = self.last.drain(..).collect();
        let text = lines.join("\n");
        let cut = text.len().saturating_sub(MAX_SAID_BYTES);
        let start = (cut..text.len()).find(|at| text.is_char_boundary(*at))?;
        Some(text[start..].to_owned())
    }
}

fn lock(lines: &SharedLines) -> MutexGuard<'_, StderrLines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads to the end of the pipe, or until a moment after the process was killed. Lines that no call
/// asks for are logged a little later.
async fn read_until_ended(
    pipe: ChildStderr,
    lines: SharedLines,
    (ended, over): (CancellationToken, CancellationToken),
) {
    let too_long = async {
        ended.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = read_lines(BufReader::new(pipe), &lines) => {}
        () = too_long => {}
    }
    over.cancel();
    tokio::time::sleep(HOLD).await;
    lock(&lines).log();
}

async fn read_lines(mut pipe: impl AsyncBufRead + Unpin, lines: &SharedLines) {
    loop {
        match line_or_quiet(&mut pipe, lines).await {
            Ok(Line::Whole(line) | Line::Piece(line)) => lock(lines).push(&line),
            Ok(Line::End(rest)) if !rest.is_empty() => return lock(lines).push(&rest),
            Ok(Line::End(_)) | Err(_) => return,
        }
    }
}

/// The next line. When it does not come soon, the lines before it are logged.
async fn line_or_quiet(
    pipe: &mut (impl AsyncBufRead + Unpin),
    lines: &SharedLines,
) -> std::io::Result<Line> {
    let line = read_line(pipe, MAX_LINE_BYTES);
    tokio::pin!(line);
    tokio::select! {
        biased;
        line = &mut line => return line,
        () = tokio::time::sleep(HOLD) => lock(lines).log(),
    }
    line.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_the_reason_and_never_more_than_is_shown() {
        let mut lines = StderrLines::of(0);
        assert_eq!(lines.said(), None);
        (0..30).for_each(|number| lines.push(format!("line {number}\n").as_bytes()));
        let said = lines.said().unwrap();
        assert!(said.starts_with("line 10\n") && said.ends_with("\nline 29"), "{said}");
        lines.push("ä".repeat(MAX_SAID_BYTES).as_bytes());
        let said = lines.said().unwrap();
        assert!(said.len() <= MAX_SAID_BYTES && said.starts_with('ä'), "{}", said.len());
    }
}
