//! The environment of a handler process: ours without our secrets, and a few variables more.

use std::{collections::BTreeSet, sync::Arc};

use service::Secret;
use tokio::process::Command;

use super::config::ExecConfig;

/// What is removed from our environment, and what is added.
#[derive(Clone, Debug)]
pub struct Environment {
    hidden: Arc<BTreeSet<String>>,
    set: Arc<Vec<(String, Secret)>>,
}

impl Environment {
    /// For a process of this config. `own` are variables that say whose handler it is. `hidden` are
    /// the variables that hold our secrets; the config of the handler may give it some of them.
    pub fn new(
        exec: &ExecConfig,
        own: impl IntoIterator<Item = (&'static str, String)>,
        hidden: &BTreeSet<String>,
    ) -> Self {
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), Secret::new(value)));
        let set = exec.environment.iter().cloned().chain(own).collect();
        Self { hidden: Arc::new(hidden.clone()), set: Arc::new(set) }
    }

    pub(super) fn give(&self, command: &mut Command, lane: usize) {
        for name in self.hidden.iter() {
            command.env_remove(name);
        }
        for (name, value) in self.set.iter() {
            command.env(name, value.expose());
        }
        command.env("DBEVENT_LANE", lane.to_string());
    }
}
