//! What the brokers know of a group's offsets, asked by a client that never joins the group.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    groups::{GroupList, GroupMemberInfo},
    metadata::{Metadata, MetadataTopic},
};

use super::{
    Cluster, assignment,
    client::{self, Voice},
    topic_id::{self, Described},
};
use crate::{Error, Partition, Result, TopicFilter};

/// How long the brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The library's two times that stand for an end of a partition.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// A client of one group. Every call blocks until the brokers have answered.
pub(super) struct Offsets {
    pub(super) cluster: Cluster,
    pub(super) group: String,
    consumer: BaseConsumer<Voice>,
    voice: Voice,
}

/// How much of a partition a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    /// What lies before the first transaction that is open.
    Committed,
    /// Everything.
    All,
}

/// A moment in a partition.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    /// The oldest record kept.
    Earliest,
    /// The end that a reader of committed records sees.
    Latest,
    /// The first record at or after a time, in ms since 1970; the end, if there is none.
    Time(i64),
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: u64,
    pub(super) note: Note,
}

/// The note beside a committed offset: which topic it is for, and since when the group reads it.
///
/// Without the note, an offset of a deleted topic would count for the topic that has the name now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// The topic's id; empty where another program committed.
    pub(super) id: String,
    pub(super) since: u64,
}

impl Note {
    fn read(text: &str) -> Self {
        let (id, since) = text.split_once('@').unwrap_or_default();
        since.parse().map_or_else(|_| Self::default(), |since| Self { id: id.to_owned(), since })
    }

    fn write(&self) -> String {
        format!("{}@{}", self.id, self.since)
    }
}

/// Offsets to commit.
pub(super) type Commits<'a> = &'a [(Partition, u64, Note)];

impl Offsets {
    pub(super) fn open(cluster: &Cluster, group: &str) -> Result<Self> {
        Self::open_with(cluster, group, Isolation::Committed)
    }

    pub(super) fn open_with(cluster: &Cluster, group: &str, isolation: Isolation) -> Result<Self> {
        let isolation = match isolation {
            Isolation::Committed => "read_committed",
            Isolation::All => "read_uncommitted",
        };
        let voice = Voice::default();
        let mut config = cluster.client(&format!("{group}-offsets"));
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("isolation.level", isolation)
            .set("allow.auto.create.topics", "false");
        let consumer = BaseConsumer::from_config_and_context(&config, voice.clone())
            .map_err(|error| cluster.error("cannot reach the brokers", &error, &voice))?;
        Ok(Self { cluster: cluster.clone(), group: group.to_owned(), consumer, voice })
    }

    /// The topics of tables that the brokers show, with the leaders of their partitions, in order.
    pub(super) fn list(&self) -> Result<BTreeMap<String, Vec<i32>>> {
        let metadata = self.consumer.fetch_metadata(None, PATIENCE);
        let metadata = self.told("cannot list the topics", metadata)?;
        let tables =
            metadata.topics().iter().filter(|one| is_data(one.name(), &self.cluster.prefix));
        let leaders = |topic: &MetadataTopic| {
            let mut partitions: Vec<(i32, i32)> =
                topic.partitions().iter().map(|one| (one.id(), one.leader())).collect();
            partitions.sort_unstable();
            partitions.into_iter().map(|(_, leader)| leader).collect()
        };
        Ok(tables.map(|one| (one.name().to_owned(), leaders(one))).collect())
    }

    /// The tables' topics that pass a filter, by name.
    pub(super) fn topics(&self, filter: &TopicFilter) -> Result<Vec<Described>> {
        self.topics_of(filter, self.consumer.fetch_metadata(None, PATIENCE))
    }

    /// The same, of what another client has listed.
    pub(super) fn topics_of(
        &self,
        filter: &TopicFilter,
        listed: KafkaResult<Metadata>,
    ) -> Result<Vec<Described>> {
        let metadata = self.told("cannot list the topics", listed)?;
        let passes = filter.matcher();
        let names = metadata.topics().iter().map(MetadataTopic::name);
        let named: Vec<String> = filter.literals().collect();
        // The brokers do not list what a user may not see; asked by its name, they say so.
        let mut names: Vec<&str> = names
            .filter(|name| passes(name))
            .chain(named.iter().map(String::as_str))
            .filter(|name| is_data(name, &self.cluster.prefix))
            .collect();
        names.sort_unstable();
        names.dedup();
        self.describe(&names)
    }

