//! To what a listener listens.

use serde::{Deserialize, Serialize};

/// What a listener gets, as it runs: said when it has got partitions, when its place in its group
/// is fixed. All else it passes over and does not come back to, so rows of other tables must not
/// be sent to it, even if its config has them since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listening {
    /// All of them: a table that fits none is not got.
    pub tables: Vec<Heard>,
}

/// Tables that a listener gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heard {
    /// A glob over schemas.
    pub schema: String,
    /// A glob over tables.
    pub table: String,
    /// Since when without a gap, in milliseconds since 1970.
    pub since_ms: u64,
}

impl Listening {
    /// What a listener gets from now on that subscribes to these globs over schema and table, none
    /// for all tables; and since when, after what it was said to get.
    pub fn after(before: Option<&Self>, subscribe: &[(String, String)], now: u64) -> Self {
        let before = before.map_or(&[][..], |before| &before.tables);
        let since = |schema: &str, table: &str| {
            let is_same = |heard: &&Heard| heard.schema == schema && heard.table == table;
            let all = || before.iter().find(|heard| heard.schema == "*" && heard.table == "*");
            before.iter().find(is_same).or_else(all).map_or(now, |heard| heard.since_ms)
        };
        let heard = |(schema, table): (&str, &str)| Heard {
            schema: schema.to_owned(),
            table: table.to_owned(),
            since_ms: since(schema, table),
        };
        let globs = subscribe.iter().map(|(schema, table)| (schema.as_str(), table.as_str()));
        let all = subscribe.is_empty().then_some(("*", "*"));
        Self { tables: globs.chain(all).map(heard).collect() }
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

    const ITEM: (&str, &str) = ("s", "item");
    const OTHER: (&str, &str) = ("s", "other");

    fn after(before: Option<&Listening>, subscribe: &[(&str, &str)], now: u64) -> Listening {
        let owned = subscribe.iter().map(|(schema, table)| ((*schema).into(), (*table).into()));
        Listening::after(before, &owned.collect::<Vec<_>>(), now)
    }

    fn since(listening: &Listening) -> Vec<(&str, u64)> {
        listening.tables.iter().map(|heard| (heard.table.as_str(), heard.since_ms)).collect()
    }

    #[test]
    fn each_table_is_got_since_it_was_not_for_the_last_time() {
        let first = after(None, &[ITEM], 1);
        assert_eq!(since(&after(Some(&first), &[ITEM, OTHER], 2)), [("item", 1), ("other", 2)]);
        let lost = after(Some(&first), &[OTHER], 2);
        assert_eq!(since(&after(Some(&lost), &[ITEM, OTHER], 3)), [("item", 3), ("other", 2)]);
    }

    #[test]
    fn whoever_gets_all_tables_gets_each() {
        let all = after(None, &[], 1);
        assert_eq!(since(&all), [("*", 1)]);
        assert_eq!(since(&after(Some(&all), &[ITEM], 2)), [("item", 1)]);
        assert_eq!(since(&after(Some(&all), &[], 2)), [("*", 1)]);
    }
}
