//! Between the library's callbacks and the consumer: which partitions are ours, and what came for
//! them.

mod owned;
mod received;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender as Working},
    time::{Duration, Instant},
};

use kafka_client::is_filler;
use rdkafka::Message;
use tokio::sync::mpsc::{Sender, error::TrySendError};

use self::owned::{LastRecord, Owned, ToldEnd};
pub(super) use self::received::deliveries;
use self::received::delivery;
use super::{begin::PartitionStart, offsets::Note, scan::PartitionEnd};
use crate::{Assignment, Delivery, Error, Partition, Polled};

/// How large a batch may become before it is handed over; one record may be larger.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// How often the consumer is told of trouble that ends by itself.
const TROUBLE_EVERY: Duration = Duration::from_secs(1);

/// What a record needs besides its bytes.
const RECORD_OVERHEAD_BYTES: usize = 200;

/// What the consumer gets.
pub(super) enum Out {
    /// With the generation of each: a partition that comes back has another one.
    Assigned(Vec<(Assignment, u64)>),
    /// The partitions are ours until the sender is dropped.
    Revoking(Vec<Partition>, Working<()>),
    Polled(Polled),
    /// It ends by itself.
    Trouble(Error),
    /// It does not; nothing comes after it.
    Failed(Error),
}

pub(super) struct Desk {
    state: Mutex<DeskState>,
    consumer: Sender<Out>,
}

#[derive(Default)]
pub(super) struct DeskState {
    /// How many things came that are no records.
    pub(super) events: u64,
    owned: HashMap<Arc<str>, HashMap<u32, Owned>>,
    /// All partitions that were ever ours.
    met: HashSet<Partition>,
    /// Assigned, but the brokers did not know them at that time: not ours.
    missing: HashSet<Partition>,
    generation: u64,
    outbox: VecDeque<Out>,
    deliveries: Vec<Delivery>,
    bytes: usize,
    scanned: Vec<(Partition, u64)>,
    has_failed: bool,
    troubled: Option<Instant>,
    /// The consumer was told of trouble, and not yet that it is over.
    pub(super) is_troubled: bool,
    /// The library stopped reading a partition because of its offset; it does not say which.
    pub(super) is_in_doubt: bool,
}

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RecordFate {
    /// The record is taken, or not ours, and there is room for more.
    More,
    /// The batch is full.
    Full,
    /// The record is not the one that was read earlier at this offset.
    Another(Partition),
}

impl Desk {
    pub(super) fn new(consumer: Sender<Out>) -> Self {
        Self { state: Mutex::default(), consumer }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, DeskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the consumer is gone.
    pub(super) fn is_deserted(&self) -> bool {
        self.consumer.is_closed()
    }

    /// Hands over what there is room for, and says whether that was all.
    pub(super) fn flush(&self) -> bool {
        let mut state = self.lock();
        while let Some(out) = state.outbox.pop_front() {
            match self.consumer.try_send(out) {
                Ok(()) => {}
                Err(TrySendError::Full(out)) => {
                    state.outbox.push_front(out);
                    return false;
                }
                Err(TrySendError::Closed(_)) => state.outbox.clear(),
            }
        }
        true
    }

    /// What to commit an offset with, if the partition is still ours in that generation.
    pub(super) fn note(&self, partition: &Partition, generation: u64) -> Option<Note> {
        let state = self.lock();
        let owned = state.owned.get(&partition.topic)?.get(&partition.number)?;
        (owned.generation == generation).then(|| owned.note.clone())
    }
}

impl DeskState {
    pub(super) fn put(&mut self, out: Out) {
        // The library repeats itself for as long as the brokers are away.
        let is_trouble = matches!(out, Out::Trouble(_));
        if is_trouble && self.troubled.is_some_and(|told| told.elapsed() < TROUBLE_EVERY) {
            return;
        }
        if is_trouble {
            (self.troubled, self.is_troubled) = (Some(Instant::now()), true);
        }
        self.outbox.push_back(out);
    }

    /// The brokers answer: says that trouble is over, also where no record comes.
    pub(super) fn well(&mut self) {
        if std::mem::take(&mut self.is_troubled) {
            let (deliveries, scanned) = (Vec::new(), Vec::new());
            self.put(Out::Polled(Polled::Records { deliveries, scanned }));
        }
    }

