//! How far many groups are, with few questions: the list of topics is asked for now and then, and
//! the ends of partitions once for all groups.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Cluster, control,
    offsets::{Committed, Isolation, Offsets},
    topic_id::Described,
};
use crate::{Partition, Progress, Result, TopicFilter};

/// How long the list of topics counts, how long their ids, and how long that a topic is missing.
const LIST_EVERY: Duration = Duration::from_secs(5);
const IDS_EVERY: Duration = Duration::from_secs(10);
const MISS_EVERY: Duration = Duration::from_mins(1);

/// The tables' topics, with the brokers that lead their partitions, in order.
pub(super) type TopicLeaders = BTreeMap<String, Vec<i32>>;

/// Looks at topics and ends for all groups.
pub(super) struct Surveyor {
    cluster: Cluster,
    kept: Mutex<SurveyCache>,
}

#[derive(Default)]
struct SurveyCache {
    /// A client that reads up to open transactions, and one that reads all.
    clients: Option<(Arc<Offsets>, Arc<Offsets>)>,
    topics: Option<(Instant, TopicLeaders)>,
    /// Whether the first client lists them next.
    is_turn: bool,
    /// The topics that groups read, as they were when their ids were asked for, by name.
    ids: Option<(Instant, BTreeMap<String, Described>)>,
    /// Names that a filter asks for without wildcards, and that were not there.
    missed: HashMap<String, Instant>,
}

/// What was seen at one moment.
pub(super) struct Surveyed {
    /// Of each group.
    partitions: Vec<Result<Vec<Partition>>>,
    ends: HashMap<Partition, (u64, u64)>,
    /// A number that stands for the topics, if they were listed this time.
    pub(super) topics: Option<u64>,
}

