//! Why a listener, or the whole program, cannot go on.

use event_bus::Partition;
use service::{config::Mistakes, exit::Exit};

/// What ended it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config file is wrong.
    #[error("{0}")]
    Config(#[from] Mistakes),
    /// No such listener is in the config.
    #[error("listener {id} is not in {file}; it has: {known}")]
    UnknownListener {
        /// What was asked for.
        id: String,
        /// Where it was looked for.
        file: String,
        /// The ids that are there.
        known: String,
    },
    /// No listener of the config is in a group that was asked for.
    #[error("no listener of {file} is in the group {group}; the groups are: {known}")]
    UnknownListenerGroup {
        /// What was asked for.
        group: String,
        /// Where it was looked for.
        file: String,
        /// The groups that are there.
        known: String,
    },
    /// The handler of the listener is a Rust program, and this is another program.
    #[error(
        "the handler of listener {0} is \"program\": start your program, which calls the handler \
         itself"
    )]
    NoHandler(String),
    /// The client for HTTP cannot be made.
    #[error("cannot make an HTTP client: {0}")]
    HttpClient(#[from] reqwest::Error),
    /// The sink of a listener cannot be made.
    #[error("cannot make the sink: {0}")]
    Sink(String),
    /// The bus refused us, or lost what we need.
    #[error("{0}")]
    Bus(#[from] event_bus::Error),
    /// The bus takes longer than a caller waits.
    #[error("the bus did not answer within {0:?}")]
    SlowBus(std::time::Duration),
    /// A record that is not an event.
    #[error(
        "the record at offset {offset} of {topic} is not an event that we understand: {reason}"
    )]
    BadRecord {
        /// The record's topic.
        topic: String,
        /// Where it lies.
        partition: Partition,
        /// Its offset.
        offset: u64,
        /// What is wrong with it; nothing of its values.
        reason: String,
        /// How to continue after this record.
        remedy: String,
    },
    /// What was parked cannot be read.
    #[error(
        "the bus keeps an event that listener {listener} has parked, and it cannot be read: {problem}"
    )]
    ParkedUnreadable {
        /// Whose it is.
        listener: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A record was to be skipped, but the group waits at another one.
    #[error("only the record that the listener is at can be skipped: {stands}")]
    NotSkippable {
        /// Where the listener waits, in words.
        stands: String,
    },
    /// A handler panicked.
    #[error("the handler panicked; see the log")]
    HandlerPanicked,
    /// An address or a directory that we need is taken or forbidden.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No event-worker answers at the address of the config.
    #[error("no event-worker answers at {address}: {reason}")]
    NoAnswer {
        /// Where it was asked.
        address: service::Address,
        /// What happened instead of an answer.
        reason: String,
    },
    /// Something took the call at the address of the config, but did not answer.
    #[error("the event-worker at {0} does not answer")]
    Hangs(service::Address),
    /// The running event-worker refused the call.
    #[error("{message}")]
    ApiRefused {
        /// What it said.
        message: String,
        /// What it said to do.
        remedy: String,
    },
    /// A listener was stopped before a request was carried out.
    #[error("the listener was stopped, or its config changed, before that could be done")]
    ListenerStopped,
    /// A reset names a partition that does not exist.
    #[error("the listener has no {wanted}; it has: {known}")]
    UnknownPartition {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: String,
    },
    /// A listener that is still in the config cannot be forgotten.
    #[error("listener {0} is in the config, so it is not forgotten")]
    ListenerInConfig(String),
    /// The bus does not know the group.
    #[error("the bus knows no group of a listener {0}")]
    UnknownGroup(String),
    /// Standard input is not a batch.
    #[error("standard input is not a batch of events: {0}")]
    BadInput(String),
    /// The system does not know the user or group of the config, or we may not run as that user.
    #[error("[supervisor] {0}")]
    BadUser(String),
    /// The machine does not let the program start: a port, a directory, a user.
    #[error("{what}")]
    CannotStart {
        /// What is in the way.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// What the program in the background ended with; its log says why.
    #[error("event-worker did not start: {what}")]
    NotStarted {
        /// How it ended.
        what: String,
        /// How this program ends, too.
        exit: Exit,
    },
}

impl Error {
    /// An error of the operating system, and what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Something that keeps the program from starting, and what to do about it.
    pub(crate) fn cannot_start(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::CannotStart { what: what.into(), remedy: remedy.into() }
    }

    /// Whether trying again may help although nobody changes anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Bus(error) => error.is_transient(),
            Self::SlowBus(_) => true,
            _ => false,
        }
    }

    /// What a human can do about it.
    pub fn remedy(&self) -> &str {
        match self {
            Self::ApiRefused { remedy, .. } | Self::CannotStart { remedy, .. } => remedy,
            Self::UnknownListenerGroup { .. } => {
                "name one of these with -g; an event-worker whose group has no listener any more: \
                 stop it"
            }
            Self::BadUser(_) => {
                "create the user (useradd --system NAME), or correct user and userGroup"
            }
            Self::NotStarted { .. } => "see above",
            Self::ListenerStopped => "see its state (event-worker status), and try again",
            Self::UnknownPartition { .. } => "name one of these with --topic and --partition",
            Self::Config(_) | Self::UnknownListener { .. } => "correct the config file",
            Self::ListenerInConfig(_) => {
                "remove it from the config and reload, then forget it; to set it to another place: \
                 event-worker listener reset"
            }
            Self::NoHandler(_) => "or give the listener another kind of handler",
            Self::HttpClient(_) | Self::Sink(_) => "install the system's CA certificates",
            Self::Bus(error) => bus_remedy(error),
            Self::BadInput(_) => {
                "give a JSON array of events, or one event per line, as event-worker tail prints"
            }
            Self::UnknownGroup(_) => "see which there are: event-worker groups list",
            Self::SlowBus(_) => "see whether the bus works, and try again",
            Self::BadRecord { remedy, .. } => remedy,
            Self::ParkedUnreadable { .. } => {
                "run a version of event-worker that is not older than the one that parked it; see \
                 who else writes where the bus keeps it (on Kafka the topic PREFIX.parked.LISTENER)"
            }
            Self::NotSkippable { .. } => {
                "name the record that the listener's error or `failing` shows, in status and API; \
                 earlier records must be done or skipped first"
            }
            Self::HandlerPanicked => "fix the handler",
            Self::Io { .. } => "make it available, or name another one in the config",
            Self::NoAnswer { .. } => {
                "start it (scripts/startDbEventWorker.sh start), or name its config with --config, \
                 and its group of listeners with -g"
            }
            Self::Hangs(_) => {
                "its process hangs, or somebody stopped it (SIGSTOP): look at the process, and \
                 kill it if it does not go on; nothing is lost"
            }
        }
    }

    /// How the process ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotStarted { exit, .. } => *exit,
            Self::Config(_)
            | Self::UnknownListener { .. }
            | Self::UnknownListenerGroup { .. }
            | Self::BadUser(_)
            | Self::ListenerInConfig(_)
            | Self::BadInput(_)
            | Self::NoHandler(_) => Exit::Config,
            Self::Bus(event_bus::Error::Internal(_)) => Exit::Internal,
            Self::Bus(_)
            | Self::SlowBus(_)
            | Self::Io { .. }
            | Self::CannotStart { .. }
            | Self::NoAnswer { .. }
            | Self::Hangs(_)
            | Self::ApiRefused { .. }
            | Self::NotSkippable { .. }
            | Self::UnknownGroup(_)
            | Self::UnknownPartition { .. }
            | Self::ListenerStopped => Exit::Refused,
            Self::HttpClient(_)
            | Self::Sink(_)
            | Self::BadRecord { .. }
            | Self::ParkedUnreadable { .. }
            | Self::HandlerPanicked => Exit::Internal,
        }
    }
}

/// What to do about an error of the bus.
fn bus_remedy(error: &event_bus::Error) -> &'static str {
    match error {
        event_bus::Error::OffsetGone { .. }
        | event_bus::Error::TopicReplaced { .. }
        | event_bus::Error::Truncated { .. }
        | event_bus::Error::OffsetsExpired { .. } => {
            "nothing is skipped automatically: decide where this listener continues, with \
             `event-worker listener reset -t ID --to earliest` (or latest, a time, an offset; \
             --dry-run shows it); keep records longer (retention, maxBytes)"
        }
        event_bus::Error::GroupActive { .. } => {
            "stop it wherever it runs: the event-worker of this config stops it for the reset; \
             on other machines remove it from the config and reload; end a `listener -t` or a \
             program of your own"
        }
        event_bus::Error::Fenced(_) => {
            "only one process at a time may be this member: see whether another event-worker \
             runs with the same host name and [supervisor] directory; a leftover process \
             ends by itself"
        }
        error if error.is_transient() => {
            "start the bus (dts, where it hosts the log); the listener waits for it"
        }
        _ => "see [bus] in the config: address, token, certificate",
    }
}
