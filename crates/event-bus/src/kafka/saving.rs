//! Commits of a member, and what each of them saved.

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

/// Saves offsets for partitions that are ours in these generations; blocks.
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
            // The client keeps what the trouble was.
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

/// Commits, in halves where the brokers refuse some partitions: then the library gives one error
/// for all partitions, even where it saved the others.
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

/// The result of a commit that left some partitions out. A refusal that only a human can end counts
/// more than trouble that ends by itself.
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

/// Errors that the brokers give for one partition, and not for the others.
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

/// Whether the same commit can succeed in a moment. It can after the group has begun a new
/// generation: the library keeps what is still ours without a word (KIP-429), and says what is not.
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
