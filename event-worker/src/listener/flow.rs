//! When a listener takes more from the bus, and when its handlers are called.

use event_bus::{Consumer, Partition};

/// Whether deliveries come in and calls go out.
#[derive(Debug)]
pub(super) struct Flow {
    max_buffer_bytes: usize,
    is_full: bool,
    /// No more events can be parked.
    pub(super) is_parking_full: bool,
    /// A human has paused the listener.
    pub(super) is_paused: bool,
    /// The listener cannot go past a bad record, and takes no more.
    pub(super) is_ending: bool,
    /// The listener ends.
    pub(super) is_stopping: bool,
    /// Whether the partitions of the consumer are paused.
    is_held: bool,
}

impl Flow {
    pub(super) fn new(max_buffer_bytes: usize) -> Self {
        Self {
            max_buffer_bytes,
            is_full: false,
            is_parking_full: false,
            is_paused: false,
            is_ending: false,
            is_stopping: false,
            is_held: false,
        }
    }

    /// Whether it takes no more, because it has all that it may keep.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether new calls may begin.
    pub(super) fn goes_out(&self) -> bool {
        !self.is_paused && !self.is_stopping
    }

    /// Pauses our partitions while the buffer or the parking place is full, while a human has
    /// paused the listener, or at a bad record. After a full buffer they go on below half of it.
    pub(super) fn steer<'a>(
        &mut self,
        buffered_bytes: usize,
        consumer: &mut dyn Consumer,
        partitions: impl Iterator<Item = &'a Partition>,
    ) {
        let mark = if self.is_full { self.max_buffer_bytes / 2 } else { self.max_buffer_bytes };
        self.is_full = buffered_bytes >= mark;
        let holds = self.is_full || self.is_parking_full || self.is_paused || self.is_ending;
        if holds == self.is_held {
            return;
        }
        self.is_held = holds;
        let partitions: Vec<Partition> = partitions.cloned().collect();
        if holds { consumer.pause(&partitions) } else { consumer.resume(&partitions) }
    }

    /// New partitions are paused like the others.
    pub(super) fn assigned(&self, consumer: &mut dyn Consumer, partitions: &[Partition]) {
        if self.is_held {
            consumer.pause(partitions);
        }
    }
}
