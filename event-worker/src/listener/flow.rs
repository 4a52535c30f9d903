//! When a listener takes more from the bus, and when its handlers are called.

use event_bus::{Consumer, Partition};

/// Whether deliveries flow in and batches flow out.
#[derive(Debug)]
pub(super) struct Flow {
    max_buffer_bytes: usize,
    is_full: bool,
    /// A human wants it to rest.
    pub(super) is_paused: bool,
    /// It came to a record that it cannot pass, and takes in no more.
    pub(super) is_ending: bool,
    /// It stops for good.
    pub(super) is_stopping: bool,
    /// What the consumer was told last.
    is_held: bool,
}

impl Flow {
    pub(super) fn new(max_buffer_bytes: usize) -> Self {
        Self {
            max_buffer_bytes,
            is_full: false,
            is_paused: false,
            is_ending: false,
            is_stopping: false,
            is_held: false,
        }
    }

    /// Whether new calls may begin.
    pub(super) fn goes_out(&self) -> bool {
        !self.is_paused && !self.is_stopping
    }

    /// Holds our partitions while the buffer is full, a human wants it, or nothing more may come
    /// in; lets them go below half.
    pub(super) fn steer<'a>(
        &mut self,
        buffered_bytes: usize,
        consumer: &mut dyn Consumer,
        partitions: impl Iterator<Item = &'a Partition>,
    ) {
        let mark = if self.is_full { self.max_buffer_bytes / 2 } else { self.max_buffer_bytes };
        self.is_full = buffered_bytes >= mark;
        let holds = self.is_full || self.is_paused || self.is_ending;
        if holds == self.is_held {
            return;
        }
        self.is_held = holds;
        let partitions: Vec<Partition> = partitions.cloned().collect();
        if holds { consumer.pause(&partitions) } else { consumer.resume(&partitions) }
    }

    /// New partitions are held like the others.
    pub(super) fn assigned(&self, consumer: &mut dyn Consumer, partitions: &[Partition]) {
        if self.is_held {
            consumer.pause(partitions);
        }
    }
}
