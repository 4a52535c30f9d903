//! Writes changes: makes or finds their topics, leaves out what is written, and finds what cannot be.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Instant,
};

use handler::Failure;
use tokio::runtime::Handle;
use tracing::info;

use super::{
    LATE, TopicSettings,
    claim::Claims,
    cluster::TargetCluster,
    log::LOG_SETTINGS,
    marks::source_of,
    record::Outgoing,
    session::{Session, Trouble},
    topics::{self, Making},
};
use crate::{
    change::Unusable,
    figures::{Answered, Counts, Written},
};

/// The thread.
pub(super) struct Worker {
    cluster: TargetCluster,
    counts: Arc<Counts>,
    runtime: Handle,
    /// Made when it is needed, and again after a failure.
    work: Option<Work>,
    transactions: u64,
}

/// A session, and what goes with it.
struct Work {
    session: Session,
    /// Only where each change is to be written once.
    claims: Option<Claims>,
    topics: BTreeSet<String>,
}

/// A change, with its place in the list of all that are written together.
pub(super) type Numbered<'a> = (usize, &'a Outgoing);

/// What cannot be written.
#[derive(Default)]
struct Refused {
    rows: HashSet<u64>,
    list: Vec<(usize, Unusable)>,
}

impl Refused {
    fn add(&mut self, (index, change): Numbered<'_>, why: impl Into<String>) {
        self.rows.insert(change.row);
        self.list.push((index, change.unusable(why)));
    }

    /// What is left of changes. A later change of a row must not be written before an earlier one.
    fn leave<'a>(&mut self, changes: &[Numbered<'a>]) -> Vec<Numbered<'a>> {
        let (rest, late): (Vec<_>, Vec<_>) =
            changes.iter().partition(|(_, change)| !self.rows.contains(&change.row));
        for one in late {
            self.add(one, LATE);
        }
        rest
    }
}

impl Worker {
    pub(super) fn new(cluster: &TargetCluster, counts: &Arc<Counts>, runtime: Handle) -> Self {
        let (cluster, counts) = (cluster.clone(), Arc::clone(counts));
        Self { cluster, counts, runtime, work: None, transactions: 0 }
    }

