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

/// What a server says after that a token is missing or wrong: true of its own config.
const SET_TOKEN: &str = ": set it under `token`";
/// Where programs have tokens.
const TOKEN_PLACES: &str = "show the right one, from --token-file, the variable EVENT_LOG_TOKEN or \
                            `token` in the config";

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
    /// What to do about a token that the server does not take.
    token_from: String,
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
            token_from: TOKEN_PLACES.to_owned(),
        }
    }

    /// Says what to do about a token that the server does not take.
    pub(crate) fn with_token_from(mut self, from: &str) -> Self {
        from.clone_into(&mut self.token_from);
        self
    }

    /// Goes on with another token, or other certificates.
    pub(crate) fn use_client(&mut self, client: Client) {
        self.client = client;
    }

    pub(crate) fn state(&self) -> ReporterLink {
        self.state.borrow().clone()
    }

    /// Opens the producer; while the server lets it wait, the state says so.
    pub(crate) async fn open(&self) -> Result<(RemoteProducer, Checkpoint), Error> {
        let mut opening = Box::pin(self.client.open_producer(&self.stream, &self.producer));
        tokio::select! {
            opened = &mut opening => return opened.map_err(|error| self.explained(error)),
            () = tokio::time::sleep(SLOW_OPENING) => {}
        }
        let reason = format!(
            "no answer yet; if another process reports as {} to the stream {}, stop it, or give \
             one of them another producer name",
            self.producer, self.stream
        );
        self.show(ReporterLink::Waiting { since_ms: self.state().since_ms(), reason });
        opening.await.map_err(|error| self.explained(error))
    }

    /// The same, with what to do, where the server cannot know that.
    fn explained(&self, error: Error) -> Error {
        self.explanation(&error).map_or(error, Error::Refused)
    }

    fn explanation(&self, error: &Error) -> Option<String> {
        match error {
            Error::Unavailable(reason) => tls_trouble(reason),
            Error::Refused(reason) => {
                let problem = reason.strip_suffix(SET_TOKEN)?;
                Some(format!("{problem}: {}", self.token_from))
            }
            _ => None,
        }
    }

    pub(crate) fn connected(&self) {
        self.show(ReporterLink::Connected);
    }

    /// Tells that something failed, and that it will be tried again.
    pub(crate) fn failed(&self, error: &Error) {
        let since_ms = self.state().since_ms();
        let explanation = self.explanation(error);
        let is_refused = explanation.is_some() || needs_human(error);
        // Who shows a refusal says that it is one.
        let reason = match error {
            Error::Refused(reason) => explanation.unwrap_or_else(|| reason.clone()),
            error => explanation.unwrap_or_else(|| error.to_string()),
        };
        let reason = format!("{reason} (stream {} at {})", self.stream, self.client.address());
        self.show(match is_refused {
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

/// What to do about a connection that does not come about because of TLS, if that is the cause:
/// trying again does not help.
fn tls_trouble(reason: &str) -> Option<String> {
    let (_, remedy) = TLS_TROUBLES.iter().find(|(cause, _)| reason.contains(cause))?;
    Some(format!("{remedy} ({reason})"))
}

/// What libraries say, the first that fits, and what to do.
const TLS_TROUBLES: [(&str, &str); 10] = [
    (
        "frame with invalid size",
        "the server uses TLS, and this side does not: set caFile (--ca-file)",
    ),
    (
        "InvalidContentType",
        "the server does not use TLS, and this side does: leave out caFile (--ca-file)",
    ),
    (
        "CaUsedAsEndEntity",
        "the server shows the certificate of an authority as its own: give the server one with \
         basicConstraints CA:FALSE",
    ),
    (
        "UnknownIssuer",
        "the certificate of the server is not one of an authority in caFile (--ca-file): name the \
         file of the authority that signed it",
    ),
    (
        "not valid for name",
        "the certificate of the server is not for this address: use a name that stands in it",
    ),
    (
        "BadSignature",
        "the certificate of the server is not signed by the authority in caFile (--ca-file), which \
         has the same name: name the file of the one that signed it",
    ),
    ("certificate expired", "the certificate of the server is too old: renew it"),
    ("certificate not valid yet", "the certificate of the server is not valid yet: set the clocks"),
    (
        "invalid peer certificate",
        "the certificate of the server cannot be used: give the server another one",
    ),
    (
        "received fatal alert",
        "the server asks for another certificate of this side: set certFile and keyFile \
         (--cert-file, --key-file)",
    ),
];
