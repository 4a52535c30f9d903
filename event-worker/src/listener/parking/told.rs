//! What the log says of events that fail alone: not more than one line a minute of each kind.

use std::time::Instant;

use tracing::warn;

use super::entry::Trouble;
use crate::{event::TakenEvent, listener::log_limit::LogLimit};

#[derive(Debug, Default)]
pub(super) struct Told {
    failed: LogLimit,
    parked: LogLimit,
}

impl Told {
    /// An event has failed alone, and waits aside; it may be parked by now.
    pub(super) fn failed(&mut self, event: &TakenEvent, trouble: &Trouble) {
        let is_parked = trouble.parked_ms.is_some();
        let kind = if is_parked { &mut self.parked } else { &mut self.failed };
        let Some(count) = kind.note(Instant::now()) else { return };
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
