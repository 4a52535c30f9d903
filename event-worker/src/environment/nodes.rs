//! The nodes of all environments, as this node has seen them in the control table.

use std::{collections::BTreeMap, time::Duration};

use event_bus::ControlChange;
use tokio::time::Instant;
use tracing::warn;

use super::entry::{NODE_PREFIX, NodeEntry};

/// A node that was not heard of for so long is forgotten, and its entry is removed.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// Another node.
#[derive(Clone, Debug)]
pub(crate) struct SeenNode {
    pub(crate) entry: NodeEntry,
    /// When its last renewal was seen, on our clock.
    pub(crate) seen: Instant,
}

impl SeenNode {
    pub(crate) fn ends(&self) -> Instant {
        self.seen + Duration::from_millis(self.entry.lease_ms)
    }

    /// Whether it is alive for all that was written before `at`.
    fn lives(&self, at: Instant) -> bool {
        self.ends() >= at
    }
}

/// All nodes but this one, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeenNodes(BTreeMap<String, SeenNode>);

impl SeenNodes {
    /// Takes changes of the control table. Gives our own entry, if it is among them.
    pub(crate) fn take(
        &mut self,
        changes: Vec<ControlChange>,
        (own, now): (&str, Instant),
    ) -> Option<NodeEntry> {
        let mut ours = None;
        for (key, value) in changes {
            let Some(id) = key.strip_prefix(NODE_PREFIX) else { continue };
            let Some(value) = value else {
                self.0.remove(id);
                continue;
            };
            let entry: NodeEntry = match serde_json::from_slice(&value) {
                Ok(entry) => entry,
                Err(error) => {
                    warn!(node = id, %error, "the entry of a node cannot be read; it is ignored");
                    continue;
                }
            };
            if id == own {
                ours = Some(entry);
            } else if self.0.get(id).is_none_or(|known| known.entry != entry) {
                self.0.insert(id.to_owned(), SeenNode { entry, seen: now });
            }
        }
        ours
    }

    /// Those that are alive for all that was written before `at`.
    pub(crate) fn living(&self, at: Instant) -> impl Iterator<Item = (&String, &SeenNode)> {
        self.0.iter().filter(move |(_, node)| node.lives(at))
    }

    /// When the next of those that are alive now has to be heard of.
    pub(crate) fn next_end(&self, at: Instant) -> Option<Instant> {
        self.living(at).map(|(_, node)| node.ends()).min()
    }

    /// The keys of nodes that are gone for long. They are not given again.
    pub(crate) fn forget(&mut self, at: Instant) -> Vec<String> {
        let is_old = |_: &String, node: &mut SeenNode| node.ends() + FORGET_AFTER < at;
        self.0.extract_if(.., is_old).map(|(id, _)| NodeEntry::key(&id)).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &SeenNode)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(beat: u64) -> NodeEntry {
        NodeEntry { beat, lease_ms: 10_000, ..NodeEntry::default() }
    }

    fn change(id: &str, beat: u64) -> ControlChange {
        (NodeEntry::key(id), Some(entry(beat).to_bytes().into()))
    }

    #[test]
    fn a_node_lives_while_new_renewals_are_seen() {
        let (mut nodes, start) = (SeenNodes::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let living = |nodes: &SeenNodes, seconds| nodes.living(at(seconds)).count();
        assert_eq!(
            nodes.take(vec![change("us", 3), change("a", 1)], ("us", at(0))),
            Some(entry(3))
        );
        assert_eq!((living(&nodes, 10), living(&nodes, 11)), (1, 0));
        nodes.take(vec![change("a", 1)], ("us", at(9)));
        assert_eq!(living(&nodes, 11), 0, "the same entry once more is no renewal");
        nodes.take(vec![change("a", 2)], ("us", at(9)));
        assert_eq!((living(&nodes, 19), nodes.next_end(at(19))), (1, Some(at(19))));
        assert_eq!(nodes.forget(at(3600)), Vec::<String>::new());
        assert_eq!(nodes.forget(at(3620)), ["node/a"]);
        nodes.take(vec![change("a", 3), (NodeEntry::key("a"), None)], ("us", at(20)));
        assert_eq!(living(&nodes, 20), 0);
    }
}
