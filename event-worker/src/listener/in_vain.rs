//! Calls that fail one after the other, and none succeeds.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use service::clock::now_ms;

use crate::handler::Failure;

/// A handler that has other events to do, and has done nothing for so long, is sick.
const MAX_IN_VAIN: Duration = Duration::from_secs(10);

/// Calls that failed, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InVain {
    /// When the first of them failed.
    pub(crate) since_ms: u64,
    pub(crate) calls: u64,
    /// How the last one failed.
    pub(crate) error: String,
}

impl InVain {
    /// One more call has failed.
    pub(super) fn note(known: &mut Option<Self>, failure: &Failure) {
        let first = || Self { since_ms: now_ms(), calls: 0, error: String::new() };
        let known = known.get_or_insert_with(first);
        known.calls += 1;
        known.error.clone_from(&failure.reason);
    }

    /// Whether this has lasted so long that the handler itself must be sick.
    pub(super) fn is_long(&self) -> bool {
        let longest = u64::try_from(MAX_IN_VAIN.as_millis()).unwrap_or(u64::MAX);
        now_ms() >= self.since_ms.saturating_add(longest)
    }
}