impl Surveyor {
    pub(super) fn new(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone(), kept: Mutex::default() }
    }

    /// Looks at all that these groups read; blocks.
    pub(super) fn look(&self, groups: &[(String, TopicFilter)]) -> Result<Surveyed> {
        let (readable, all) = self.clients()?;
        let (topics, is_new) = self.topics((&readable, &all))?;
        let mut partitions = Vec::with_capacity(groups.len());
        for (_, filter) in groups {
            let mut read = passing(&topics, filter);
            let added = self.add_missing(&all, filter, (&topics, &mut read));
            partitions.push(added.map(|()| of_topics(&read)));
        }
        let mut every: Vec<Partition> = partitions.iter().flatten().flatten().cloned().collect();
        every.sort_unstable();
        every.dedup();
        let ends = readable.ends(&every)?.into_iter().zip(all.ends(&every)?);
        let known = every.into_iter().zip(ends);
        let ends = known.filter_map(|(of, (end, high))| Some((of, (end?, high?)))).collect();
        let is_read =
            |name: &str| partitions.iter().flatten().flatten().any(|of| *of.topic == *name);
        let topics = match is_new {
            true => {
                let read: TopicLeaders =
                    topics.into_iter().filter(|(name, _)| is_read(name)).collect();
                Some(self.fingerprint(&all, &read)?)
            }
            false => None,
        };
        Ok(Surveyed { partitions, ends, topics })
    }

    fn clients(&self) -> Result<(Arc<Offsets>, Arc<Offsets>)> {
        if let Some((readable, all)) = &self.lock().clients {
            return Ok((Arc::clone(readable), Arc::clone(all)));
        }
        // If the brokers refuse us, we hear it here at once; later calls would wait for an answer.
        self.cluster.reach()?;
        // The library wants a name, and joins no group.
        let name = control::topic_name(&self.cluster);
        let open = |isolation| Offsets::open_with(&self.cluster, &name, isolation).map(Arc::new);
        let opened = (open(Isolation::Committed)?, open(Isolation::All)?);
        self.lock().clients = Some(opened.clone());
        Ok(opened)
    }

    /// The topics, and whether they were listed just now.
    fn topics(&self, (one, other): (&Offsets, &Offsets)) -> Result<(TopicLeaders, bool)> {
        if let Some((at, topics)) = &self.lock().topics
            && at.elapsed() < LIST_EVERY
        {
            return Ok((topics.clone(), false));
        }
        // By turns: a client that lists them learns which brokers lead now, if one hangs.
        let is_turn = {
            let mut kept = self.lock();
            kept.is_turn = !kept.is_turn;
            kept.is_turn
        };
        let topics = if is_turn { one } else { other }.list()?;
        self.lock().topics = Some((Instant::now(), topics.clone()));
        Ok((topics, true))
    }

    /// A number that stands for all topics that are read, with their ids, partitions and leaders.
    /// The leaders count because a member that waits for a hanging broker has to ask who leads now.
    fn fingerprint(&self, client: &Offsets, read: &TopicLeaders) -> Result<u64> {
        let is_as_before = self.lock().ids.as_ref().is_some_and(|(at, ids)| {
            let before = ids.iter().map(|(name, of)| (name, of.partitions as usize));
            let now = read.iter().map(|(name, leaders)| (name, leaders.len()));
            at.elapsed() < IDS_EVERY && before.eq(now)
        });
        if !is_as_before {
            let names: Vec<&str> = read.keys().map(String::as_str).collect();
            let described = client.describe(&names)?.into_iter();
            let ids = described.map(|of| (of.topic.clone(), of)).collect();
            self.lock().ids = Some((Instant::now(), ids));
        }
        let mut hasher = DefaultHasher::new();
        read.hash(&mut hasher);
        if let Some((_, ids)) = &self.lock().ids {
            ids.values().for_each(|of| (&of.topic, &of.id, of.partitions).hash(&mut hasher));
        }
        Ok(hasher.finish())
    }

    /// The brokers do not list what a user may not see; asked by its name, they say so.
    fn add_missing(
        &self,
        client: &Offsets,
        filter: &TopicFilter,
        (topics, read): (&TopicLeaders, &mut TopicLeaders),
    ) -> Result<()> {
        let is_missed = |name: &String| {
            let missed = self.lock().missed.get(name).copied();
            missed.is_some_and(|at| at.elapsed() < MISS_EVERY)
        };
        let names: Vec<String> = filter
            .literals()
            .filter(|name| !topics.contains_key(name) && !is_missed(name))
            .collect();
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = client.describe(&asked)?.into_iter();
        read.extend(found.map(|one| (one.topic, vec![-1; one.partitions as usize])));
        let missed = names.into_iter().filter(|name| !read.contains_key(name));
        self.lock().missed.extend(missed.map(|name| (name, Instant::now())));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, SurveyCache> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Surveyed {
    /// How far the group at this index of the question is, by what it has committed.
    pub(super) fn progress(
        &self,
        at: usize,
        committed: impl FnOnce(&[Partition]) -> Result<Vec<Option<Committed>>>,
    ) -> Result<Vec<Progress>> {
        let mut known = self.partitions.get(at).cloned().unwrap_or_else(|| Ok(Vec::new()))?;
        known.retain(|partition| self.ends.contains_key(partition));
        let committed = committed(&known)?;
        let progress = known.into_iter().zip(committed).filter_map(|(partition, committed)| {
            let (end, high) = *self.ends.get(&partition)?;
            let committed = committed.map(|committed| committed.offset);
            Some(Progress { partition, committed, end, high: high.max(end) })
        });
        Ok(progress.collect())
    }
}

fn passing(topics: &TopicLeaders, filter: &TopicFilter) -> TopicLeaders {
    let passes = filter.matcher();
    let passing = topics.iter().filter(|(name, _)| passes(name));
    passing.map(|(name, leaders)| (name.clone(), leaders.clone())).collect()
}

fn of_topics(topics: &TopicLeaders) -> Vec<Partition> {
    let of_one = |(name, leaders): (&String, &Vec<i32>)| {
        let topic: Arc<str> = name.as_str().into();
        let count = u32::try_from(leaders.len()).unwrap_or(u32::MAX);
        (0..count).map(move |number| Partition { topic: Arc::clone(&topic), number })
    };
    topics.iter().flat_map(of_one).collect()
}