    /// Writes changes, but not those that are written already; gives those that cannot be, in their
    /// order. Blocks.
    ///
    /// # Errors
    ///
    /// Why nobody knows whether they are written.
    pub(super) fn bring(
        &mut self,
        changes: &[Numbered<'_>],
    ) -> Result<Vec<(usize, Unusable)>, Failure> {
        let mut refused = Refused::default();
        let ended = self.topics_are_there(changes, &mut refused).map_err(Trouble::Broken);
        let ended = ended.and_then(|()| self.write_in_parts(changes, &mut refused));
        refused.list.sort_unstable_by_key(|(index, _)| *index);
        ended.map(|()| refused.list).map_err(|trouble| {
            // One way to recover: begin anew, and read what is written.
            self.work = None;
            match trouble {
                Trouble::Broken(failure) => failure,
                Trouble::TooLarge { topic } => {
                    Failure::unclear(format!("the topic {topic} takes no record of this size"))
                }
            }
        })
    }

    /// Writes changes together; where one is too large, in halves, until that is found.
    fn write_in_parts(
        &mut self,
        changes: &[Numbered<'_>],
        refused: &mut Refused,
    ) -> Result<(), Trouble> {
        let changes = refused.leave(changes);
        if changes.is_empty() {
            return Ok(());
        }
        match (self.write(&changes), &changes[..]) {
            (Err(Trouble::TooLarge { topic }), [one]) => {
                let bytes = one.1.bytes();
                refused.add(
                    *one,
                    format!(
                        "the topic {topic} takes no record of {bytes} bytes: raise its \
                         max.message.bytes, or leave large columns out with columns.exclude"
                    ),
                );
                Ok(())
            }
            (Err(Trouble::TooLarge { .. }), _) => {
                self.counts.retried();
                let (first, second) = changes.split_at(changes.len() / 2);
                self.write_in_parts(first, refused)?;
                self.write_in_parts(second, refused)
            }
            (ended, _) => ended,
        }
    }

    fn write(&mut self, changes: &[Numbered<'_>]) -> Result<(), Trouble> {
        let began = Instant::now();
        self.transactions += 1;
        let count = self.transactions;
        let Work { session, claims, .. } = self.work()?;
        let (mut new, mut records) = (Vec::with_capacity(changes.len()), Vec::new());
        match claims {
            None => new.extend(changes.iter().map(|(_, change)| *change)),
            Some(claims) => {
                let marked = changes.iter().map(|(_, change)| {
                    (*change, change.mark.as_ref().map(|mark| (source_of(&mark.place), mark)))
                });
                let marked: Vec<_> = marked.collect();
                let places = marked.iter().filter_map(|(_, mark)| mark.as_ref());
                claims.claim(session, &places.map(|(source, _)| source.clone()).collect())?;
                let mut marks = Vec::with_capacity(marked.len());
                for (change, mark) in &marked {
                    if let Some((source, mark)) = mark {
                        claims.marks.note(source, &mark.place);
                        if claims.marks.has(source, mark) {
                            continue;
                        }
                        marks.push((source.as_str(), *mark));
                    }
                    new.push(*change);
                }
                let name = format!("{}.{count}", session.id);
                records = claims.marks.records(marks.into_iter(), &name);
            }
        }
        if !new.is_empty() {
            session.write(&new, &records)?;
        }
        if let Some(claims) = claims {
            for (key, value) in &records {
                let taken = claims.marks.take(key, value.as_deref());
                taken.map_err(Failure::unclear)?;
            }
        }
        self.count(changes.len(), &new, began);
        Ok(())
    }

    fn count(&self, asked: usize, new: &[&Outgoing], began: Instant) {
        let deletes = new.iter().filter(|change| change.is_delete).count() as u64;
        let (all, bytes) = (new.len() as u64, new.iter().map(|change| change.bytes()).sum());
        if all > 0 {
            self.counts.answered(Answered { bytes, took: began.elapsed() });
        }
        self.counts.wrote(Written {
            rows: all - deletes,
            deletes,
            conflicts: asked as u64 - all,
        });
    }

    fn work(&mut self) -> Result<&mut Work, Failure> {
        let work = match self.work.take() {
            Some(work) => work,
            None => self.begin()?,
        };
        Ok(self.work.insert(work))
    }

    /// Connects, and reads what is written.
    fn begin(&self) -> Result<Work, Failure> {
        let cluster = &self.cluster;
        let session = Session::open(cluster)?;
        let topics = session.topics()?;
        let claims = match cluster.is_exactly_once() {
            false => None,
            true => {
                if !topics.contains(&*cluster.name) {
                    let replication = cluster.access.creation.and_then(|made| made.replication);
                    let settings = TopicSettings { partitions: Some(1), replication };
                    self.make(&cluster.name, settings, &LOG_SETTINGS)?;
                }
                Some(Claims::open(cluster)?)
            }
        };
        info!(brokers = cluster.access.brokers, id = session.id, "connected to Kafka");
        Ok(Work { session, claims, topics })
    }

    /// Makes topics that are missing, or refuses what is for them.
    fn topics_are_there(
        &mut self,
        changes: &[Numbered<'_>],
        refused: &mut Refused,
    ) -> Result<(), Failure> {
        let known = &self.work()?.topics;
        let topics = |change: &Outgoing| -> Vec<String> {
            change.records.iter().map(|record| record.topic.clone()).collect()
        };
        let unknown = |topic: &String| !known.contains(topic);
        let all = changes.iter().flat_map(|(_, change)| topics(change));
        let missing: BTreeSet<String> = all.filter(unknown).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let work = self.work()?;
        work.topics = work.session.topics()?;
        let mut missing = missing;
        missing.retain(|topic| !work.topics.contains(topic));
        if let Some(settings) = self.cluster.access.creation {
            for topic in std::mem::take(&mut missing) {
                self.make(&topic, settings, &[])?;
                // It takes a moment until all brokers know it.
                self.work()?.topics.insert(topic);
            }
        }
        let lacks = |change: &Outgoing| topics(change).into_iter().find(|it| missing.contains(it));
        let lacking = changes.iter().filter_map(|one| Some((*one, lacks(one.1)?)));
        for (one, topic) in lacking {
            let command = topics::command(&self.cluster, &topic, &[]);
            refused.add(
                one,
                format!("the topic {topic} is not there: set create = true, or make it: {command}"),
            );
        }
        match refused.list.first() {
            Some((_, first)) if refused.list.len() == changes.len() => {
                Err(Failure::unclear(first.why.clone()))
            }
            _ => Ok(()),
        }
    }

    fn make(
        &self,
        name: &str,
        settings: TopicSettings,
        more: &[(&str, &str)],
    ) -> Result<(), Failure> {
        let cluster = &self.cluster;
        let making = Making { name, settings, more, is_trial: false };
        self.runtime.block_on(async {
            let admin = topics::administrator(cluster)?;
            topics::make(cluster, &admin, &making).await
        })?;
        info!(topic = name, "made");
        Ok(())
    }
}