    /// What these topics are now; those that are not there are left out.
    pub(super) fn describe(&self, names: &[&str]) -> Result<Vec<Described>> {
        let described = topic_id::describe(self.consumer.client(), names);
        self.told(&format!("cannot look at {}", client::listed(names)), described)
    }

    /// What the group has committed, in the order asked.
    pub(super) fn committed(&self, partitions: &[Partition]) -> Result<Vec<Option<Committed>>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let list = self.list_of(partitions, Offset::Invalid)?;
        let doing = &*format!("cannot read the offsets of the group {}", self.group);
        let found = self.told(doing, self.consumer.committed_offsets(list, PATIENCE))?;
        let read = |partition: &Partition| {
            let element = found.find_partition(&partition.topic, number(partition));
            let Some(element) = element else { return Ok(None) };
            self.told(doing, element.error())?;
            let Offset::Offset(offset) = element.offset() else { return Ok(None) };
            let note = Note::read(element.metadata());
            Ok(Some(Committed { offset: u64::try_from(offset).unwrap_or(0), note }))
        };
        partitions.iter().map(read).collect()
    }

    /// Where a moment is, in the order asked.
    pub(super) fn at(&self, partitions: &[Partition], moment: Moment) -> Result<Vec<u64>> {
        let time = match moment {
            Moment::Earliest => EARLIEST,
            Moment::Latest => LATEST,
            Moment::Time(time) => time.max(0),
        };
        let found = self.ask_times(partitions, time, |_| false)?;
        if found.iter().all(Option::is_some) {
            return Ok(found.into_iter().flatten().collect());
        }
        let ends = self.ask_times(partitions, LATEST, |_| false)?;
        let either = found.into_iter().zip(ends);
        Ok(either.map(|(found, end)| found.or(end).unwrap_or(0)).collect())
    }

    /// Where partitions end, in the order asked; `None` for one that is not there any more.
    pub(super) fn ends(&self, partitions: &[Partition]) -> Result<Vec<Option<u64>>> {
        self.ask_times(partitions, LATEST, is_gone)
    }

    /// Where a time is, in the order asked; `None` where no record is so late, and for a partition
    /// whose error is excused.
    fn ask_times(
        &self,
        partitions: &[Partition],
        time: i64,
        is_excused: impl Fn(&KafkaError) -> bool,
    ) -> Result<Vec<Option<u64>>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let doing = "cannot look for offsets";
        let list = self.list_of(partitions, Offset::from_raw(time))?;
        let found = self.told(doing, self.consumer.offsets_for_times(list, PATIENCE))?;
        let read = |partition: &Partition| {
            let element = found.find_partition(&partition.topic, number(partition));
            let Some(element) = element else { return Ok(None) };
            match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(offset)) => Ok(u64::try_from(offset).ok()),
                (Ok(()), _) => Ok(None),
                (Err(error), _) if is_excused(&error) => Ok(None),
                (error, _) => self.told(doing, error).map(|()| None),
            }
        };
        partitions.iter().map(read).collect()
    }

    /// Saves offsets for a group that has no members now.
    pub(super) fn commit(&self, commits: Commits<'_>) -> Result<()> {
        let list = self.told("cannot write offsets", commit_list(commits))?;
        match self.consumer.commit(&list, CommitMode::Sync) {
            Err(KafkaError::ConsumerCommit(Code::UnknownMemberId | Code::IllegalGeneration)) => {
                Err(Error::GroupActive { group: self.group.clone() })
            }
            done => self.told(&saving(&self.group, commits), done),
        }
    }

    /// Whether the group has members now.
    pub(super) fn is_active(&self) -> Result<bool> {
        Ok(self.look()?.groups().iter().any(|group| !group.members().is_empty()))
    }

    /// The partitions that the members of the group were given; `None` while that is being decided.
    pub(super) fn given(&self) -> Result<Option<HashSet<Partition>>> {
        let groups = self.look()?;
        let stable = groups.groups().iter().find(|group| group.state() == "Stable");
        let Some(group) = stable else { return Ok(None) };
        let of_members = group.members().iter().filter_map(GroupMemberInfo::assignment);
        Ok(Some(of_members.filter_map(assignment::read).flatten().collect()))
    }

    fn look(&self) -> Result<GroupList> {
        let groups = self.consumer.fetch_group_list(Some(&self.group), PATIENCE);
        self.told(&format!("cannot look at the group {}", self.group), groups)
    }

    /// What a human has to know, if the brokers refused us.
    pub(super) fn told<T>(&self, doing: &str, answer: KafkaResult<T>) -> Result<T> {
        /// More than a client says of one failure; the rest waits.
        const MAX_EVENTS: usize = 64;
        // The client's messages come out of its queue, and do not stay there for long.
        for _ in 0..MAX_EVENTS {
            let _ = self.consumer.poll(Duration::ZERO);
        }
        answer.map_err(|error| self.cluster.error(doing, &error, &self.voice))
    }

    fn list_of(&self, partitions: &[Partition], offset: Offset) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            let added = list.add_partition_offset(&partition.topic, number(partition), offset);
            self.told("cannot name a partition", added)?;
        }
        Ok(list)
    }
}

