//! A listener as the target of a full sync, and which tables it may get.

use service::glob;

/// A listener that may ask for rows.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) id: String,
    /// Its group on the bus.
    pub(crate) group: String,
    /// Its patterns for schema and table; empty means every table.
    pub(crate) subscribe: Vec<(String, String)>,
    /// Whether its config allows full syncs.
    pub(crate) takes_full_syncs: bool,
}

impl Target {
    /// Whether the listener may get a table, named as `table` or `schema.table`. A name with
    /// wildcards always may.
    pub(crate) fn may_get(&self, table: &str) -> bool {
        let has_wildcard = table.contains(['*', '?']);
        let fits = |(schema_glob, table_glob): &(String, String)| {
            // Both names may contain dots, so each dot may be the separator.
            let mut dots = table.match_indices('.').map(|(at, _)| table.split_at(at));
            glob::matches(table_glob, table)
                || dots.any(|(schema, rest)| {
                    glob::matches(schema_glob, schema) && glob::matches(table_glob, &rest[1..])
                })
        };
        has_wildcard || self.subscribe.is_empty() || self.subscribe.iter().any(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_no_subscription_names_are_told_before_anybody_is_asked() {
        let glob = |schema: &str, table: &str| (schema.to_owned(), table.to_owned());
        let subscribe = vec![glob("shop", "order*"), glob("a.b", "*")];
        let (id, group) = ("l".into(), "g".into());
        let target = Target { id, group, subscribe, takes_full_syncs: true };
        for table in ["orders", "shop.orders", "a.b.c", "shop.a*", "other"] {
            assert!(target.may_get(table), "{table}");
        }
        let subscribe = vec![glob("shop", "order*")];
        let target = Target { subscribe, ..target };
        for table in ["items", "shop.items", "other.orders", "shop.", "'; DROP TABLE t"] {
            assert!(!target.may_get(table), "{table}");
        }
        assert!(Target { subscribe: Vec::new(), ..target }.may_get("anything"));
    }
}
