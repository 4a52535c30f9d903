//! How far groups are, and setting their offsets: from outside of the group.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use service::clock::now_ms;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::{
    Cluster, begin,
    control::{self, Changes},
    offsets::{self, Moment, Note, Offsets},
    survey::Surveyor,
};
use crate::{Error, Partition, Progress, Reset, ResetTo, Result, Survey, TopicFilter};

/// The groups that were asked for, each with a client that is kept for the next time.
pub(super) struct KafkaGroups {
    cluster: Cluster,
    clients: Arc<Mutex<Clients>>,
    surveyor: Arc<Surveyor>,
}

/// By group; with when each was used last.
type Clients = HashMap<String, (Instant, Arc<Offsets>)>;

/// How long the brokers may take for each half of a survey.
const SURVEY_PATIENCE: Duration = Duration::from_secs(4);

/// A client that nobody used for so long is closed.
const MAX_IDLE: Duration = Duration::from_mins(1);

impl KafkaGroups {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let surveyor = Arc::new(Surveyor::new(cluster));
        Self { cluster: cluster.clone(), clients: Arc::default(), surveyor }
    }

    /// How far a group is in all partitions of the topics that pass the filter.
    pub(super) async fn progress(
        &self,
        group: &str,
        topics: &TopicFilter,
    ) -> Result<Vec<Progress>> {
        let topics = topics.clone();
        self.ask(group, move |offsets| {
            let partitions = offsets::partitions(&offsets.topics(&topics)?);
            let committed = offsets.committed(&partitions)?;
            let ends = offsets.at(&partitions, Moment::Latest)?;
            let all = partitions.into_iter().zip(committed).zip(ends);
            let progress = all.map(|((partition, committed), end)| Progress {
                partition,
                committed: committed.map(|committed| committed.offset),
                end,
                high: end,
            });
            Ok(progress.collect())
        })
        .await
    }

    /// How far several groups are.
    pub(super) async fn survey(&self, groups: &[(String, TopicFilter)]) -> Survey {
        let (surveyor, asked) = (Arc::clone(&self.surveyor), groups.to_vec());
        let looked = soon(spawn_blocking(move || surveyor.look(&asked)), &self.cluster).await;
        let seen = match looked {
            Ok(seen) => Arc::new(seen),
            Err(error) => {
                let groups = groups.iter().map(|_| Err(error.clone())).collect();
                return Survey { groups, topics: None };
            }
        };
        let asked = groups.iter().enumerate().map(|(at, (group, _))| {
            let (cluster, group) = (self.cluster.clone(), group.clone());
            let (clients, seen) = (Arc::clone(&self.clients), Arc::clone(&seen));
            spawn_blocking(move || {
                seen.progress(at, |of| open(&cluster, &group, &clients)?.committed(of))
            })
        });
        // All at once, so that brokers that do not answer are waited for only once.
        let asked: Vec<_> = asked.collect();
        let deadline = Instant::now() + SURVEY_PATIENCE;
        let mut groups = Vec::with_capacity(asked.len());
        for one in asked {
            let left = deadline.saturating_duration_since(Instant::now());
            groups.push(within(left, one, &self.cluster).await);
        }
        Survey { groups, topics: seen.topics }
    }

    /// Where a group would be set, for each partition.
    pub(super) async fn plan_reset(
        &self,
        group: &str,
        topics: &TopicFilter,
        to: ResetTo,
    ) -> Result<Vec<Reset>> {
        let topics = topics.clone();
        self.ask(group, move |offsets| {
            let partitions = offsets::partitions(&offsets.topics(&topics)?);
            let from = offsets.committed(&partitions)?;
            let lows = offsets.at(&partitions, Moment::Earliest)?;
            let ends = offsets.at(&partitions, Moment::Latest)?;
            let targets = match to {
                ResetTo::Earliest => lows.clone(),
                ResetTo::Latest => ends.clone(),
                ResetTo::Offset(offset) => vec![offset; partitions.len()],
                ResetTo::Time(time) => {
                    offsets.at(&partitions, Moment::Time(begin::millis(time)))?
                }
            };
            let bounds = lows.into_iter().zip(ends).zip(targets);
            let to = bounds.map(|((low, end), target)| target.clamp(low, end.max(low)));
            let resets = partitions.into_iter().zip(from).zip(to);
            let reset = resets.map(|((partition, from), to)| Reset {
                partition,
                from: from.map(|committed| committed.offset),
                to,
            });
            Ok(reset.collect())
        })
        .await
    }

    /// Where a moment is in one partition, asked in the name of a group, without a look at what the
    /// group has committed.
    pub(super) async fn place(
        &self,
        group: &str,
        partition: &Partition,
        moment: Moment,
    ) -> Result<u64> {
        let partition = [partition.clone()];
        let found = self.ask(group, move |offsets| offsets.at(&partition, moment)).await?;
        Ok(found.first().copied().unwrap_or_default())
    }

    /// Sets a group that has no members.
    pub(super) async fn reset(&self, group: &str, resets: &[Reset]) -> Result<()> {
        control::make_topic(&self.cluster).await?;
        let resets = resets.to_vec();
        self.ask(group, move |offsets| reset(offsets, &resets)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        group: &str,
        question: impl FnOnce(&Offsets) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (cluster, group) = (self.cluster.clone(), group.to_owned());
        let clients = Arc::clone(&self.clients);
        let asked = spawn_blocking(move || question(&*open(&cluster, &group, &clients)?)).await;
        asked.map_err(|panic| Error::Internal(panic.to_string()))?
    }
}

