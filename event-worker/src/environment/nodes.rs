//! The nodes of all environments, as this node has seen them in the control table.

use std::{collections::BTreeMap, time::Duration};

use event_bus::ControlChange;
use tokio::time::Instant;
use tracing::warn;

use super::entry::{NODE_PREFIX, NodeEntry, Renewal};

/// A node that was not heard of for so long is forgotten, and its entry is removed.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// Another node.
#[derive(Clone, Debug)]
pub(crate) struct SeenNode {
    pub(crate) entry: NodeEntry,
    /// When its last renewal was seen, on our clock.
    pub(crate) seen: Instant,
    /// Another node has seen the lease end, or we did before a restart.
    pub(crate) is_over: bool,
}

impl SeenNode {
    pub(crate) fn ends(&self) -> Instant {
        match self.is_over {
            true => self.seen,
            false => self.seen + Duration::from_millis(self.entry.lease_ms),
        }
    }

    /// Whether it is alive for all that was written before `at`; without a time, whether nobody
    /// has told that its lease is over.
    pub(crate) fn lives(&self, at: Option<Instant>) -> bool {
        !self.is_over && at.is_none_or(|at| self.ends() >= at)
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
                self.0.insert(id.to_owned(), SeenNode { entry, seen: now, is_over: false });
            }
        }
        self.bury(ours.as_ref());
        ours
    }

    /// Takes over which leases have ended, from all who have seen that. It is said of one entry: a
    /// node that has renewed its lease since then lives.
    fn bury(&mut self, ours: Option<&NodeEntry>) {
        let told = self.0.values().map(|node| &node.entry).chain(ours);
        let gone: Vec<_> = told.flat_map(|entry| entry.gone.clone()).collect();
        for (id, last) in gone {
            if let Some(node) = self.0.get_mut(&id) {
                node.is_over |= node.entry.renewal() == last;
            }
        }
    }

    /// Those whose lease had ended before `at`, with the last entry of each.
    pub(crate) fn gone(&self, at: Option<Instant>) -> BTreeMap<String, Renewal> {
        let gone = self.0.iter().filter(|(_, node)| !node.lives(at));
        gone.map(|(id, node)| (id.clone(), node.entry.renewal())).collect()
    }

    /// Those that are alive for all that was written before `at`.
    pub(crate) fn living(&self, at: Instant) -> impl Iterator<Item = (&String, &SeenNode)> {
        self.0.iter().filter(move |(_, node)| node.lives(Some(at)))
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

    #[test]
    fn a_lease_that_another_has_seen_end_is_not_waited_for_until_it_is_renewed() {
        let (mut nodes, start) = (SeenNodes::default(), Instant::now());
        let gone = [("a".to_owned(), entry(7).renewal())].into();
        let teller = NodeEntry { gone, ..entry(1) };
        let told = (NodeEntry::key("b"), Some(teller.to_bytes().into()));
        nodes.take(vec![told, change("a", 7)], ("us", start));
        let living = |nodes: &SeenNodes| nodes.living(start).map(|(id, _)| id.clone()).collect();
        let only_the_teller: Vec<String> = living(&nodes);
        assert_eq!(only_the_teller, ["b"]);
        assert_eq!(nodes.gone(None).keys().collect::<Vec<_>>(), ["a"]);
        nodes.take(vec![change("a", 8)], ("us", start));
        let both: Vec<String> = living(&nodes);
        assert_eq!(both, ["a", "b"]);
    }
}
