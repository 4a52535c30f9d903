//! Why the last run ended, for `dts status` while none runs: noted in the directory of `dts`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service::{clock::now_ms, private, why};
use tracing::warn;

use crate::{config::Config, error::Error};

/// The error that ended a run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastEnd {
    at_ms: u64,
    message: String,
}

impl LastEnd {
    /// Notes why this run ends.
    pub fn note(config: &Config, error: &Error) {
        let end = Self { at_ms: now_ms(), message: error.to_string() };
        // A number and a text always serialise.
        let bytes = serde_json::to_vec(&end).unwrap_or_default();
        let (path, folder) = (path(config), &config.directory);
        let written = private::create_dir_all(folder).and_then(|()| private::write(&path, &bytes));
        if let Err(error) = written {
            warn!(path = %path.display(), %error, "cannot note why dts ends, for dts status");
        }
    }

    /// A run begins.
    pub fn forget(config: &Config) {
        // Mostly there is none.
        let _ = std::fs::remove_file(path(config));
    }

    /// Why the last run ended, if that was by an error; in words.
    pub fn noted(config: &Config) -> Option<String> {
        let bytes = std::fs::read(path(config)).ok()?;
        let Self { at_ms, message } = serde_json::from_slice(&bytes).ok()?;
        Some(format!("the last run ended at {} because {message}", why::time(at_ms)))
    }
}

fn path(config: &Config) -> PathBuf {
    config.directory.join(format!("{}.ended.json", config.name))
}
