//! One running handler process and its pipes.
//!
//! It must be certain which batch a line answers, although the line may be just `true`. So a line
//! is the answer only between two things that the process does: first the process reads the whole
//! batch; after the line the process reads again, without writing more. To see that a process
//! reads, we give it the first byte of the next batch early. That byte is always `[`.

use std::{
    io::ErrorKind,
    os::fd::AsFd,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use handler::{Failure, MAX_ANSWER_BYTES, shown};
use rustix::{
    io::ioctl_fionread,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout},
    time::{Instant, timeout},
};
use tracing::warn;

use super::{
    environment::Environment,
    line::{Line, read_line},
    stderr::Stderr,
};
use crate::program;

/// How long we wait for a killed process. A process that hangs in the kernel may take longer.
const DEATH_DEADLINE: Duration = Duration::from_secs(5);

/// How long a process that has closed its standard output may take to end by itself.
const END_DEADLINE: Duration = Duration::from_millis(200);
const END_LOOK: Duration = Duration::from_millis(2);

/// The first byte of every batch.
const FIRST_BYTE: &[u8] = b"[";

/// A process may answer before it has read the line break at the end of its batch.
const LINE_BREAK_BYTES: u64 = 1;

/// How often we look without a pause whether a process reads. After that there are pauses.
const QUICK_LOOKS: u32 = 50;

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// A handler process, the leader of a process group. Dropped, the whole group is killed.
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: Stderr,
    /// It has got the first byte of the next batch.
    has_first_byte: bool,
}

/// What a process does after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It waits for the next batch.
    ReadsOn,
    /// It has ended with success.
    Ended,
}

/// What a process does when the first byte of a batch is in its pipe.
enum NextMove {
    /// The process has read the byte: it waits for the rest.
    Reads,
    Writes(Vec<u8>),
    Ends(CallError),
}

/// Why a call to a process failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("cannot start the handler {0:?}: {1}")]
    Start(String, std::io::Error),
    /// It failed before it had read anything of its first batch.
    #[error("{0}")]
    AtStart(Box<CallError>),
    #[error("the handler ended ({0}) instead of answering")]
    Ended(ExitStatus),
    #[error("the handler closed its standard output instead of answering")]
    Closed,
    #[error("the handler did not answer within {0:?}, so it was killed")]
    TimedOut(Duration),
    #[error(
        "the handler answered, but did not read on within {0:?}, so it was killed: answer last, \
         then read the next batch"
    )]
    NotReading(Duration),
    #[error(
        "the handler wrote a line before it had read its batch, so it was killed: answer each \
         batch with one line, after the work, and write everything else to standard error"
    )]
    Early(Vec<u8>),
    #[error(
        "the handler wrote more than one line for a batch, so it was killed: answer each batch \
         with one line, and write everything else to standard error"
    )]
    SecondLine(Vec<u8>),
    #[error("the handler ended with a failure after its answer ({0})")]
    EndedAfter(ExitStatus),
    #[error("the handler's answer is longer than {MAX_ANSWER_BYTES} bytes, so it was killed")]
    TooLong,
    #[error("{}; it was killed", .0.reason)]
    Rubbish(Failure),
    #[error("the pipes to the handler failed: {0}")]
    Pipe(#[from] std::io::Error),
}

impl CallError {
    /// The failure of a call, with what the process said last on its standard error.
    pub(super) fn into_failure(self, last_words: Option<String>) -> Failure {
        if let Self::AtStart(error) = self {
            return Failure { is_unclear: true, ..error.into_failure(last_words) };
        }
        let is_about_events = matches!(self, Self::Ended(_) | Self::Closed | Self::TimedOut(_));
        let failure = Failure { is_unclear: !is_about_events, ..Failure::new(self.to_string()) };
        let written = match self {
            Self::Early(line) | Self::SecondLine(line) => Some(shown(&line)),
            Self::Rubbish(failure) => failure.said,
            _ => None,
        };
        let said: Vec<String> = written.into_iter().chain(last_words).collect();
        Failure { said: (!said.is_empty()).then(|| said.join("\n")), ..failure }
    }
}

impl Process {
    pub(super) fn start(
        command: &[String],
        environment: &Environment,
        lane: usize,
    ) -> Result<Self, CallError> {
        let (program, arguments) = command.split_first().map_or(("", &[][..]), |(a, b)| (a, b));
        let start_error = |error| CallError::Start(program.to_owned(), error);
        if program::find(program).is_none() {
            return Err(start_error(ErrorKind::NotFound.into()));
        }
        let mut process = program::mortal(program);
        environment.give(&mut process, lane);
        let mut child = process
            .args(arguments)
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
        let (stdout, stderr) = (BufReader::new(stdout), Stderr::read(stderr, lane));
        Ok(Self { child, stdin, stdout, stderr, has_first_byte: false })
    }

    /// Sends a batch, which is one line, and waits for one line. Does both at the same time:
    /// otherwise a process that writes before it reads would block us for ever.
    pub(super) async fn exchange(&mut self, batch: &[u8]) -> Result<Vec<u8>, CallError> {
        self.stderr.begin_call();
        let rest = if self.has_first_byte { &batch[FIRST_BYTE.len()..] } else { batch };
        self.has_first_byte = false;
        let (line, is_early) = self.send_and_read(rest).await?;
        match line {
            Line::Whole(line) if is_early || unread(&self.stdin)? > LINE_BREAK_BYTES => {
                Err(CallError::Early(line))
            }
            Line::Whole(line) => Ok(line),
            Line::Piece(_) => Err(CallError::TooLong),
            Line::End(_) => Err(self.why_ended().await),
        }
    }