fn is_gone(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)
    )
}

/// What the library takes as offsets to commit.
pub(super) fn commit_list(commits: Commits<'_>) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for (partition, offset, note) in commits {
        let mut element = list.add_partition(&partition.topic, number(partition));
        element.set_offset(Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX)))?;
        element.set_metadata(note.write());
    }
    Ok(list)
}

/// What was tried, when offsets could not be saved.
pub(super) fn saving(group: &str, commits: Commits<'_>) -> String {
    let mut topics: Vec<&str> = commits.iter().map(|(partition, ..)| &*partition.topic).collect();
    topics.sort_unstable();
    topics.dedup();
    format!("cannot save the offsets of the group {group} in {}", client::listed(&topics))
}

/// A partition's number as the library has it.
pub(super) fn number(partition: &Partition) -> i32 {
    i32::try_from(partition.number).unwrap_or(i32::MAX)
}

/// All partitions of topics.
pub(super) fn partitions(topics: &[Described]) -> Vec<Partition> {
    let of_one = |topic: &Described| {
        let name: Arc<str> = topic.topic.as_str().into();
        (0..topic.partitions).map(move |number| Partition { topic: Arc::clone(&name), number })
    };
    topics.iter().flat_map(of_one).collect()
}

/// Whether a topic holds changes: the topics of the programs themselves have the same prefix.
fn is_data(topic: &str, prefix: &str) -> bool {
    let Some(rest) = topic.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) else {
        return false;
    };
    let own = ["dts-checkpoint.", "parked."];
    !matches!(rest, "control" | "transactions" | "ddl")
        && !own.iter().any(|own| rest.starts_with(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_programs_keep_for_themselves_is_no_data() {
        let cases = [
            ("db.s.t", true),
            ("db.everything", true),
            ("db.dts-checkpoint.main", false),
            ("db.parked.search", false),
            ("db.control", false),
            ("db.transactions", false),
            ("db.ddl", false),
            ("db.s.control", true),
            ("dbx.s.t", false),
            ("db", false),
        ];
        for (topic, expected) in cases {
            assert_eq!(is_data(topic, "db"), expected, "{topic}");
        }
        let every = crate::TopicName::new("db").filter(&[("*".to_owned(), "*".to_owned())]);
        let checkpoint = "db.dts-checkpoint.main";
        assert!(every.matcher()(checkpoint), "its name alone does not tell it from a table's");
    }

    #[test]
    fn a_note_of_another_program_says_nothing() {
        let note = Note { id: "3Fq/x+A==".to_owned(), since: 17 };
        assert_eq!(Note::read(&note.write()), note);
        for other in ["", "by hand", "a@b"] {
            assert_eq!(Note::read(other), Note::default());
        }
    }
}
