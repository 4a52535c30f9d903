//! What a human wants of events that wait aside: written into the control table of the bus, and
//! carried out by the member of the group that has them.

use event_bus::ControlChange;
use serde::{Deserialize, Serialize};

/// The keys of the entries begin with this; the listener's name and a name of the call follow.
const PREFIX: &str = "parked/";

/// What to do with the events of one queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParkedCommand {
    /// The queue's name.
    pub(crate) queue: String,
    pub(crate) wish: ParkedWish,
}

/// What to do with events that wait aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ParkedWish {
    /// Call the handler now, once. What fails again stays parked.
    Retry,
    /// Unpark them: they are given again from now on, as if they had never failed.
    Replay,
    /// Drop these events, by the keys of their entries.
    Drop(Vec<String>),
}

/// The entry that carries wishes; its key is also what removes it.
pub(crate) fn entry(listener: &str, call: &str, wishes: &[ParkedCommand]) -> ControlChange {
    // Texts always serialise.
    let value = serde_json::to_vec(wishes).unwrap_or_default();
    (format!("{PREFIX}{listener}/{call}"), Some(value.into()))
}

/// The listener and the wishes of an entry, if that is what it carries.
pub(crate) fn wishes_of((key, value): &ControlChange) -> Option<(&str, Vec<ParkedCommand>)> {
    let (listener, _) = key.strip_prefix(PREFIX)?.split_once('/')?;
    Some((listener, serde_json::from_slice(value.as_ref()?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_arrive_as_they_were_sent() {
        let wishes = [ParkedWish::Retry, ParkedWish::Replay, ParkedWish::Drop(vec!["k".into()])];
        let wishes = wishes.map(|wish| ParkedCommand { queue: "t/0/7".to_owned(), wish });
        let entry = entry("a", "1", &wishes);
        assert_eq!(wishes_of(&entry), Some(("a", wishes.to_vec())));
        assert_eq!(wishes_of(&(entry.0, None)), None);
        assert_eq!(wishes_of(&("node/x".to_owned(), Some("[]".into()))), None);
    }
}
