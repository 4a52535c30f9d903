//! Counts which records the brokers have taken.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode as Code},
    producer::{DeliveryResult, ProducerContext},
};

use crate::{Voice, Written};

/// What a producer's client tells: its troubles, and the fate of each record.
#[derive(Clone, Debug, Default)]
pub struct Acks {
    /// The client's troubles.
    pub voice: Voice,
    shared: Arc<SharedAcks>,
}

#[derive(Debug, Default)]
struct SharedAcks {
    state: Mutex<AckState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct AckState {
    /// Records that were sent and not answered, and their bytes.
    records: u64,
    bytes: usize,
    awaited: Option<Goal>,
    /// The first refusal.
    refused: Option<RefusedRecord>,
    /// The first and the last offset in each partition.
    written: HashMap<String, HashMap<i32, (i64, i64)>>,
}

/// What a sender waits for.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Every record is answered.
    All,
    /// At most so many bytes are not answered.
    AtMost(usize),
}

/// A record that was not taken.
#[derive(Clone, Debug)]
pub struct RefusedRecord {
    /// Where it was to go,
    pub topic: String,
    /// how large its key and value are,
    pub bytes: usize,
    /// and why it was not taken.
    pub code: Code,
}

impl RefusedRecord {
    /// Whether it was given up because of another record; the answer for that record says more.
    fn was_thrown_away(&self) -> bool {
        matches!(self.code, Code::PurgeQueue | Code::PurgeInflight)
    }
}

impl ClientContext for Acks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.error(error, reason);
    }
}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut state = self.shared.lock();
        let bytes = match result {
            Ok(message) | Err((_, message)) => message.payload_len() + message.key_len(),
        };
        state.records = state.records.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(bytes);
        if let Ok(message) = result {
            state.note(message.topic(), message.partition(), message.offset());
        }
        if let Err((error, message)) = result
            && state.refused.as_ref().is_none_or(RefusedRecord::was_thrown_away)
        {
            state.refused = Some(RefusedRecord {
                topic: message.topic().to_owned(),
                bytes,
                code: error.rdkafka_error_code().unwrap_or(Code::Fail),
            });
        }
        let is_reached = state.awaited.is_some_and(|goal| state.has_reached(goal));
        if is_reached || state.refused.is_some() {
            self.shared.changed.notify_all();
        }
    }
}

impl SharedAcks {
    fn lock(&self) -> MutexGuard<'_, AckState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AckState {
    /// Records of a partition are answered in their order.
    fn note(&mut self, topic: &str, partition: i32, offset: i64) {
        if !self.written.contains_key(topic) {
            self.written.insert(topic.to_owned(), HashMap::new());
        }
        let Some(of_topic) = self.written.get_mut(topic) else { return };
        of_topic.entry(partition).or_insert((offset, offset)).1 = offset;
    }

    fn has_reached(&self, goal: Goal) -> bool {
        match goal {
            Goal::All => self.records == 0,
            Goal::AtMost(bytes) => self.bytes <= bytes,
        }
    }
}

impl Acks {
    /// The first record that was refused, if one was.
    pub fn refused(&self) -> Option<RefusedRecord> {
        self.shared.lock().refused.clone()
    }

    /// What was written since this was asked before.
    pub fn take_written(&self) -> Written {
        let mut state = self.shared.lock();
        let written = state.written.iter_mut().flat_map(|(topic, partitions)| {
            partitions.drain().map(|(number, offsets)| ((topic.clone(), number), offsets))
        });
        written.collect()
    }

    /// Waits until all records are answered, and forgets that one was refused; `false` when that
    /// takes longer than `patience`.
    pub fn start_over(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        state.awaited = Some(Goal::All);
        while state.records > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        (state.awaited, state.refused) = (None, None);
        true
    }

    /// Counts a record that is about to be sent; gives the bytes that are not answered now.
    pub fn expect(&self, bytes: usize) -> usize {
        let mut state = self.shared.lock();
        state.records += 1;
        state.bytes += bytes;
        state.bytes
    }

    /// A record that was counted was not sent.
    pub fn never_sent(&self, bytes: usize) {
        let mut state = self.shared.lock();
        state.records = state.records.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    /// Waits for a goal; `false` when that takes longer than `patience`.
    ///
    /// # Errors
    ///
    /// The first record that was refused, as soon as it is known.
    pub fn wait(&self, goal: Goal, patience: Duration) -> Result<bool, RefusedRecord> {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        state.awaited = Some(goal);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(refused) = &state.refused
                && (!refused.was_thrown_away() || state.records == 0 || left.is_zero())
            {
                return Err(refused.clone());
            }
            let is_reached = state.has_reached(goal);
            if is_reached || left.is_zero() {
                state.awaited = None;
                return Ok(is_reached);
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
