//! One process of the test: it can be killed, stopped for a while, given no room on its disk, and
//! started again.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::child::ROLE;
use crate::process::PROGRAM;

/// A process that is started again and again.
pub(super) struct Part {
    pub(super) name: String,
    directory: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    child: Option<Child>,
    is_over: bool,
}

impl Part {
    /// `event-log` with these arguments, which works in a directory.
    pub(super) fn program(name: &str, directory: &Path, arguments: &[&str]) -> Self {
        let program = std::iter::once(PROGRAM).chain(arguments.iter().copied());
        let arguments = program.map(str::to_owned).collect();
        let (name, directory) = (name.to_owned(), directory.to_owned());
        Self { name, directory, arguments, variables: Vec::new(), child: None, is_over: false }
    }

    /// This test binary with a role.
    pub(super) fn role(name: &str, directory: &Path, role: &str) -> Self {
        let arguments = role_arguments();
        let mut part = Self::program(name, directory, &[]);
        part.arguments = arguments;
        part.set(ROLE, role);
        part
    }

    pub(super) fn set(&mut self, variable: &str, value: impl ToString) {
        self.variables.retain(|(known, _)| known != variable);
        self.variables.push((variable.to_owned(), value.to_string()));
    }

    /// What it says in all its lives.
    pub(super) fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }

    pub(super) fn says(&self, text: &str) -> bool {
        std::fs::read_to_string(self.log()).unwrap_or_default().contains(text)
    }

    /// The end of what it printed, for who wants to know why it ended.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub(super) fn command(&self) -> Command {
        // A write past a limit of the size of files fails then, as on a full disk.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).args(&self.arguments);
        let log = OpenOptions::new().append(true).create(true).open(self.log());
        let log: File = log.unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        command.current_dir(&self.directory);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(super) fn start(&mut self) {
        self.child = Some(self.command().spawn().unwrap());
    }

    pub(super) fn take_over(&mut self, child: Child) {
        self.child = Some(child);
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(Pid::from_child)
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, signal);
        }
    }

    /// `kill -9`, and waits until it is dead.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Kills it for good: the test is over.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        self.kill();
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// How it ended, if it has; then it is gone.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    /// No file that it writes gets larger than this; `None`: as large as it likes.
    pub(super) fn limit_files(&self, bytes: Option<u64>) {
        let Some(pid) = self.pid() else { return };
        let soft = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let pid = pid.as_raw_nonzero().to_string();
        // It may be dead.
        let limit = format!("--fsize={soft}:");
        let _ =
            Command::new("prlimit").args(["--pid", &pid, &limit]).stderr(Stdio::null()).status();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn role_arguments() -> Vec<String> {
    let binary = std::env::current_exe().unwrap().display().to_string();
    let test = "chaos::child::plays_the_role_that_it_was_given";
    let arguments = [&*binary, "--exact", test, "--ignored", "--nocapture"];
    arguments.map(str::to_owned).to_vec()
}
