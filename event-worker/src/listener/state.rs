//! What a listener is doing, in a word.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a listener is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ListenerState {
    /// It has not joined its group yet.
    #[default]
    Starting,
    /// It has joined, but other members have all partitions, or there are none yet.
    Standby,
    /// It works.
    Running,
    /// The handler fails for some events, which are tried again.
    Failing,
    /// So much is parked that it takes no more events.
    ParkingFull,
    /// A human paused it.
    Paused,
    /// The bus does not answer.
    BusAway,
    /// It finishes what is begun.
    Stopping,
    /// It cannot go on until a human changes something.
    Stopped,
    /// Its process has ended and is started again after a while.
    Restarting,
    /// Another environment runs it.
    Elsewhere,
}

impl ListenerState {
    /// Whether it works, or would work if there were events.
    pub(crate) fn is_moving(self) -> bool {
        matches!(self, Self::Running | Self::Standby)
    }
}

impl fmt::Display for ListenerState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Running => "running",
            Self::Failing => "failing",
            Self::ParkingFull => "parking-full",
            Self::Paused => "paused",
            Self::BusAway => "bus-away",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Restarting => "restarting",
            Self::Elsewhere => "elsewhere",
        })
    }
}
