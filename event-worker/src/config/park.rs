//! `park` of a listener: when an event that fails again and again is put aside with its key.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;
use service::config::Section;

use super::sizes::{read_bytes, read_count};

/// What an event log keeps for one listener at most; less than its own limit, for a listener may
/// have a little more than it is allowed.
pub(super) const MAX_BYTES_ON_LOG: ByteSize = ByteSize::mib(12);

/// When and how much is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkConfig {
    /// When an event that fails is parked.
    pub after: ParkAfter,
    /// When so many keys wait, no more events are taken.
    pub max_keys: usize,
    /// When so many bytes wait, no more events are taken.
    pub max_bytes: usize,
}

/// When an event that fails is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkAfter {
    /// After so many failed calls for the event alone.
    Attempts(u32),
    /// When it has failed for so long.
    Time(Duration),
}

impl ParkConfig {
    /// Reads `park`; `None` when it is not there.
    pub(super) fn read(listener: &Section) -> Option<Self> {
        let park = listener.section("park");
        park.is_present().then(|| Self {
            after: read_after(&park),
            max_keys: read_count(&park, "maxKeys", 1000, 1_000_000),
            max_bytes: read_bytes(&park, "maxBytes", ByteSize::mib(8)),
        })
    }
}

fn read_after(park: &Section) -> ParkAfter {
    const FORMS: &str = r#"write a number of attempts, like 20, or a time, like "10m""#;
    match park.raw("after") {
        None => park.note("after", "is missing", FORMS),
        Some(Value::String(_)) => {
            let time: Duration = park.or("after", Duration::ZERO);
            return ParkAfter::Time(time);
        }
        Some(Value::Number(number)) => match number.as_u64().and_then(|n| u32::try_from(n).ok()) {
            None | Some(0) => park.note("after", &format!("{number} is out of range"), FORMS),
            Some(attempts) => return ParkAfter::Attempts(attempts),
        },
        Some(_) => park.note("after", "is neither a number nor a time", FORMS),
    }
    ParkAfter::Attempts(1)
}