    /// The line that the process writes, and whether the line came before all was sent.
    async fn send_and_read(&mut self, bytes: &[u8]) -> std::io::Result<(Line, bool)> {
        let write = async {
            self.stdin.write_all(bytes).await?;
            self.stdin.flush().await
        };
        let read = read_line(&mut self.stdout, MAX_ANSWER_BYTES);
        tokio::pin!(write, read);
        tokio::select! {
            biased;
            written = &mut write => match written {
                Ok(()) => Ok((read.await?, false)),
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    Ok((Line::End(Vec::new()), false))
                }
                Err(error) => Err(error),
            },
            line = &mut read => Ok((line?, true)),
        }
    }

    /// Waits until a new process waits for its first batch.
    pub(super) async fn begins_to_read(&mut self) -> Result<(), CallError> {
        match self.next_move().await? {
            NextMove::Reads => Ok(()),
            NextMove::Writes(line) => Err(CallError::Early(line)),
            NextMove::Ends(how) => Err(how),
        }
    }

    /// Waits until the process reads again after an answer, or ends.
    pub(super) async fn reads_on(&mut self) -> Result<Then, CallError> {
        match self.next_move().await? {
            NextMove::Reads => Ok(Then::ReadsOn),
            NextMove::Writes(line) => Err(CallError::SecondLine(line)),
            NextMove::Ends(CallError::Ended(status)) if status.success() => Ok(Then::Ended),
            NextMove::Ends(CallError::Ended(status)) => Err(CallError::EndedAfter(status)),
            NextMove::Ends(how) => Err(how),
        }
    }

    /// Whether the process is new: it has got no byte of a batch.
    pub(super) fn is_new(&self) -> bool {
        !self.has_first_byte
    }

    /// Sends the first byte of a batch, and waits for what the process does.
    async fn next_move(&mut self) -> std::io::Result<NextMove> {
        match self.stdin.write_all(FIRST_BYTE).await {
            Ok(()) => self.has_first_byte = true,
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                return Ok(NextMove::Ends(self.why_ended().await));
            }
            Err(error) => return Err(error),
        }
        for looks in 0.. {
            tokio::select! {
                biased;
                read = self.stdout.fill_buf() => {
                    let line = read?.to_owned();
                    if line.is_empty() {
                        return Ok(NextMove::Ends(self.why_ended().await));
                    }
                    return Ok(NextMove::Writes(line));
                }
                () = pause(looks) => {}
            }
            // A process that it started may hold its standard output open.
            if looks > QUICK_LOOKS && self.has_ended() {
                return Ok(NextMove::Ends(self.why_ended().await));
            }
            // What it wrote before it read is in the pipe by now.
            if unread(&self.stdin)? == 0 && unread(self.stdout.get_ref())? == 0 {
                break;
            }
        }
        Ok(NextMove::Reads)
    }

    /// Why it cannot take the next batch, if so: it has ended, or has written a line without a
    /// batch.
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

    /// What the process wrote to its standard error during a failed call.
    pub(super) async fn last_words(&self) -> Option<String> {
        self.stderr.call_failed().await
    }

    /// A process that is just ending keeps its own exit status when it is killed.
    async fn why_ended(&mut self) -> CallError {
        use std::os::unix::process::ExitStatusExt;
        let give_up = Instant::now() + END_DEADLINE;
        while !self.has_ended() && Instant::now() < give_up {
            tokio::time::sleep(END_LOOK).await;
        }
        self.kill_group();
        match self.child.wait().await {
            Ok(status) if status.signal() == Some(Signal::KILL.as_raw()) => CallError::Closed,
            Ok(status) => CallError::Ended(status),
            Err(error) => error.into(),
        }
    }

    /// Kills the process and all that it started, and waits until it is dead. Gives the last lines
    /// of its standard error.
    pub(super) async fn end(mut self) -> Option<String> {
        self.kill_group();
        if timeout(DEATH_DEADLINE, self.child.wait()).await.is_err() {
            warn!("a killed handler process has not ended in {DEATH_DEADLINE:?}");
        }
        self.stderr.last_words().await
    }

    /// Whether the process has ended. This does not reap the process.
    fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.pid().is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), look), Ok(None)))
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }

    /// Kills the process and all that it started. Only before the process is reaped: until then no
    /// other group can have its number.
    fn kill_group(&self) {
        if let Some(group) = self.pid() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Makes a pipe larger than its 64 KiB, so that a large batch needs fewer context switches.
#[cfg(target_os = "linux")]
fn widen(pipe: &ChildStdin) {
    const PIPE_BYTES: usize = 256 << 10;
    // The kernel refuses this to a user with very many pipes (pipe(7)). Then the size stays.
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
}

/// Only Linux can change the size.
#[cfg(not(target_os = "linux"))]
fn widen(_: &ChildStdin) {}

/// How many bytes of a pipe are unread.
fn unread(pipe: impl AsFd) -> std::io::Result<u64> {
    Ok(ioctl_fionread(pipe)?)
}

/// The time between two looks.
async fn pause(looks: u32) {
    if looks < QUICK_LOOKS {
        // The process may wait for the core that we run on.
        std::thread::yield_now();
        return tokio::task::yield_now().await;
    }
    let longer = Duration::from_millis(u64::from(looks - QUICK_LOOKS) + 1);
    tokio::time::sleep(longer.min(MAX_PAUSE)).await;
}
