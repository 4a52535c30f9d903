//! What a member does when the group gives it partitions and takes them away: the library calls it
//! inside of `poll`.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use service::{Backoff, BackoffConfig};

use super::{
    begin,
    desk::Out,
    member::{MemberCallbacks, STEP},
    offsets::{self, number},
};
use crate::{Partition, Result};

/// How long the work on partitions that are given up may take; below `max.poll.interval.ms`.
const REVOKE_PATIENCE: Duration = Duration::from_secs(60);

const BACKOFF: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(2), factor: 2.0 };

impl ConsumerContext for MemberCallbacks {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        self.desk.lock().events += 1;
        let partitions = named(list);
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(consumer, &partitions, list);
        } else {
            self.give_up(consumer, &partitions, list);
        }
    }
}

impl MemberCallbacks {
    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[Partition],
        list: &mut TopicPartitionList,
    ) {
        // A group may give us what we have not asked for; the member that asked must still read it.
        let is_wanted = self.wanted.topics.matcher();
        let wanted: Vec<Partition> =
            partitions.iter().filter(|partition| is_wanted(&partition.topic)).cloned().collect();
        let entries = match self.enter(consumer, &wanted) {
            Ok(entries) => entries,
            Err(error) => {
                self.desk.lock().fail(error);
                Vec::new()
            }
        };
        // We also take what we cannot begin with, or the group would wait for us. Its records are
        // thrown away, and we leave.
        let _ = list.set_all_offsets(rdkafka::Offset::End);
        for entry in &entries {
            let (topic, offset) = (&entry.partition.topic, i64::try_from(entry.offset));
            let offset = rdkafka::Offset::Offset(offset.unwrap_or(i64::MAX));
            let _ = list.set_partition_offset(topic, number(&entry.partition), offset);
        }
        let mut desk = self.desk.lock();
        match consumer.incremental_assign(list) {
            Ok(()) => {
                desk.miss(partitions, &entries);
                desk.assigned(entries);
            }
            Err(error) => {
                desk.fail(self.offsets.cluster.error("cannot assign", &error, &self.voice));
            }
        }
    }

    /// Finds out where to begin, for as long as the partitions stay ours.
    fn enter(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[Partition],
    ) -> Result<Vec<begin::PartitionStart>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            let commit = |commits: offsets::Commits<'_>| {
                client_commit(consumer, commits).map_err(|error| {
                    let doing = offsets::saving(&self.wanted.group, commits);
                    self.offsets.cluster.error(&doing, &error, &self.voice)
                })
            };
            match begin::entries(&self.offsets, partitions, commit) {
                Err(error) if error.is_transient() => {
                    if self.desk.is_deserted() || consumer.assignment_lost() {
                        return Ok(Vec::new());
                    }
                    tracing::debug!(%error, "partitions wait for their offsets");
                    self.desk.lock().put(Out::Trouble(error));
                    std::thread::park_timeout(backoff.next_wait());
                    self.desk.flush();
                }
                answer => return answer,
            }
        }
    }

    fn give_up(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[Partition],
        list: &TopicPartitionList,
    ) {
        let ours = self.desk.lock().leaving(partitions);
        if consumer.assignment_lost() {
            let mut desk = self.desk.lock();
            desk.forget(partitions);
            desk.lost(ours);
        } else {
            if !ours.is_empty() {
                self.wait_for_work(ours);
            }
            self.desk.lock().forget(partitions);
        }
        self.desk.flush();
        // A pause would outlive the assignment.
        let _ = consumer.resume(list);
        if let Err(error) = consumer.incremental_unassign(list) {
            tracing::debug!(%error, "partitions were gone already");
        }
    }

    /// Says that partitions are given up, and waits until the work on them is done.
    fn wait_for_work(&self, partitions: Vec<Partition>) {
        let (working, done) = mpsc::channel();
        self.desk.lock().put(Out::Revoking(partitions, working));
        let deadline = Instant::now() + REVOKE_PATIENCE;
        while Instant::now() < deadline {
            self.desk.flush();
            if done.recv_timeout(STEP) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
        tracing::warn!(
            group = self.wanted.group,
            "the work on partitions that go to another member did not end within {} s",
            REVOKE_PATIENCE.as_secs()
        );
    }
}

fn client_commit(
    consumer: &BaseConsumer<MemberCallbacks>,
    commits: offsets::Commits<'_>,
) -> std::result::Result<(), KafkaError> {
    let list = offsets::commit_list(commits)?;
    consumer.commit(&list, rdkafka::consumer::CommitMode::Sync)
}

fn named(list: &TopicPartitionList) -> Vec<Partition> {
    let name = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| Partition {
        topic: element.topic().into(),
        number: u32::try_from(element.partition()).unwrap_or(0),
    };
    list.elements().iter().map(name).collect()
}
