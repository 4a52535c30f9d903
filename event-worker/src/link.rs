//! How the supervisor and its listeners talk: JSON lines over a unix socket in the supervisor's
//! directory. The listener connects and says which listener it is. The supervisor answers with the
//! config to run. After that the listener sends reports, and the supervisor sends commands. When
//! the connection ends, each side knows that the other is gone, also after a `kill -9`.

use std::path::{Path, PathBuf};

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};

use crate::{
    environment::Moment,
    listener::{parking::command::ParkedCommand, status::Report},
};

/// No message is longer. The longest contains a config file.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// What a listener says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromListener {
    /// First of all: who it is.
    Hello { listener: String, pid: u32 },
    /// How it is.
    Report(Box<Report>),
}

/// What a supervisor says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToListener {
    /// First of all: what to run.
    Start(ListenerStart),
    /// Pause, or go on.
    Pause(bool),
    /// A number that changes when the topics of the bus change; sent after each look at the topics.
    Topics(u64),
    /// Retry now what waits after a failure.
    Retry,
    /// What a human wants of parked events.
    Parked(ParkedCommand),
    /// The lease ends at this moment, not earlier; `None` is never.
    Lease(Option<Moment>),
    /// Another environment takes over: stop, and keep no place in the group.
    Leave,
}

/// What a listener runs. The supervisor sends the config, so that a restarted listener runs the
/// config that was accepted, even if the file has changed since.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ListenerStart {
    /// The config file's name, for messages.
    pub(crate) file: PathBuf,
    /// Its text.
    pub(crate) text: String,
    pub(crate) paused: bool,
    /// The name of the member in its group: unique, and the same after a restart.
    pub(crate) instance: String,
    pub(crate) lease: Option<Moment>,
}

/// One end of the connection.
pub(crate) struct Link {
    lines: Framed<UnixStream, LinesCodec>,
}

impl Link {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { lines: Framed::new(stream, LinesCodec::new_with_max_length(MAX_MESSAGE_BYTES)) }
    }

    pub(crate) async fn connect(socket: &Path) -> std::io::Result<Self> {
        Ok(Self::new(UnixStream::connect(socket).await?))
    }

    /// The next message; `None` when the other side is gone or sends something else. Cancel-safe.
    pub(crate) async fn next<M: DeserializeOwned>(&mut self) -> Option<M> {
        serde_json::from_str(&self.lines.next().await?.ok()?).ok()
    }

    pub(crate) async fn send(&mut self, message: &impl Serialize) -> std::io::Result<()> {
        let line = serde_json::to_string(message)?;
        self.lines.send(line).await.map_err(|error| match error {
            LinesCodecError::Io(error) => error,
            LinesCodecError::MaxLineLengthExceeded => std::io::ErrorKind::FileTooLarge.into(),
        })
    }
}