impl Drop for KafkaGroups {
    /// Closing a client takes a while, and nobody waits for it.
    fn drop(&mut self) {
        let (clients, surveyor) = (Arc::clone(&self.clients), Arc::clone(&self.surveyor));
        std::thread::spawn(move || {
            lock(&clients).clear();
            drop(surveyor);
        });
    }
}

/// Waits for what blocks, for as long as a survey may take.
async fn soon<T>(asked: JoinHandle<Result<T>>, cluster: &Cluster) -> Result<T> {
    within(SURVEY_PATIENCE, asked, cluster).await
}

async fn within<T>(
    patience: Duration,
    asked: JoinHandle<Result<T>>,
    cluster: &Cluster,
) -> Result<T> {
    match timeout(patience, asked).await {
        Ok(answer) => answer.map_err(|panic| Error::Internal(panic.to_string()))?,
        Err(_) => Err(Error::Unavailable {
            address: cluster.config.address.clone(),
            reason: format!("no answer for {} s", SURVEY_PATIENCE.as_secs()),
        }),
    }
}

/// The client of a group; blocks.
fn open(cluster: &Cluster, group: &str, clients: &Mutex<Clients>) -> Result<Arc<Offsets>> {
    if let Some((used, client)) = lock(clients).get_mut(group) {
        *used = Instant::now();
        return Ok(Arc::clone(client));
    }
    // What the brokers have against us is told here at once; later calls would wait for an answer.
    cluster.reach()?;
    let client = Arc::new(Offsets::open(cluster, group)?);
    let idle: Vec<_> = {
        let mut clients = lock(clients);
        clients.insert(group.to_owned(), (Instant::now(), Arc::clone(&client)));
        clients.extract_if(|_, (used, _)| used.elapsed() > MAX_IDLE).collect()
    };
    // Closed without the lock, for that takes a while.
    drop(idle);
    Ok(client)
}

fn lock(clients: &Mutex<Clients>) -> MutexGuard<'_, Clients> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Commits the offsets, and writes down that the group begins there. What was known of the topics
/// earlier does not count any more, nor what was known of deleted topics.
fn reset(offsets: &Offsets, resets: &[Reset]) -> Result<()> {
    let group = &offsets.group;
    if offsets.is_active()? {
        return Err(Error::GroupActive { group: group.clone() });
    }
    let known = control::read(&offsets.cluster, group)?;
    let mut by_topic: BTreeMap<&str, BTreeMap<u32, u64>> = BTreeMap::new();
    for Reset { partition, to, .. } in resets {
        by_topic.entry(&partition.topic).or_default().insert(partition.number, *to);
    }
    let names: Vec<&str> = by_topic.keys().copied().collect();
    let (mut commits, mut changes) = (Vec::new(), Changes::default());
    for topic in offsets.describe(&names)? {
        let Some(wanted) = by_topic.get(&*topic.topic) else { continue };
        // Partitions that are not set keep their offset, if they have one in this very topic.
        let before = known.topics.get(&topic.topic).filter(|begun| begun.id == topic.id);
        let since = before.map_or_else(now_ms, |begun| begun.since);
        let mut from = before.map_or_else(Vec::new, |begun| begun.from.clone());
        for (number, offset) in wanted {
            let at = *number as usize;
            from.resize(from.len().max(at + 1), 0);
            from[at] = *offset;
            let partition = Partition { topic: topic.topic.as_str().into(), number: *number };
            let note = Note { id: topic.id.clone(), since };
            commits.push((partition, *offset, note));
        }
        let begun = control::Begun { id: topic.id.clone(), since, from, committed: true };
        changes.topic(group, &topic.topic, &begun);
    }
    offsets.commit(&commits)?;
    control::write(&offsets.cluster, &changes)
}
