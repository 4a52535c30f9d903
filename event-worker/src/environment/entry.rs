//! What a node tells the nodes of all environments: its entry in the bus's control table.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The keys of the entries begin with this; the node's id follows.
pub(crate) const NODE_PREFIX: &str = "node/";

/// A node, as it describes itself. It writes its entry again and again: that renews its lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodeEntry {
    pub(crate) environment: String,
    pub(crate) rank: u32,
    pub(crate) host: String,
    pub(crate) pid: u32,
    /// Another number for each start of the program.
    pub(crate) life: u64,
    /// Grows each time that the entry is written.
    pub(crate) beat: u64,
    pub(crate) lease_ms: u64,
    /// What it can run, by listener.
    pub(crate) listeners: BTreeMap<String, Offer>,
    /// The nodes whose lease it has seen end, by id, with the last entry of each: who starts later
    /// need not wait for these leases once more.
    pub(crate) gone: BTreeMap<String, Renewal>,
}

/// Which of a node's entries it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Renewal {
    pub(crate) life: u64,
    pub(crate) beat: u64,
}

/// A listener that a node can run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Offer {
    pub(crate) version: u64,
    /// The node runs the listener, or may begin at any moment: nodes of other environments must
    /// not run it.
    pub(crate) holds: bool,
    /// The node is about to give the listener up, whatever the others do.
    pub(crate) leaves: bool,
}

impl NodeEntry {
    pub(crate) fn key(id: &str) -> String {
        format!("{NODE_PREFIX}{id}")
    }

    pub(crate) fn renewal(&self) -> Renewal {
        Renewal { life: self.life, beat: self.beat }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Texts and numbers always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The offer of a listener, if it counts for who runs the listener.
    pub(crate) fn offer(&self, listener: &str) -> Option<Offer> {
        self.listeners.get(listener).copied().filter(|offer| !offer.leaves)
    }

    pub(crate) fn holds(&self, listener: &str) -> bool {
        self.listeners.get(listener).is_some_and(|offer| offer.holds)
    }
}
