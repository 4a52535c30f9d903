//! On which bus the checkpoint was last. This is noted in the directory of `dts`, to notice when
//! the config names another bus, which has no checkpoint of this name.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use event_bus::{BusConfig, BusKind};
use serde::{Deserialize, Serialize};
use service::private;
use tracing::warn;

use crate::{
    config::Config,
    error::{Error, Result},
};

/// What is needed to find a bus again. It has no secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum LastBus {
    /// A log that `dts` hosts.
    EmbeddedLog {
        /// Its directory, as an absolute path.
        directory: PathBuf,
        /// Its stream.
        topic_prefix: String,
    },
    /// A log that another process hosts.
    Log {
        /// Its address.
        address: String,
        /// Its stream.
        topic_prefix: String,
    },
    /// Kafka.
    Kafka {
        /// Its bootstrap servers.
        address: String,
        /// The first part of its topics.
        topic_prefix: String,
    },
}

impl LastBus {
    fn of(config: &BusConfig) -> Self {
        let topic_prefix = config.topic_prefix.clone();
        match &config.kind {
            BusKind::Log(log) if log.embedded => {
                let directory = &log.storage.directory;
                let whole = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
                Self::EmbeddedLog { directory: whole, topic_prefix }
            }
            BusKind::Log(log) => Self::Log { address: log.address.clone(), topic_prefix },
            BusKind::Kafka(kafka) => Self::Kafka { address: kafka.address.clone(), topic_prefix },
        }
    }

    /// The bus that was noted; `None` if none was, or the note cannot be read.
    pub async fn noted(config: &Config) -> Option<Self> {
        let bytes = tokio::fs::read(path(config)).await.ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Notes the config's bus, once the checkpoint is on it.
    pub(crate) async fn note(config: &Config) {
        let now = Self::of(&config.bus);
        if Self::noted(config).await.as_ref() == Some(&now) {
            return;
        }
        let path = path(config);
        if let Err(error) = write(&path, &now) {
            warn!(
                path = %path.display(),
                %error,
                "cannot note on which bus the position is: if [bus] is changed later, dts will not \
                 notice that the new bus does not have its position"
            );
        }
    }

    /// Refuses to begin again if the checkpoint was on another bus.
    ///
    /// # Errors
    ///
    /// Refused, with the verb that takes the checkpoint over.
    pub(crate) async fn refuse_other(config: &Config) -> Result<()> {
        let now = Self::of(&config.bus);
        let Some(last) = Self::noted(config).await.filter(|last| *last != now) else {
            return Ok(());
        };
        let verb = match last {
            Self::EmbeddedLog { .. } => "dts position take-over",
            _ => "dts position take-over --from THE-EARLIER-CONFIG",
        };
        Err(Error::refused(
            format!(
                "there is no position of dts {} on {now}, but there was one on {last}: the changes \
                 in MySQL since that position would not be published",
                config.name
            ),
            format!(
                "run `{verb}` to go on from there (docs/kafka.md); or `dts position set latest` \
                 to begin with what comes next; or set [bus] as it was"
            ),
        ))
    }
}

impl fmt::Display for LastBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmbeddedLog { directory, topic_prefix } => {
                write!(f, "the log in {}, topicPrefix {topic_prefix}", directory.display())
            }
            Self::Log { address, topic_prefix } => {
                write!(f, "the log at {address}, topicPrefix {topic_prefix}")
            }
            Self::Kafka { address, topic_prefix } => {
                write!(f, "Kafka at {address}, topicPrefix {topic_prefix}")
            }
        }
    }
}

fn path(config: &Config) -> PathBuf {
    config.directory.join(format!("{}.bus.json", config.name))
}

/// After a crash there is the old file or the new one.
fn write(path: &Path, bus: &LastBus) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        private::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    private::write(&new, &serde_json::to_vec(bus)?)?;
    std::fs::rename(&new, path)
}
