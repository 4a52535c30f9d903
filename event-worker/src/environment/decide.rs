//! Which environment runs a listener. No I/O and no clock.
//!
//! Of the environments that have a living node with this listener, the one with the highest
//! version runs the listener. Where versions are equal, the one with the lowest rank does: gray
//! must have a strictly greater version than production. The version of an environment is the
//! lowest of its nodes', so that no node runs older code than the environment that won by it.

use std::{cmp::Reverse, collections::BTreeMap};

use super::entry::NodeEntry;

/// An environment that can run a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contender {
    pub(crate) environment: String,
    pub(crate) rank: u32,
    pub(crate) version: u64,
}

/// The environments that can run a listener; the first one does.
pub(crate) fn contenders<'a>(
    listener: &str,
    living: impl IntoIterator<Item = &'a NodeEntry>,
) -> Vec<Contender> {
    let mut found: BTreeMap<&str, Contender> = BTreeMap::new();
    for node in living {
        let Some(offer) = node.offer(listener) else { continue };
        let one = found.entry(&node.environment).or_insert_with(|| Contender {
            environment: node.environment.clone(),
            rank: node.rank,
            version: offer.version,
        });
        one.rank = one.rank.min(node.rank);
        one.version = one.version.min(offer.version);
    }
    let mut contenders: Vec<Contender> = found.into_values().collect();
    contenders.sort_by_key(|one| (Reverse(one.version), one.rank));
    contenders
}

/// Why the first of these runs the listener, for people.
pub(crate) fn why(contenders: &[Contender]) -> String {
    let named = |one: &Contender| format!("{} has version {}", one.environment, one.version);
    match contenders {
        [] => "no living node has it".to_owned(),
        [alone] => format!("{}, and no other environment has it", named(alone)),
        [first, second, ..] if first.version == second.version => format!(
            "{} and {} both have version {}, and the rank of {} is lower",
            first.environment, second.environment, first.version, first.environment
        ),
        [first, second, ..] => format!("{}, {}", named(first), named(second)),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::entry::Offer, *};

    fn node(environment: &str, rank: u32, version: u64) -> NodeEntry {
        let offer = Offer { version, ..Offer::default() };
        let listeners = [("l".to_owned(), offer)].into();
        NodeEntry { environment: environment.into(), rank, listeners, ..NodeEntry::default() }
    }

    fn winner(nodes: &[NodeEntry]) -> Option<String> {
        contenders("l", nodes).into_iter().next().map(|one| one.environment)
    }

    #[test]
    fn gray_needs_a_greater_version_and_somebody_alone_runs_it() {
        let (production, gray) = (|version| node("production", 0, version), |v| node("gray", 1, v));
        let cases: [(&[NodeEntry], Option<&str>); 7] = [
            (&[], None),
            (&[gray(0)], Some("gray")),
            (&[production(7)], Some("production")),
            (&[production(1), gray(2)], Some("gray")),
            (&[production(2), gray(2)], Some("production")),
            (&[production(2), gray(1)], Some("production")),
            // In the middle of a deployment an environment counts by its oldest node.
            (&[production(1), production(3), gray(2)], Some("gray")),
        ];
        for (nodes, expected) in cases {
            assert_eq!(winner(nodes).as_deref(), expected, "{nodes:?}");
        }
        assert_eq!(winner(&[production(1), gray(2), gray(1)]).as_deref(), Some("production"));
    }

    #[test]
    fn a_node_that_leaves_counts_no_more_but_holds() {
        let mut gray = node("gray", 1, 2);
        let offer = Offer { version: 2, holds: true, leaves: true };
        gray.listeners.insert("l".to_owned(), offer);
        assert!(gray.holds("l"));
        assert_eq!(winner(&[node("production", 0, 1), gray]).as_deref(), Some("production"));
    }

    #[test]
    fn the_reason_names_versions_and_rank() {
        let all = [node("production", 0, 1), node("gray", 1, 2), node("canary", 2, 2)];
        let told = why(&contenders("l", &all));
        assert!(told.contains("gray and canary both have version 2"), "{told}");
        let told = why(&contenders("l", &all[..2]));
        assert_eq!(told, "gray has version 2, production has version 1");
        assert!(why(&contenders("l", &all[..1])).contains("no other environment has it"));
    }
}
