//! What the first process of a container has to do: processes whose parent ended become its
//! children, and stay in the process table until it waits for them.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;

use crate::exit::Exit;

/// The signals that the program gets, too.
const HANDED_ON: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];

/// As process 1: runs this same program as a child, hands signals on to it, waits for all children
/// that end, and gives the exit code of the program. As any other process: does nothing. Call it
/// first in `main`, after logging.
pub fn run_if_first() -> Option<ExitCode> {
    (std::process::id() == 1).then(|| {
        let code = again().and_then(|program| run(program, HANDED_ON));
        code.map_or_else(
            |error| {
                error!(%error, "cannot run as process 1");
                Exit::Internal.into()
            },
            ExitCode::from,
        )
    })
}

/// This same program, without its arguments. Its file may be another one by now, or gone: what is
/// new is for the next start.
///
/// # Errors
///
/// When the system does not say which file it is.
pub fn itself() -> io::Result<Command> {
    const RUNNING: &str = "/proc/self/exe";
    let file = std::env::current_exe()?;
    let mut program =
        Command::new(if Path::new(RUNNING).exists() { RUNNING.as_ref() } else { &*file });
    program.arg0(std::env::args_os().next().unwrap_or_else(|| file.into()));
    Ok(program)
}

/// Takes the program's name, as `ps` and `pgrep` show it: to the system a program that was started
/// as [`itself`] is called `exe`.
pub fn take_name() {
    if let Some(program) = std::env::args_os().next()
        && let Some(name) = Path::new(&program).file_name()
    {
        // Where there is no such file the name is right already.
        let _ = std::fs::write("/proc/self/comm", name.as_encoded_bytes());
    }
}

fn again() -> io::Result<Command> {
    let mut program = itself()?;
    program.args(std::env::args_os().skip(1));
    Ok(program)
}

/// Runs a program to its end, and takes away all dead children meanwhile.
fn run(mut program: Command, signals: impl IntoIterator<Item = Signal>) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut ended = signal(SignalKind::child())?;
        // What is typed at our terminal comes from us alone.
        let pid = program.process_group(0).spawn()?.id();
        let pid = Pid::from_raw(i32::try_from(pid).unwrap_or_default());
        let pid = pid.ok_or(io::ErrorKind::NotFound)?;
        for signal in signals {
            tokio::spawn(hand_on(signal, pid));
        }
        loop {
            while let Some((dead, status)) = wait(WaitOptions::NOHANG)? {
                if dead == pid {
                    return Ok(code_of(status));
                }
            }
            ended.recv().await;
        }
    })
}

async fn hand_on(wanted: Signal, to: Pid) {
    let Ok(mut received) = signal(SignalKind::from_raw(wanted.as_raw())) else { return };
    while received.recv().await.is_some() {
        let _ = kill_process(to, wanted);
    }
}

/// As a shell has it: 128 and the signal's number, for one that was killed.
fn code_of(status: WaitStatus) -> u8 {
    let killed_by = status.terminating_signal().map(|signal| signal + 128);
    let code = status.exit_status().or(killed_by).unwrap_or_default();
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn those_who_end_without_a_parent_are_taken_away_and_the_code_is_the_programs() {
        // As in a container, orphans become our children. No other test here has any.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        // One that is dead stands in /proc until it is taken away.
        let script = "orphan=$( (sh -c : >/dev/null & echo $!) ); \
                      while [ -e /proc/$orphan ]; do sleep 0.01; done; exit 7";
        assert_eq!(run(shell(script), []).unwrap(), 7);
        assert_eq!(run(shell("kill -9 $$"), []).unwrap(), 137);
    }
}
