//! Commits of a member, and what each of them saved.

use std::{
    sync::Weak,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};

use super::{
    client, group_place,
    kept::{KafkaTable, SaveError},
    member::MemberCallbacks,
    offsets::{self, Commits, Note},
};
use crate::{CheckpointChange, Error, KeptChange, Partition, Result, kept};

/// How long a commit is tried while the group or its coordinator moves.
const PATIENCE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(50);

/// Offsets of partitions, each with the generation in which it is ours.
pub(super) type Generations = [(Partition, u64, u64)];

/// Saves offsets for partitions that are ours in these generations; blocks.
pub(super) fn commit(
    member: &Weak<BaseConsumer<MemberCallbacks>>,
    generations: &Generations,
    address: &str,
) -> Result<()> {
    let mut refused = Vec::new();
    let group = try_until_moved(
        (member, generations),
        |_| Ok(()),
        |consumer, commits, ()| {
            save(consumer, commits, &mut refused).map_err(|error| {
                let member = consumer.context();
                let code = match error.rdkafka_error_code() {
                    // The client keeps what the trouble was.
                    Some(Code::Fatal) => consumer.client().fatal_error().map(|(code, _)| code),
                    code => code,
                };
                let doing = offsets::saving(&member.wanted.group, commits);
                SaveError { code, told: client::explain(&member.voice, &doing, &error, address) }
            })
        },
    )?;
    unsaved(&refused, &group, address)
}

/// The same for changes of the group's table, with the offsets of their partitions; blocks.
pub(super) fn commit_changes(
    member: &Weak<BaseConsumer<MemberCallbacks>>,
    generations: &Generations,
    (table, changes): (&KafkaTable, Vec<KeptChange>),
) -> Result<()> {
    let changes: Vec<CheckpointChange> = kept::named(changes);
    // The place comes first: what is ours after that is ours in the generation of this place, and
    // the brokers refuse an earlier generation.
    try_until_moved((member, generations), group_place::of, |_, commits, place| {
        table.save(&place, commits, &changes)
    })
    .map(drop)
}

/// Saves something while the group or its coordinator moves; gives the group's name. Looks at what
/// is ours after `prepare`, each time.
fn try_until_moved<T>(
    (member, generations): (&Weak<BaseConsumer<MemberCallbacks>>, &Generations),
    prepare: impl Fn(&BaseConsumer<MemberCallbacks>) -> KafkaResult<T>,
    mut save: impl FnMut(
        &BaseConsumer<MemberCallbacks>,
        Commits<'_>,
        T,
    ) -> std::result::Result<(), SaveError>,
) -> Result<String> {
    let Some((first, ..)) = generations.first() else { return Ok(String::new()) };
    let lost = |partition: &Partition| Error::PartitionLost(partition.clone());
    let Some(consumer) = member.upgrade() else { return Err(lost(first)) };
    let member = consumer.context();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let prepared = prepare(&consumer);
        let note = |(partition, offset, generation): &(Partition, u64, u64)| {
            let note = member.desk.note(partition, *generation).ok_or_else(|| lost(partition))?;
            Ok((partition.clone(), *offset, note))
        };
        let commits: Vec<(Partition, u64, Note)> =
            generations.iter().map(note).collect::<Result<_>>()?;
        let saved = prepared.map_err(|error| SaveError {
            code: error.rdkafka_error_code(),
            told: member.offsets.cluster.error("cannot commit", &error, &member.voice),
        });
        let saved = saved.and_then(|prepared| save(&consumer, &commits, prepared));
        let Err(SaveError { code, told }) = saved else {
            return Ok(member.wanted.group.clone());
        };
        match code {
            Some(Code::FencedInstanceId) => return Err(member.fenced()),
            Some(Code::UnknownMemberId | Code::AssignmentLost) => return Err(lost(first)),
            _ => {}
        }
        if !code.is_some_and(is_moving) || Instant::now() > deadline {
            return Err(told);
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
