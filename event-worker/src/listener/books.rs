//! What does not agree in the books of a listener: between which two places records are missing, or
//! too many.

use std::fmt;

use event_bus::Partition;
use serde::{Deserialize, Serialize};
use service::clock::now_ms;

/// So many differences are remembered, each of another place or table.
const MAX_DIFFERENCES: usize = 100;

/// Two places that count the same records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Seam {
    /// What `dts` gave to the bus, and what came from the bus.
    Bus,
    /// What came from the bus, and what the lanes got.
    BusLanes,
    /// What the lanes got, and what they have done or given back.
    LanesDone,
}

impl Seam {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Bus, Self::BusLanes, Self::LanesDone];

    /// As the API and the metrics name it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Bus => "bus",
            Self::BusLanes => "bus-lanes",
            Self::LanesDone => "lanes-done",
        }
    }

    /// What to do about a difference there.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Bus => {
                "see who else writes to the topic or deletes from it, and keep the log; if records \
                 are missing, send the table again with a full sync"
            }
            Self::BusLanes | Self::LanesDone => {
                "this is a bug of event-worker: keep the log, report it, and restart the listener: \
                 it gets all that is not committed once more"
            }
        }
    }
}

impl fmt::Display for Seam {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Bus => "in the bus, between dts and the listener",
            Self::BusLanes => "between the bus and the lanes",
            Self::LanesDone => "between the lanes and what is done",
        })
    }
}

/// Records that are missing, or too many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Difference {
    pub(crate) between: Seam,
    /// `schema.table`, or the topic if it is shared by several.
    pub(crate) table: String,
    /// The partition of the bus, if it is known.
    pub(crate) partition: Option<u32>,
    /// How many are missing; negative for records that are too many.
    pub(crate) missing: i64,
    /// Where this was found first.
    pub(crate) place: String,
    /// When this was found first, in ms since the Unix epoch.
    pub(crate) since_ms: u64,
}

impl Difference {
    /// Found now, at this place.
    pub(super) fn new(
        (between, missing): (Seam, i64),
        table: impl Into<String>,
        partition: Option<&Partition>,
        place: impl Into<String>,
    ) -> Self {
        let partition = partition.map(|partition| partition.number);
        let (table, place) = (table.into(), place.into());
        Self { between, table, partition, missing, place, since_ms: now_ms() }
    }

    fn is_about_the_same(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.between, it.partition);
        of(self) == of(other) && self.table == other.table
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { between, table, missing, place, .. } = self;
        let count = missing.unsigned_abs();
        let records = if count == 1 { "record is" } else { "records are" };
        let what = if *missing < 0 { "too many" } else { "missing" };
        write!(out, "{count} {records} {what} {between}: of {table}, {place}")
    }
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Differences(Vec<Difference>);

impl Differences {
    /// Takes one more; `true` if it is the first of its place, table and partition.
    pub(super) fn note(&mut self, found: Difference) -> bool {
        if let Some(known) = self.0.iter_mut().find(|known| known.is_about_the_same(&found)) {
            known.missing += found.missing;
            return false;
        }
        let has_room = self.0.len() < MAX_DIFFERENCES;
        if has_room {
            self.0.push(found);
        }
        has_room
    }

    /// Adds those of another process.
    pub(super) fn merge(&mut self, other: &Self) {
        for found in &other.0 {
            self.note(found.clone());
        }
    }

    pub(crate) fn all(&self) -> &[Difference] {
        &self.0
    }

    /// How many records are missing or too many at a seam.
    pub(crate) fn records(&self, between: Seam) -> u64 {
        let at = self.0.iter().filter(|found| found.between == between);
        at.map(|found| found.missing.unsigned_abs()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_once_and_summed() {
        let partition = |number| Partition { topic: "t".into(), number };
        let found = |number, missing| {
            Difference::new((Seam::Bus, missing), "s.a", Some(&partition(number)), "at 7")
        };
        let mut all = Differences::default();
        assert!(all.note(found(0, 1)) && all.note(found(1, -2)));
        assert!(!all.note(found(0, 3)));
        assert_eq!((all.records(Seam::Bus), all.records(Seam::LanesDone)), (6, 0));
        let told: Vec<String> = all.all().iter().map(Difference::to_string).collect();
        let seam = "in the bus, between dts and the listener: of s.a, at 7";
        assert_eq!(
            told,
            [format!("4 records are missing {seam}"), format!("2 records are too many {seam}")]
        );
        let mut more = Differences::default();
        let noted = (0..2 * MAX_DIFFERENCES as u32).filter(|number| more.note(found(*number, 1)));
        assert_eq!(noted.count(), MAX_DIFFERENCES);
        assert_eq!(more.all().len(), MAX_DIFFERENCES);
    }
}
