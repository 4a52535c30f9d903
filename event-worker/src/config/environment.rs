//! `[environment]`: to which environment this node belongs, for a gray release.

use std::time::Duration;

use service::config::Section;

use super::group::{NAME_RULE, is_name};

/// The environment of nodes whose config names none.
const PRODUCTION: &str = "production";

/// The environments whose rank need not be written.
const KNOWN_RANKS: [(&str, u32); 2] = [(PRODUCTION, 0), ("gray", 1)];

/// The environment of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentConfig {
    /// Its name: all nodes of this name share the work.
    pub name: String,
    /// Of two environments with the same version of a listener, the one with the lower rank runs
    /// the listener.
    pub rank: u32,
    /// A node that is not heard of for so long counts as gone.
    pub lease: Duration,
    /// Whether the config names an environment. Otherwise the lease matters only while nodes of
    /// other environments are there.
    pub is_named: bool,
}

impl EnvironmentConfig {
    pub(super) fn read(section: &Section) -> Self {
        let name = section.or("name", PRODUCTION.to_owned());
        if !is_name(&name) {
            section.note("name", "cannot be the name of an environment", NAME_RULE);
        }
        let known = KNOWN_RANKS.iter().find(|(known, _)| *known == name);
        let written = section.optional::<u32>("rank");
        if written.is_none() && known.is_none() && !section.has("rank") {
            let remedy = "production has rank 0 and gray has rank 1: of two environments with the \
                          same version of a listener, the one with the lower rank runs it";
            section.note("rank", &format!("is missing for {name:?}"), remedy);
        }
        let rank = written.or(known.map(|(_, rank)| *rank)).unwrap_or_default();
        let is_named = section.has("name");
        Self { name, rank, lease: read_lease(section), is_named }
    }
}

fn read_lease(section: &Section) -> Duration {
    const MIN: Duration = Duration::from_secs(2);
    const MAX: Duration = Duration::from_mins(10);
    let lease = section.or("lease", Duration::from_secs(15));
    if !(MIN..=MAX).contains(&lease) {
        section.note("lease", "is out of range", "write a time from 2s to 10m");
    }
    lease.clamp(MIN, MAX)
}
