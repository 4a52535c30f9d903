//! The control table on a log: the checkpoint of a producer of its own.
//!
//! A checkpoint is kept whole through retention, and read without a look at the records. Whoever
//! puts something becomes that producer for a moment. A reader looks at the checkpoint from time to
//! time: with a subscription it would have to skip every record of the log.

use std::time::Duration;

use async_trait::async_trait;
use event_log::LOCAL_PRODUCERS;
use rand::RngExt as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::LogBus;
use crate::{Batch, Bus, Control, ControlChange, Error, Result, control::ToldTable};

const PRODUCER: &str = "bus/control";

/// How often who listens looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Two that put something at once may each end the other's turn; so often it is tried again.
const MAX_TURNS: u32 = 20;

/// The name of a producer that keeps a table of this name.
pub(super) fn own_producer(table: &str) -> String {
    format!("{LOCAL_PRODUCERS}{table}")
}

/// Whether a producer's name is not one of a user's; no `dts` can be named so.
pub(super) fn is_own(producer: &str) -> bool {
    producer.starts_with(LOCAL_PRODUCERS)
}

/// Puts the entries, as soon as nobody else does.
pub(super) async fn put(bus: &LogBus, entries: &[ControlChange]) -> Result<()> {
    let mut turns = 1;
    loop {
        match put_once(bus, entries).await {
            Err(Error::Fenced(_)) if turns < MAX_TURNS => turns += 1,
            done => return done,
        }
        let wait = rand::rng().random_range(1..=10 * u64::from(turns));
        sleep(Duration::from_millis(wait)).await;
    }
}

async fn put_once(bus: &LogBus, entries: &[ControlChange]) -> Result<()> {
    let (mut producer, _) = bus.producer(PRODUCER).await?;
    producer.append(&Batch::default(), entries).await
}

pub(super) struct LogControl {
    bus: LogBus,
    told: ToldTable,
    look_at: Instant,
}

impl LogControl {
    pub(super) fn new(bus: LogBus) -> Self {
        Self { bus, told: ToldTable::default(), look_at: Instant::now() }
    }
}

#[async_trait]
impl Control for LogControl {
    async fn changes(&mut self) -> Result<Vec<ControlChange>> {
        loop {
            sleep_until(self.look_at).await;
            let now = self.bus.checkpoint(PRODUCER).await?;
            self.look_at = Instant::now() + LOOK_EVERY;
            if let Some(changes) = self.told.tell(now) {
                return Ok(changes);
            }
        }
    }
}
