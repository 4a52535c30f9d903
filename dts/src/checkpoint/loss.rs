//! Transactions that were published and are lost in the source, and what makes that right again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What sends the tables of a listener; its id takes the place of the last word.
const FULL_SYNC: &str = "event-worker full-sync start -t LISTENER";

/// Transactions that we had read, that no server has any more, and whose loss was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// The transactions.
    pub gtid_set: String,
    /// The captured tables that they changed, as far as known, as `schema.table`.
    pub tables: Vec<String>,
    /// Whether these are all.
    pub all_tables_known: bool,
    /// When it was accepted, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Loss {
    /// The commands that send what was lost anew, for each listener of these tables: all that it
    /// has, where it is not known which they are.
    pub fn full_syncs(&self) -> Vec<String> {
        if !self.all_tables_known {
            return vec![FULL_SYNC.to_owned()];
        }
        self.tables.iter().map(|table| full_sync_of(table)).collect()
    }

    /// As `/api/v1/status` shows it.
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

/// The command that sends a table, given as `schema.table`, anew to a listener.
pub(crate) fn full_sync_of(table: &str) -> String {
    format!("{FULL_SYNC} {}", shell_word(table))
}

/// A name, such that a shell takes it as it is.
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
    fn each_table_is_proposed_or_all_where_they_are_not_known() {
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
