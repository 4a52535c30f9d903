//! How the supervisor and its listeners talk: JSON lines over a unix socket in the supervisor's
//! directory. The listener connects and says which listener it is. The supervisor answers with the
//! config to run. After that the listener sends reports, and the supervisor sends commands. When
//! the connection ends, each side knows that the other is gone, also after a `kill -9`.

use std::path::{Path, PathBuf};

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};

use crate::listener::status::Report;

/// No message is longer; the longest carries a config file.
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
    /// Rest, or go on.
    Pause(bool),
    /// What stands for the topics of the bus, each time that they were looked at.
    Topics(u64),
    /// What waits after a failure is tried now.
    Retry,
}

/// What a listener runs. The supervisor hands the config over, so that a listener that is started
/// again runs what was accepted, whatever has become of the file since.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ListenerStart {
    /// The config file's name, for messages.
    pub(crate) file: PathBuf,
    /// Its text.
    pub(crate) text: String,
    pub(crate) paused: bool,
    /// The name of the group's member: the same after a restart, and nobody else's.
    pub(crate) instance: String,
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

    /// The next message; `None` when the other is gone or does not speak as we do. Cancel-safe.
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
