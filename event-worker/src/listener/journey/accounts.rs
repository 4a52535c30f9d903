//! The books of a listener, in each table: `received + from aside = done + filtered + returned +
//! aside + waiting`.

use event_bus::Delivery;

use super::{Journey, read_change};
#[cfg(test)]
use crate::listener::lanes::Loses;
use crate::{
    event::TakenEvent,
    listener::{
        books::{Difference, Seam},
        ledger::Missing,
        parking::KeptAside,
        table_counts::TableCounts,
    },
    table_name::TableName,
};

impl Journey {
    /// The same journey with lanes that lose events, for tests.
    #[cfg(test)]
    pub(in crate::listener) fn losing(mut self, loses: Loses) -> Self {
        self.lanes.loses = loses;
        self
    }

    /// These are done.
    pub(super) fn count_done(&mut self, events: &[TakenEvent]) {
        let (mut tables, mut had_gone) = (TableCounts::default(), TableCounts::default());
        let (mut returned, mut from_aside) = (0, 0);
        for event in events.iter().filter(|event| event.replay().is_none()) {
            tables.of_table(event.table()).done += 1;
            if event.is_kept {
                from_aside += 1;
                tables.of_table(event.table()).from_aside += 1;
            } else if !self.tracker.finish(event) {
                // Its partition went before, and it was counted as returned.
                returned += 1;
                had_gone.of_table(event.table()).returned += 1;
            }
        }
        self.status.count_done(events, (&tables, &had_gone), (returned, from_aside));
    }

    /// These are kept aside on the bus with the next commit, which may pass them.
    pub(super) fn count_aside(&mut self, kept: &[KeptAside]) {
        let (mut tables, mut aside) = (TableCounts::default(), 0);
        for KeptAside { partition, offset, table } in kept {
            if self.tracker.pass(partition, *offset) {
                aside += 1;
                tables.of_table(table).aside += 1;
            }
        }
        self.status.update(|report| {
            report.counters.aside += aside;
            report.counters.tables.merge(&tables);
        });
    }

    /// After each step: counts what went to other members, and looks whether a lane lost an event,
    /// and whether anything waits that nobody has.
    pub(super) fn settle_books(&mut self) {
        for lost in self.lanes.take_lost() {
            let place = format!("in a call of lane {}", lost.lane);
            let seam = (Seam::LanesDone, lost.events);
            self.status.differ(Difference::new(seam, lost.table.to_string(), None, place));
        }
        let returned = self.tracker.take_returned();
        let nothing_waits = self.tracker.waiting() == 0;
        let mut strays = Vec::new();
        self.status.update(|report| {
            let counters = &mut report.counters;
            counters.returned += returned.events;
            counters.tables.merge(&returned.tables);
            if nothing_waits && counters.waiting() > 0 {
                strays = counters.settle();
            }
        });
        for (table, events) in strays {
            let seam = (Seam::BusLanes, events.cast_signed());
            let place = "found when nothing waited any more";
            self.status.differ(Difference::new(seam, table, None, place));
        }
    }
}

/// What the book of `dts` says that is missing before a record.
pub(super) fn missing_before(delivery: &Delivery, missing: Missing) -> Difference {
    let Delivery { partition, offset, topic, headers, .. } = delivery;
    let is_shared = headers.iter().any(|(name, _)| name == "table");
    // In a shared topic the record before may have been one of another table.
    let table = match read_change(("", delivery)) {
        Ok((_, change)) if !is_shared => format!("{}.{}", change.schema, change.table_name),
        _ => topic.to_string(),
    };
    let place = format!("between the offsets {} and {offset}", missing.after);
    Difference::new((Seam::Bus, missing.records), table, Some(partition), place)
}

/// A record that came from the bus, and that no lane has.
pub(super) fn lost_before_the_lanes(delivery: &Delivery, table: &TableName) -> Difference {
    let Delivery { partition, offset, .. } = delivery;
    let place = format!("at offset {offset}");
    Difference::new((Seam::BusLanes, 1), table.to_string(), Some(partition), place)
}
