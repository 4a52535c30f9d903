//! What the log says of events that fail alone: not more than one line a minute of each kind.

use std::time::{Duration, Instant};

use tracing::warn;

use super::entry::Trouble;
use crate::event::Event;

const LOG_EVERY: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct LogLimit {
    failed: Kind,
    parked: Kind,
}

/// Lines of one kind.
#[derive(Debug, Default)]
struct Kind {
    at: Option<Instant>,
    /// Those that were not logged.
    since: u64,
}

impl Kind {
    /// How many to log as one, if it is time.
    fn note(&mut self) -> Option<u64> {
        self.since += 1;
        if self.at.is_some_and(|at| at.elapsed() < LOG_EVERY) {
            return None;
        }
        self.at = Some(Instant::now());
        Some(std::mem::take(&mut self.since))
    }
}

impl LogLimit {
    /// An event has failed alone, and waits aside; it may be parked by now.
    pub(super) fn failed(&mut self, event: &Event, trouble: &Trouble) {
        let is_parked = trouble.parked_ms.is_some();
        let kind = if is_parked { &mut self.parked } else { &mut self.failed };
        let Some(count) = kind.note() else { return };
        let (partition, offset) = event.place();
        let Trouble { attempts, error, said, .. } = trouble;
        let (first_event, topic, partition) = (event.ev_id(), &*partition.topic, partition.number);
        if is_parked {
            warn!(
                count,
                first_event,
                topic,
                partition,
                offset,
                attempts,
                error,
                said,
                "events that fail are parked: with all later events of their keys they wait for a \
                 human; `event-worker parked list -t ID` shows them"
            );
        } else {
            warn!(
                count,
                first_event,
                topic,
                partition,
                offset,
                attempts,
                error,
                said,
                "an event failed alone; its key waits aside and is tried again, others go on"
            );
        }
    }
}
