//! Transactions that were published and are lost in the source, and the full syncs that correct
//! this.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The command that sends the tables of a listener; the listener's id replaces the last word.
const FULL_SYNC: &str = "event-worker full-sync start -t LISTENER";

/// Transactions that we had read and that no server has any more, and whose loss was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// The transactions.
    pub gtid_set: String,
    /// The captured tables that the transactions changed, as `schema.table`, as far as known.
    pub tables: Vec<String>,
    /// Whether all these tables are known.
    pub all_tables_known: bool,
    /// When the loss was accepted, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Loss {
    /// The commands that send the lost rows again, for each listener of these tables. If the tables
    /// are not known: a command for all tables of a listener.
    pub fn full_syncs(&self) -> Vec<String> {
        if !self.all_tables_known {
            return vec![FULL_SYNC.to_owned()];
        }
        self.tables.iter().map(|table| full_sync_of(table)).collect()
    }

    /// In the form that `/api/v1/status` shows.
    pub(crate) fn to_json(&self) -> Value {
        let Self { gtid_set, tables, all_tables_known, at_ms } = self;
        json!({
            "gtidSet": gtid_set,
            "tables": tables,
            "allTablesKnown": all_tables_known,
            "atMs": at_ms,
            "fullSyncs": self.full_syncs(),
        })
    }
}

/// The command that sends a table, given as `schema.table`, to a listener again.
pub(crate) fn full_sync_of(table: &str) -> String {
    format!("{FULL_SYNC} {}", shell_word(table))
}

/// A name in a form that a shell takes unchanged.
fn shell_word(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.bytes().all(is_plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_is_proposed_or_all_if_they_are_not_known() {
        let tables = ["shop.item", "shop.order$ d'été"].map(str::to_owned).to_vec();
        let known = Loss { gtid_set: String::new(), tables, all_tables_known: true, at_ms: 1 };
        let proposed = [
            "event-worker full-sync start -t LISTENER shop.item",
            r"event-worker full-sync start -t LISTENER 'shop.order$ d'\''été'",
        ];
        assert_eq!(known.full_syncs(), proposed);
        assert_eq!(known.to_json()["fullSyncs"], json!(proposed));
        let unknown = Loss { all_tables_known: false, ..known.clone() };
        assert_eq!(unknown.full_syncs(), ["event-worker full-sync start -t LISTENER"]);
        assert!(Loss { tables: vec![], ..known }.full_syncs().is_empty());
    }
}
