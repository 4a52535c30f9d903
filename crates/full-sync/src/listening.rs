//! To what a listener listens.

use serde::{Deserialize, Serialize};

/// What a listener gets, as it runs: said when it has got partitions, when its place in its group
/// is fixed. All else it passes over and does not come back to, so rows of other tables must not
/// be sent to it, even if its config has them since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listening {
    /// Globs over schema and table; empty for all tables.
    pub subscribe: Vec<(String, String)>,
    /// Since when it gets all of these, in milliseconds since 1970: when it was first said, or
    /// last said to be less than before.
    pub at_ms: u64,
}

impl Listening {
    /// What a listener gets from now on, after what it was said to get.
    pub fn after(before: Option<&Self>, subscribe: &[(String, String)], now: u64) -> Self {
        let has_lost = |before: &&Self| match before.subscribe.as_slice() {
            [] => !subscribe.is_empty(),
            globs => !subscribe.is_empty() && globs.iter().any(|glob| !subscribe.contains(glob)),
        };
        let kept = before.filter(|before| !has_lost(before));
        Self { subscribe: subscribe.to_vec(), at_ms: kept.map_or(now, |before| before.at_ms) }
    }

    /// The key of a listener's in the control table.
    pub fn key(listener: &str) -> String {
        format!("{}{listener}", super::LISTENING_PREFIX)
    }

    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Texts, numbers and lists always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// When the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(before: &[(&str, &str)], now: &[(&str, &str)]) -> u64 {
        let globs = |of: &[(&str, &str)]| -> Vec<(String, String)> {
            of.iter().map(|(schema, table)| ((*schema).into(), (*table).into())).collect()
        };
        let before = Listening { subscribe: globs(before), at_ms: 1 };
        let after = Listening::after(Some(&before), &globs(now), 2);
        assert_eq!(after.subscribe, globs(now));
        after.at_ms
    }

    #[test]
    fn a_listener_gets_its_tables_since_it_last_lost_one() {
        let (item, all) = (("s", "item"), ("s", "*"));
        assert_eq!(Listening::after(None, &[], 2).at_ms, 2);
        assert_eq!(after(&[item], &[item]), 1);
        assert_eq!(after(&[item], &[all, item]), 1, "it gets more");
        assert_eq!(after(&[item], &[]), 1, "it gets all");
        assert_eq!(after(&[], &[item]), 2);
        assert_eq!(after(&[all, item], &[item]), 2);
    }
}
