//! The environment of a handler process: ours without our secrets, and a few variables more.

use std::{collections::BTreeSet, sync::Arc};

use service::Secret;
use tokio::process::Command;

use crate::config::{ExecConfig, ListenerConfig};

/// What is removed from our environment, and what is added.
#[derive(Clone, Debug)]
pub(in crate::handler) struct Environment {
    hidden: Arc<BTreeSet<String>>,
    set: Arc<Vec<(String, Secret)>>,
}

impl Environment {
    /// For a handler of the listener of this id. `hidden` are the variables that hold our secrets;
    /// the config of the handler may give it some of them.
    pub(in crate::handler) fn new(
        (id, listener): (&str, &ListenerConfig),
        exec: &ExecConfig,
        hidden: &BTreeSet<String>,
    ) -> Self {
        let own = [
            ("DBEVENT_LISTENER", id.to_owned()),
            ("DBEVENT_FULL_SYNC", listener.full_sync.to_string()),
        ];
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
