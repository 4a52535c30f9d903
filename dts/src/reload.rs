//! Reads a changed config while `dts` runs: which tables are captured, and how they are sent.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use service::config::Mistakes;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    config::Config,
    error::{Error, Result},
};

/// The sections that take effect without a restart.
const TAKEN: [&str; 2] = ["capture", "fullSync"];

/// The sections that need a restart. (`start` counts only at the first start.)
const FIXED: [&str; 5] = ["name", "source", "xa", "bus", "listen"];

/// The result of a reload.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    /// The sections that changed, and are in force as soon as a transaction ends.
    pub taken: Vec<String>,
    /// The sections that take effect only when `dts` is started again.
    pub needs_restart: Vec<String>,
}

/// The config in force, and the file that it came from.
#[derive(Debug)]
pub struct Reloader {
    file: PathBuf,
    current: watch::Sender<Arc<Config>>,
}

impl Reloader {
    /// For a config that was read from a file.
    pub fn new(file: PathBuf, config: Config) -> Self {
        Self { file, current: watch::Sender::new(Arc::new(config)) }
    }

    /// The config in force, now and after each reload.
    pub fn config(&self) -> watch::Receiver<Arc<Config>> {
        self.current.subscribe()
    }

    /// Reads the file again.
    ///
    /// # Errors
    ///
    /// All mistakes of the file; then the old config stays in force.
    pub fn reload(&self) -> Result<Reloaded, Mistakes> {
        let fresh = Config::open(&self.file).inspect_err(|mistakes| {
            error!("the config is not reloaded, the old one stays in force: {mistakes}");
        })?;
        let mut reloaded = Reloaded::default();
        self.current.send_if_modified(|current| {
            let (next, done) = merge(current, fresh);
            let has_changed = !done.taken.is_empty();
            reloaded = done;
            *current = Arc::new(next);
            has_changed
        });
        let Reloaded { taken, needs_restart } = &reloaded;
        info!(?taken, "the config is reloaded");
        if !needs_restart.is_empty() {
            warn!("changes of {} take effect at the next start", needs_restart.join(", "));
        }
        Ok(reloaded)
    }

    /// Reloads at each SIGHUP, until `stop`.
    ///
    /// # Errors
    ///
    /// When the process cannot register for the signal.
    pub fn on_hangup(
        self: &Arc<Self>,
        stop: CancellationToken,
    ) -> Result<impl Future<Output = ()> + Send + use<>> {
        let failed = |error| Error::Internal(format!("cannot register for SIGHUP: {error}"));
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        let reloader = Arc::clone(self);
        Ok(async move {
            while stop.run_until_cancelled(hangup.recv()).await.flatten().is_some() {
                // The mistakes were already logged.
                let _ = reloader.reload();
            }
        })
    }
}

/// The config in force, with the sections of a fresh config that need no restart.
fn merge(current: &Config, fresh: Config) -> (Config, Reloaded) {
    let changed = |keys: &[&'static str]| -> Vec<String> {
        let is_changed = |key: &&&str| current.as_written.get(**key) != fresh.as_written.get(**key);
        keys.iter().filter(is_changed).map(|key| (*key).to_owned()).collect()
    };
    let reloaded = Reloaded { taken: changed(&TAKEN), needs_restart: changed(&FIXED) };
    let mut next = current.clone();
    for key in TAKEN {
        match fresh.as_written.get(key) {
            Some(written) => next.as_written.insert(key, written.clone()),
            None => next.as_written.remove(key),
        };
    }
    (next.capture, next.full_sync) = (fresh.capture, fresh.full_sync);
    (next, reloaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "name = 'a'\n[source]\nuser = 'u'\n[capture]\ntables = ['shop.*']\n";

    #[test]
    fn what_is_captured_is_taken_in_and_the_rest_waits_for_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("dts.toml");
        std::fs::write(&file, FIRST).unwrap();
        let reloader = Reloader::new(file.clone(), Config::open(&file).unwrap());
        let mut config = reloader.config();
        assert_eq!(reloader.reload().unwrap(), Reloaded::default());
        assert!(!config.has_changed().unwrap(), "nothing was changed");

        let text = FIRST.replace("'shop.*'", "'shop.*', 'more.*'").replace("'u'", "'v'");
        std::fs::write(&file, text + "[fullSync]\nparallel = 3\n").unwrap();
        for _ in 0..2 {
            let reloaded = reloader.reload().unwrap();
            assert_eq!(reloaded.needs_restart, ["source"]);
            let now = config.borrow_and_update().clone();
            assert!(now.capture.includes("more", "t") && now.full_sync.parallel == 3);
            assert_eq!(now.source.user, "u", "what is connected goes on so");
        }
        assert!(!config.has_changed().unwrap(), "the second time nothing was new");

        std::fs::write(&file, "name = 'a'\n").unwrap();
        assert!(reloader.reload().unwrap_err().to_string().contains("source.user"));
        assert!(!config.has_changed().unwrap());
    }
}
