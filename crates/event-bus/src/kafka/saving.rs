//! Commits of a member: what they saved, for each partition.

use std::{
    sync::Weak,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{
    client,
    member::MemberCallbacks,
    offsets::{self, Commits, Note},
};
use crate::{Error, Partition, Result};

/// How long a commit is tried while the group or its coordinator moves.
const PATIENCE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(50);

/// Saves offsets for partitions that are ours since those terms; blocks.
pub(super) fn commit(
    member: &Weak<BaseConsumer<MemberCallbacks>>,
    generations: &[(Partition, u64, u64)],
    address: &str,
) -> Result<()> {
    let Some((first, ..)) = generations.first() else { return Ok(()) };
    let lost = |partition: &Partition| Error::PartitionLost(partition.clone());
    let Some(consumer) = member.upgrade() else { return Err(lost(first)) };
    let member = consumer.context();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let note = |(partition, offset, generation): &(Partition, u64, u64)| {
            let note = member.desk.note(partition, *generation).ok_or_else(|| lost(partition))?;
            Ok((partition.clone(), *offset, note))
        };
        let commits: Vec<(Partition, u64, Note)> =
            generations.iter().map(note).collect::<Result<_>>()?;
        let mut refused = Vec::new();
        let Err(error) = save(&consumer, &commits, &mut refused) else {
            return unsaved(&refused, &member.wanted.group, address);
        };
        let code = match error.rdkafka_error_code() {
            // What it was is kept by the client.
            Some(Code::Fatal) => consumer.client().fatal_error().map(|(code, _)| code),
            code => code,
        };
        match code {
            Some(Code::FencedInstanceId) => return Err(member.fenced()),
            Some(Code::UnknownMemberId | Code::AssignmentLost) => return Err(lost(first)),
            _ => {}
        }
        if !code.is_some_and(is_moving) || Instant::now() > deadline {
            let doing = offsets::saving(&member.wanted.group, &commits);
            return Err(member.voice.explain(&doing, &error, address));
        }
        thread::park_timeout(STEP);
    }
}

/// Commits, in halves where the brokers do not take some of it: the library gives one error for
/// all partitions then, also where it saved the others.
fn save(
    consumer: &BaseConsumer<MemberCallbacks>,
    commits: Commits<'_>,
    refused: &mut Vec<(Partition, Code)>,
) -> std::result::Result<(), KafkaError> {
    let list = offsets::commit_list(commits)?;
    let Err(error) = consumer.commit(&list, CommitMode::Sync) else { return Ok(()) };
    match (error.rdkafka_error_code().filter(|code| is_of_one(*code)), commits) {
        (None, _) => Err(error),
        (Some(code), [(partition, ..)]) => {
            refused.push((partition.clone(), code));
            Ok(())
        }
        (Some(_), _) => {
            let (one, other) = commits.split_at(commits.len() / 2);
            save(consumer, one, refused)?;
            save(consumer, other, refused)
        }
    }
}

/// What a commit comes to that some partitions were left out of. A refusal that a human has to end
/// counts before what passes by itself.
fn unsaved(refused: &[(Partition, Code)], group: &str, address: &str) -> Result<()> {
    let Some((_, first)) = refused.first() else { return Ok(()) };
    for (partition, code) in refused {
        let reason = format!(
            "cannot save the offsets of the group {group} in the topic {}: {code}",
            partition.topic
        );
        let error = client::meaning(*code, reason, address);
        if !error.is_transient() {
            return Err(error);
        }
    }
    let partitions = refused.iter().map(|(partition, _)| partition.clone()).collect();
    Err(Error::Unsaved { partitions, reason: first.to_string() })
}

/// Errors that the brokers give for one partition, whatever becomes of the others.
fn is_of_one(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopicOrPartition
            | Code::UnknownTopicId
            | Code::TopicAuthorizationFailed
            | Code::OffsetMetadataTooLarge
            | Code::InvalidCommitOffsetSize
    )
}

/// The same commit can succeed in a moment. So after a generation that has passed: what is still
/// ours in the next one the library keeps without a word (KIP-429), and what is not it tells us.
fn is_moving(code: Code) -> bool {
    matches!(
        code,
        Code::RebalanceInProgress
            | Code::IllegalGeneration
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::WaitingForCoordinator
            | Code::InProgress
    )
}