    pub(super) fn lost(&mut self, partitions: Vec<Partition>) {
        if !partitions.is_empty() {
            self.put(Out::Polled(Polled::Lost(partitions)));
        }
    }

    pub(super) fn fail(&mut self, error: Error) {
        if !self.has_failed {
            self.has_failed = true;
            self.put(Out::Failed(error));
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    pub(super) fn assigned(&mut self, entries: Vec<PartitionStart>) {
        if entries.is_empty() {
            return;
        }
        self.generation += 1;
        let mut assigned = Vec::with_capacity(entries.len());
        for PartitionStart { partition, offset, note } in entries {
            assigned.push((
                Assignment { partition: partition.clone(), position: offset },
                self.generation,
            ));
            let owned = Owned {
                note,
                generation: self.generation,
                next: offset,
                last: None,
                newest: None,
                proof: None,
                told: ToldEnd::NotYet,
                is_fresh: self.met.insert(partition.clone()),
                end: None,
                is_paused: false,
                is_leaving: false,
                partition: partition.clone(),
            };
            let of_topic = self.owned.entry(Arc::clone(&partition.topic)).or_default();
            of_topic.insert(partition.number, owned);
        }
        self.put(Out::Assigned(assigned));
    }

    /// Remembers which assigned partitions could not be entered.
    pub(super) fn miss(&mut self, assigned: &[Partition], entries: &[PartitionStart]) {
        let is_entered = |one: &&Partition| entries.iter().any(|entry| entry.partition == **one);
        self.missing.extend(assigned.iter().filter(|one| !is_entered(one)).cloned());
    }

    /// Whether a partition of this topic could not be entered.
    pub(super) fn misses(&self, topic: &str) -> bool {
        self.missing.iter().any(|partition| *partition.topic == *topic)
    }

    /// Takes nothing more for these partitions, and gives those of them that are ours.
    pub(super) fn leaving(&mut self, partitions: &[Partition]) -> Vec<Partition> {
        let mut ours = Vec::new();
        self.each(partitions, |owned| {
            (owned.is_leaving, owned.end) = (true, None);
            ours.push(owned.partition.clone());
        });
        self.deliveries.retain(|delivery| !partitions.contains(&delivery.partition));
        self.scanned.retain(|(partition, _)| !partitions.contains(partition));
        ours
    }

    pub(super) fn forget(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.missing.remove(partition);
            if let Some(of_topic) = self.owned.get_mut(&partition.topic) {
                of_topic.remove(&partition.number);
                if of_topic.is_empty() {
                    self.owned.remove(&partition.topic);
                }
            }
        }
    }

    pub(super) fn pause(&mut self, partitions: &[Partition]) {
        self.each(partitions, |owned| (owned.is_paused, owned.end) = (true, None));
    }

    pub(super) fn resume(&mut self, partitions: &[Partition]) {
        self.each(partitions, |owned| {
            // It begins after the last record that was taken.
            owned.is_paused = false;
            owned.begin_reading();
        });
    }

    fn each(&mut self, partitions: &[Partition], mut act: impl FnMut(&mut Owned)) {
        for partition in partitions {
            let of_topic = self.owned.get_mut(&partition.topic);
            if let Some(owned) = of_topic.and_then(|topic| topic.get_mut(&partition.number)) {
                act(owned);
            }
        }
    }

    /// The ids of the topics that are read.
    pub(super) fn ids(&self) -> Vec<(Arc<str>, String)> {
        let first = |(topic, of_topic): (&Arc<str>, &HashMap<u32, Owned>)| {
            let owned = of_topic.values().find(|owned| !owned.note.id.is_empty())?;
            Some((Arc::clone(topic), owned.note.id.clone()))
        };
        self.owned.iter().filter_map(first).collect()
    }

    /// Where each partition is now.
    pub(super) fn entries(&self) -> Vec<PartitionStart> {
        let owned = self.owned.values().flat_map(HashMap::values);
        let entry = |owned: &Owned| PartitionStart {
            partition: owned.partition.clone(),
            offset: owned.next,
            note: owned.note.clone(),
        };
        owned.map(entry).collect()
    }

    /// Takes a record.
    pub(super) fn take(&mut self, message: &impl Message) -> RecordFate {
        let number = u32::try_from(message.partition()).unwrap_or(u32::MAX);
        let of_topic = self.owned.get_mut(message.topic());
        let Some(owned) = of_topic.and_then(|topic| topic.get_mut(&number)) else {
            return RecordFate::More;
        };
        if owned.is_leaving || is_filler(message) {
            return RecordFate::More;
        }
        let delivery = delivery(&owned.partition, message);
        if let Some(proof) = owned.proof.take() {
            let is_same = proof == LastRecord::of(delivery.offset, &delivery.key, &delivery.value);
            return if is_same {
                RecordFate::More
            } else {
                RecordFate::Another(delivery.partition)
            };
        }
        if owned.has_taken(delivery.offset) {
            return if owned.contradicts(&delivery) {
                RecordFate::Another(delivery.partition)
            } else {
                RecordFate::More
            };
        }
        owned.newest = Some(delivery.offset);
        owned.next = owned.next.max(delivery.offset + 1);
        owned.is_fresh = true;
        self.bytes += delivery.key.len() + delivery.value.len() + RECORD_OVERHEAD_BYTES;
        self.deliveries.push(delivery);
        if self.bytes >= MAX_BATCH_BYTES { RecordFate::Full } else { RecordFate::More }
    }

    /// Where to read on in each partition; the oldest offset that is kept is given. That is the
    /// last record that was taken, if there is one: it is read again, and must be the same.
    pub(super) fn again(&mut self, firsts: &[(Partition, u64)]) -> Vec<(Partition, u64)> {
        let mut again = Vec::with_capacity(firsts.len());
        for (partition, first) in firsts {
            self.each(std::slice::from_ref(partition), |owned| {
                owned.proof = owned.last.filter(|last| last.offset >= *first);
                let offset = owned.proof.map_or(owned.next, |last| last.offset);
                owned.end = None;
                owned.begin_reading();
                again.push((partition.clone(), offset));
            });
        }
        again
    }

    /// Takes the ends that the statistics tell. Statistics overtake records, so an end counts only
    /// later, by [`DeskState::scanned`].
    pub(super) fn learn(&mut self, ends: &[PartitionEnd]) {
        for end in ends {
            let of_topic = self.owned.get_mut(end.topic.as_str());
            let owned = of_topic.and_then(|topic| topic.get_mut(&end.number));
            if let Some(owned) = owned.filter(|owned| !owned.is_paused && !owned.is_leaving) {
                owned.learn(end.offset.map_or(ToldEnd::Unknown, ToldEnd::At));
            }
        }
    }

    /// All is taken that the library had when it told of the ends.
    pub(super) fn scanned(&mut self) {
        for owned in self.owned.values_mut().flat_map(HashMap::values_mut) {
            if let Some(end) = owned.end.take().filter(|end| *end > owned.next) {
                owned.next = end;
                self.scanned.push((owned.partition.clone(), end));
            }
        }
    }

    /// Puts what was taken where the consumer gets it.
    pub(super) fn close_batch(&mut self) {
        if self.deliveries.is_empty() && self.scanned.is_empty() {
            return;
        }
        self.remember();
        self.bytes = 0;
        let deliveries = std::mem::take(&mut self.deliveries);
        let scanned = std::mem::take(&mut self.scanned);
        self.put(Out::Polled(Polled::Records { deliveries, scanned }));
    }

    /// Remembers the last record of each partition in the batch.
    fn remember(&mut self) {
        for Delivery { partition, offset, key, value, .. } in self.deliveries.iter().rev() {
            let of_topic = self.owned.get_mut(&partition.topic);
            let owned = of_topic.and_then(|topic| topic.get_mut(&partition.number));
            let Some(owned) = owned else { continue };
            if owned.last.is_none_or(|last| last.offset < *offset) {
                owned.last = Some(LastRecord::of(*offset, key, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::{Timestamp, message::OwnedMessage};
    use tokio::sync::mpsc;

    use super::*;

    fn partition() -> Partition {
        Partition { topic: "t".into(), number: 0 }
    }

    fn assign(desk: &Desk, offset: u64) {
        let note = Note { id: "id".to_owned(), since: 0 };
        desk.lock().assigned(vec![PartitionStart { partition: partition(), offset, note }]);
    }

    fn record(offset: i64, value: &str) -> OwnedMessage {
        let (payload, key) = (Some(value.as_bytes().to_vec()), Some(b"k".to_vec()));
        OwnedMessage::new(payload, key, "t".to_owned(), Timestamp::NotAvailable, 0, offset, None)
    }

    #[test]
    fn after_an_offset_error_the_last_record_has_to_be_the_same() {
        let (send, _receive) = mpsc::channel(1);
        let desk = Desk::new(send);
        assign(&desk, 5);
        let mut state = desk.lock();
        assert_eq!(state.again(&[(partition(), 0)]), [(partition(), 5)], "none was taken");
        assert_eq!(state.take(&record(5, "a")), RecordFate::More);
        assert_eq!(state.take(&record(7, "b")), RecordFate::More);
        state.close_batch();

        assert_eq!(state.again(&[(partition(), 0)]), [(partition(), 7)]);
        assert_eq!(state.take(&record(7, "b")), RecordFate::More);
        state.close_batch();
        assert_eq!(state.outbox.len(), 2, "it is not delivered twice");
        assert_eq!(state.take(&record(8, "c")), RecordFate::More);
        state.close_batch();

        for other in [record(8, "x"), record(9, "d")] {
            state.again(&[(partition(), 0)]);
            assert_eq!(state.take(&other), RecordFate::Another(partition()));
        }
        assert_eq!(state.again(&[(partition(), 9)]), [(partition(), 9)], "it was deleted since");
        assert_eq!(state.take(&record(9, "d")), RecordFate::More);
    }

    /// librdkafka does that now and then after other partitions were assigned.
    #[test]
    fn a_record_that_the_library_gives_twice_is_taken_once() {
        let (send, _receive) = mpsc::channel(1);
        let desk = Desk::new(send);
        assign(&desk, 5);
        let mut state = desk.lock();
        for (offset, value) in [(5, "a"), (6, "b"), (6, "b"), (5, "a"), (7, "c")] {
            assert_eq!(state.take(&record(offset, value)), RecordFate::More);
        }
        let taken: Vec<u64> = state.deliveries.iter().map(|delivery| delivery.offset).collect();
        assert_eq!(taken, [5, 6, 7], "in one batch");
        state.close_batch();
        assert_eq!(state.take(&record(7, "c")), RecordFate::More);
        assert!(state.deliveries.is_empty(), "in the next one");
        assert_eq!(state.take(&record(7, "x")), RecordFate::Another(partition()));
        assert_eq!(state.take(&record(8, "d")), RecordFate::More);

        drop(state);
        desk.lock().forget(&[partition()]);
        assign(&desk, 5);
        desk.lock().take(&record(5, "a"));
        assert_eq!(desk.lock().deliveries.len(), 2, "another assignment begins anew");
    }

    /// What is scanned when the library tells this end and has no records.
    fn told(desk: &Desk, offset: Option<u64>) -> Vec<(Partition, u64)> {
        let mut state = desk.lock();
        state.learn(&[PartitionEnd { topic: "t".to_owned(), number: 0, offset }]);
        state.scanned();
        std::mem::take(&mut state.scanned)
    }

    #[test]
    fn an_end_counts_once_and_only_ahead() {
        let (send, _receive) = mpsc::channel(1);
        let desk = Desk::new(send);
        assign(&desk, 5);
        assert_eq!(told(&desk, None), []);
        assert_eq!(told(&desk, Some(5)), []);
        assert_eq!(told(&desk, Some(7)), [(partition(), 7)]);
        assert_eq!(told(&desk, Some(7)), []);
    }

    #[test]
    fn an_end_from_before_a_pause_or_another_assignment_does_not_count() {
        let (send, _receive) = mpsc::channel(1);
        let desk = Desk::new(send);
        assign(&desk, 5);
        desk.lock().pause(&[partition()]);
        assert_eq!(told(&desk, Some(9)), [], "records before it may have been thrown away");
        desk.lock().resume(&[partition()]);
        assert_eq!(told(&desk, Some(9)), [], "it may be the one from before");
        assert_eq!(told(&desk, Some(11)), [(partition(), 11)]);

        desk.lock().forget(&[partition()]);
        assert!(desk.note(&partition(), 1).is_none());
        assign(&desk, 8);
        assert!(desk.note(&partition(), 1).is_none() && desk.note(&partition(), 2).is_some());
        assert_eq!(told(&desk, Some(11)), []);
        assert_eq!(told(&desk, None), [], "the library begins again");
        assert_eq!(told(&desk, Some(11)), [(partition(), 11)]);
    }
}
