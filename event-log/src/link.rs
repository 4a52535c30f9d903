//! How a producer that reports for a long time holds on to its server: what it tells while that
//! does not go, and which troubles end by themselves.

use std::{fmt, time::Duration};

use service::{BackoffConfig, clock::now_ms};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::{Checkpoint, Client, Error, RemoteProducer};

/// The waits between attempts.
pub(crate) const RETRY: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(100), max: Duration::from_secs(10), factor: 2.0 };
/// After this the user is told that the server has not answered.
const SLOW_OPENING: Duration = Duration::from_secs(3);

/// How a reporter is connected to its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReporterLink {
    /// The server takes its records.
    Connected,
    /// It tries again by itself.
    Waiting {
        /// Since when, in milliseconds since the Unix epoch.
        since_ms: u64,
        /// What the last attempt met.
        reason: String,
    },
    /// Somebody has to change something. It tries again by itself, too.
    Refused {
        /// Since when, in milliseconds since the Unix epoch.
        since_ms: u64,
        /// What is wrong, and what to do.
        reason: String,
    },
}

impl ReporterLink {
    /// Since when records do not flow; now when they do.
    fn since_ms(&self) -> u64 {
        match self {
            Self::Connected => now_ms(),
            Self::Waiting { since_ms, .. } | Self::Refused { since_ms, .. } => *since_ms,
        }
    }

    fn reason(&self) -> &str {
        match self {
            Self::Connected => "",
            Self::Waiting { reason, .. } | Self::Refused { reason, .. } => reason,
        }
    }
}

impl fmt::Display for ReporterLink {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = now_ms().saturating_sub(self.since_ms()) / 1000;
        match self {
            Self::Connected => write!(out, "connected"),
            Self::Waiting { reason, .. } => write!(out, "waiting for {seconds}s: {reason}"),
            Self::Refused { reason, .. } => write!(out, "refused for {seconds}s: {reason}"),
        }
    }
}

/// A producer of a stream, and how it is connected.
#[derive(Debug)]
pub(crate) struct Link {
    client: Client,
    pub(crate) stream: String,
    pub(crate) producer: String,
    state: watch::Sender<ReporterLink>,
}

impl Link {
    pub(crate) fn new(client: Client, stream: &str, producer: &str) -> Self {
        let connecting =
            ReporterLink::Waiting { since_ms: now_ms(), reason: "it connects".to_owned() };
        Self {
            client,
            stream: stream.to_owned(),
            producer: producer.to_owned(),
            state: watch::Sender::new(connecting),
        }
    }

    pub(crate) fn state(&self) -> ReporterLink {
        self.state.borrow().clone()
    }

    /// Opens the producer; while the server lets it wait, the state says so.
    pub(crate) async fn open(&self) -> Result<(RemoteProducer, Checkpoint), Error> {
        let mut opening = Box::pin(self.client.open_producer(&self.stream, &self.producer));
        tokio::select! {
            opened = &mut opening => return opened,
            () = tokio::time::sleep(SLOW_OPENING) => {}
        }
        let reason = format!(
            "no answer yet; if another process reports as {} to the stream {}, stop it, or give \
             one of them another producer name",
            self.producer, self.stream
        );
        self.show(ReporterLink::Waiting { since_ms: self.state().since_ms(), reason });
        opening.await
    }

    pub(crate) fn connected(&self) {
        self.show(ReporterLink::Connected);
    }

    /// Tells that something failed, and that it will be tried again.
    pub(crate) fn failed(&self, error: &Error) {
        let since_ms = self.state().since_ms();
        let reason = format!("{error} (stream {} at {})", self.stream, self.client.address());
        self.show(match needs_human(error) {
            true => ReporterLink::Refused { since_ms, reason },
            false => ReporterLink::Waiting { since_ms, reason },
        });
    }

    /// Waits until somebody has to change something.
    pub(crate) async fn refused(&self) -> Error {
        let mut state = self.state.subscribe();
        let refused = |state: &ReporterLink| matches!(state, ReporterLink::Refused { .. });
        match state.wait_for(refused).await {
            Ok(state) => Error::Refused(state.reason().to_owned()),
            // Cannot be: the sender lives in `self`.
            Err(_) => Error::Unavailable("it ended".to_owned()),
        }
    }

    fn show(&self, now: ReporterLink) {
        let before = self.state.send_replace(now.clone());
        if std::mem::discriminant(&before) == std::mem::discriminant(&now)
            && before.reason() == now.reason()
        {
            return;
        }
        let (stream, producer) = (&self.stream, &self.producer);
        match now {
            ReporterLink::Connected => info!(stream, producer, "the server takes records"),
            ReporterLink::Waiting { reason, .. } => {
                warn!(stream, producer, reason, "records wait here; trying again");
            }
            ReporterLink::Refused { reason, .. } => {
                error!(stream, producer, reason, "records wait here until somebody changes this");
            }
        }
    }
}

/// Whether the same will not succeed before somebody changes something.
pub(crate) fn needs_human(error: &Error) -> bool {
    match error {
        Error::Refused(_)
        | Error::Rejected(_)
        | Error::Failed(_)
        | Error::Damaged { .. }
        | Error::Diverged(_)
        | Error::Poisoned(_)
        | Error::Io { .. }
        | Error::Held(_)
        | Error::Unusable { .. }
        | Error::Listen { .. }
        | Error::OffsetGone { .. }
        | Error::TakenBack { .. } => true,
        Error::Unavailable(_)
        | Error::NoStream(_)
        | Error::Full(_)
        | Error::Fenced(_)
        | Error::SequenceGap { .. }
        | Error::NotMember(_)
        | Error::GroupActive { .. } => false,
    }
}
