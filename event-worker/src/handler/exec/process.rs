//! One running handler process and its pipes.

use std::{
    io::ErrorKind,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, Span, info, warn};

use crate::handler::{answer::MAX_ANSWER_BYTES, program};

/// A longer line of its standard error is logged in pieces.
const MAX_LOG_LINE_BYTES: usize = 8 << 10;

/// How long a killed process is waited for. One that hangs in the kernel may take longer.
const DEATH_DEADLINE: Duration = Duration::from_secs(5);

/// How long the standard error of a killed process is still read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A handler process, the leader of a process group. Dropped, the whole group is killed.
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Lets the logging of its standard error end.
    _alive: DropGuard,
}

/// Why a call to a process failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("cannot start the handler {0:?}: {1}")]
    Start(String, std::io::Error),
    #[error("the handler ended ({0}) instead of answering")]
    Ended(ExitStatus),
    #[error("the handler closed its standard output instead of answering")]
    Closed,
    #[error("the handler did not answer within {0:?}, so it was killed")]
    TimedOut(Duration),
    #[error("{0}, so it was killed")]
    Rubbish(String),
    #[error("the pipes to the handler failed: {0}")]
    Pipe(#[from] std::io::Error),
}

impl Process {
    pub(super) fn start(
        command: &[String],
        listener: &str,
        lane: usize,
    ) -> Result<Self, CallError> {
        let (program, arguments) = command.split_first().map_or(("", &[][..]), |(a, b)| (a, b));
        let start_error = |error| CallError::Start(program.to_owned(), error);
        if program::find(program).is_none() {
            return Err(start_error(ErrorKind::NotFound.into()));
        }
        let mut child = program::mortal(program)
            .args(arguments)
            .env("DBEVENT_LISTENER", listener)
            .env("DBEVENT_LANE", lane.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(start_error)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(start_error(ErrorKind::BrokenPipe.into()));
        };
        widen(&stdin);
        let ended = CancellationToken::new();
        let log = log_until_ended(stderr, lane, ended.clone()).instrument(Span::current());
        tokio::spawn(log);
        Ok(Self { child, stdin, stdout: BufReader::new(stdout), _alive: ended.drop_guard() })
    }

    /// Sends a line and waits for one. Both at once: a process may answer before it has read all.
    pub(super) async fn exchange(&mut self, line: &[u8]) -> Result<Vec<u8>, CallError> {
        let write = async {
            self.stdin.write_all(line).await?;
            self.stdin.flush().await
        };
        match tokio::try_join!(write, read_line(&mut self.stdout, MAX_ANSWER_BYTES)) {
            Ok(((), Line::Whole(answer))) => Ok(answer),
            Ok(((), Line::Piece(_))) => Err(CallError::Rubbish(format!(
                "the handler's answer is longer than {MAX_ANSWER_BYTES} bytes"
            ))),
            Ok(((), Line::End(_))) => Err(self.why_ended().await),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(self.why_ended().await),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it has ended, or has written something that nobody asked for.
    pub(super) async fn spoke_unasked(&mut self) -> Option<&'static str> {
        tokio::select! {
            biased;
            read = self.stdout.fill_buf() => Some(match read {
                Ok(bytes) if !bytes.is_empty() => "the handler wrote more than one line per batch",
                _ => "the handler ended between two batches",
            }),
            () = std::future::ready(()) => None,
        }
    }

    /// A process that is ending keeps its own status when it is killed.
    async fn why_ended(&mut self) -> CallError {
        use std::os::unix::process::ExitStatusExt;
        self.kill_group();
        match self.child.wait().await {
            Ok(status) if status.signal() == Some(Signal::KILL.as_raw()) => CallError::Closed,
            Ok(status) => CallError::Ended(status),
            Err(error) => error.into(),
        }
    }

    /// Kills it and all that it started, and waits until it is dead.
    pub(super) async fn end(mut self) {
        self.kill_group();
        if tokio::time::timeout(DEATH_DEADLINE, self.child.wait()).await.is_err() {
            warn!("a killed handler process has not ended in {DEATH_DEADLINE:?}");
        }
    }

    /// Kills it and all that it started. Only while it is not reaped, for then no other group can
    /// have its number.
    fn kill_group(&self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Lets a pipe hold more than its 64 KiB, so that a large batch takes fewer changes of processes.
#[cfg(target_os = "linux")]
fn widen(pipe: &ChildStdin) {
    const PIPE_BYTES: usize = 256 << 10;
    // A user with very many pipes is refused more (pipe(7)): then this one stays as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
}

/// Only Linux lets us choose.
#[cfg(not(target_os = "linux"))]
fn widen(_: &ChildStdin) {}

/// A line, or as much of it as is allowed.
enum Line {
    Whole(Vec<u8>),
    Piece(Vec<u8>),
    /// No line break comes any more; what stood before the end.
    End(Vec<u8>),
}

async fn read_line(from: &mut (impl AsyncBufRead + Unpin), max: usize) -> std::io::Result<Line> {
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

/// Logs what the process writes to its standard error: to the end of it, or until a moment after
/// the process was killed, if a descendant that escaped keeps the pipe open.
async fn log_until_ended(stderr: ChildStderr, lane: usize, ended: CancellationToken) {
    let too_long = async {
        ended.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = log_lines(BufReader::new(stderr), lane) => {}
        () = too_long => {}
    }
}

async fn log_lines(mut stderr: BufReader<ChildStderr>, lane: usize) {
    let log = |line: &[u8]| {
        info!(target: "handler", lane, "{}", String::from_utf8_lossy(line).trim_end());
    };
    loop {
        match read_line(&mut stderr, MAX_LOG_LINE_BYTES).await {
            Ok(Line::Whole(line) | Line::Piece(line)) => log(&line),
            Ok(Line::End(rest)) if !rest.is_empty() => return log(&rest),
            Ok(Line::End(_)) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
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
