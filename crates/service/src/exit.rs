//! The exit codes of every program (`docs/running.md`).

use std::process::ExitCode;

/// How a program ended, as its exit status tells a script or a service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The work is done, or a stop was asked for and carried out.
    Done,
    /// What was to be checked is not right (1).
    Wrong,
    /// The configuration or the command line is wrong (64, `EX_USAGE` of sysexits).
    Config,
    /// A service refused us, and will until a human changes something (69, `EX_UNAVAILABLE`).
    Refused,
    /// A bug, a damaged file, or a machine that fails (70, `EX_SOFTWARE`).
    Internal,
}

impl Exit {
    /// The number that the process exits with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Wrong => 1,
            Self::Config => 64,
            Self::Refused => 69,
            Self::Internal => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
