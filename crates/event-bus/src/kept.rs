//! How the entries of a group's table are named where a bus keeps them by one text:
//! `{number}/{topic}/{key}`.

use bytes::Bytes;

use crate::{CheckpointChange, Kept, KeptChange, Partition};

/// The name of an entry.
pub(crate) fn name(partition: &Partition, key: &str) -> String {
    format!("{}/{}/{key}", partition.number, partition.topic)
}

/// The entry of a name; `None` for a name that was not made here.
pub(crate) fn entry(name: &str, value: Bytes) -> Option<Kept> {
    let mut parts = name.splitn(3, '/');
    let number = parts.next()?.parse().ok()?;
    let partition = Partition { topic: parts.next()?.into(), number };
    Some(Kept { partition, key: parts.next()?.to_owned(), value })
}

/// Changes by name.
pub(crate) fn named(changes: Vec<KeptChange>) -> Vec<CheckpointChange> {
    let named = |change: KeptChange| (name(&change.partition, &change.key), change.value);
    changes.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_its_name_whatever_its_key() {
        let partition = Partition { topic: "db.s.t".into(), number: 17 };
        let kept = Kept { partition, key: "a/b/ä".to_owned(), value: Bytes::from("v") };
        let named = name(&kept.partition, &kept.key);
        assert_eq!(entry(&named, kept.value.clone()), Some(kept));
        for foreign in ["", "x/t/k", "1/t", "1"] {
            assert_eq!(entry(foreign, Bytes::new()), None, "{foreign}");
        }
    }
}
