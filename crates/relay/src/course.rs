//! How large calls are, and what is said of those that fail.

use std::time::Duration;

use event_log::Record;
use handler::Failure;
use service::Backoff;
use tracing::{info, warn};

use crate::config::RelayConfig;

/// The calls of a relay until now.
#[derive(Debug)]
pub(crate) struct Course {
    backoff: Backoff,
    max_records: usize,
    max_bytes: usize,
    /// How many records the next call gets at most. A call that failed as a whole halves it: a
    /// batch that is too large gets smaller, and a record that always fails is alone in the end. A
    /// call that succeeded doubles it.
    records: usize,
    show_output: bool,
    /// What the log was told last of failing calls.
    told: Option<Told>,
}

/// A new reason is told, and a new first record once it is alone.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    reason: String,
    said: Option<String>,
    alone: Option<u64>,
}

impl Course {
    pub(crate) fn new(config: &RelayConfig) -> Self {
        Self {
            backoff: Backoff::new(config.retry),
            max_records: config.batch_size.max(1),
            max_bytes: config.batch_bytes,
            records: config.batch_size.max(1),
            show_output: config.show_output,
            told: None,
        }
    }

    /// How many of these go into the next call; `failed` of them, at the front, failed before.
    pub(crate) fn size_of(&self, records: &[Record], failed: usize) -> usize {
        let most = if failed > 0 { failed.min(self.records) } else { self.records };
        let mut bytes = 0_usize;
        let fits = records.iter().take(most).take_while(|record| {
            bytes = bytes.saturating_add(record.payload.len() + record.key.len());
            bytes <= self.max_bytes
        });
        fits.count().max(1)
    }

    /// How often the next call was tried, this time included.
    pub(crate) fn attempt(&self) -> u32 {
        self.backoff.failures().saturating_add(1)
    }

    /// A call succeeded.
    pub(crate) fn succeeded(&mut self) {
        self.records = self.records.saturating_mul(2).min(self.max_records);
        if self.told.take().is_some() {
            let failures = self.backoff.failures();
            info!(failures, "the callback works again");
        }
        self.backoff.reset();
    }

    /// A call for these failed as a whole; gives how long to wait.
    pub(crate) fn failed(
        &mut self,
        records: &[Record],
        failure: &Failure,
        remedy: &str,
    ) -> Duration {
        // While what the callback works on is away, fewer records would fail as well.
        if !failure.is_away {
            self.records = (records.len() / 2).max(1);
        }
        if failure.is_too_large && records.len() > 1 {
            return Duration::ZERO;
        }
        self.failed_in_part(records, failure, remedy)
    }

    /// These of a call failed; gives how long to wait.
    pub(crate) fn failed_in_part(
        &mut self,
        records: &[Record],
        failure: &Failure,
        remedy: &str,
    ) -> Duration {
        let wait = self.backoff.next_wait().max(failure.retry_after.unwrap_or_default());
        let said = failure.said.clone().filter(|_| self.show_output);
        let first = records.first().map_or(0, |record| record.offset);
        let alone = (records.len() == 1).then_some(first);
        let told = Told { reason: failure.reason.clone(), said, alone };
        if self.told.as_ref() != Some(&told) {
            warn!(
                error = told.reason, said = told.said.as_deref(), first_offset = first,
                records = records.len(), attempts = self.backoff.failures(), retry_in = ?wait,
                remedy = failure.remedy.unwrap_or(remedy),
                "the callback failed; nothing after these records is given before they are done"
            );
            self.told = Some(told);
        }
        wait
    }
}
