//! Writes changes: finds or makes their topics, leaves out what is there, and finds what cannot be.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
    marks::{Floors, MarkRecord, Marks},
    record::Outgoing,
    session::{Session, Trouble},
    topics::{self, Making},
};
use crate::{
    change::Unusable,
    figures::{Answered, Counts, Written},
};

/// A change of this size is written alone when one of several is too large. Topics take more than
/// this, unless somebody has set them so.
const SUSPICIOUS_BYTES: usize = 512 << 10;

/// The thread.
pub(super) struct Worker {
    cluster: TargetCluster,
    counts: Arc<Counts>,
    runtime: Handle,
    /// Made when it is needed, and again after a failure.
    work: Option<Work>,
    /// The session before, which may have left something open.
    ended: Option<String>,
    /// All that was written to.
    met: BTreeSet<String>,
    transactions: u64,
    floors: Floors,
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
    /// The first change of each row that cannot be.
    rows: HashMap<u64, usize>,
    list: BTreeMap<usize, Unusable>,
}

impl Refused {
    fn add(&mut self, (index, change): Numbered<'_>, why: impl Into<String>) {
        let first = self.rows.entry(change.row).or_insert(index);
        *first = index.min(*first);
        self.list.insert(index, change.unusable(why));
    }

    /// What is left of changes. A later change of a row must not be written before an earlier one.
    fn leave<'a>(&mut self, changes: &[Numbered<'a>]) -> Vec<Numbered<'a>> {
        if self.list.is_empty() {
            return changes.to_vec();
        }
        let mut rest = Vec::with_capacity(changes.len());
        for &one in changes {
            let (index, change) = one;
            if self.list.contains_key(&index) {
                continue;
            }
            match self.rows.get(&change.row) {
                Some(first) if *first < index => self.add(one, LATE),
                _ => rest.push(one),
            }
        }
        rest
    }
}

impl Worker {
    pub(super) fn new(cluster: &TargetCluster, counts: &Arc<Counts>, runtime: Handle) -> Self {
        let (cluster, counts) = (cluster.clone(), Arc::clone(counts));
        let (work, ended, met) = (None, None, BTreeSet::new());
        let (transactions, floors) = (0, Floors::default());
        Self { cluster, counts, runtime, work, ended, met, transactions, floors }
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
    ) -> Result<BTreeMap<usize, Unusable>, Trouble> {
        let mut refused = Refused::default();
        let ended = self.topics_are_there(changes, &mut refused);
        let ended = ended.and_then(|()| self.write_in_parts(changes, &mut refused));
        ended.map(|()| refused.list).inspect_err(|trouble| {
            if !matches!(trouble, Trouble::Held(_)) {
                self.end();
            }
        })
    }

    /// The one way to recover: begin anew, and read what is written.
    fn end(&mut self) {
        if let Some(work) = self.work.take() {
            self.ended = Some(work.session.id.clone());
        }
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
        // Without a transaction the others would be written, also those that must wait behind it.
        if !self.cluster.is_exactly_once() && changes.len() > 1 && changes.iter().any(is_large) {
            return parts(&changes)
                .into_iter()
                .try_for_each(|part| self.write_in_parts(part, refused));
        }
        match (self.write(&changes), &changes[..]) {
            (Err(Trouble::TooLarge { topic }), [one]) => {
                self.end();
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
                self.end();
                self.counts.retried();
                parts(&changes).into_iter().try_for_each(|part| self.write_in_parts(part, refused))
            }
            (ended, _) => ended,
        }
    }

    fn write(&mut self, changes: &[Numbered<'_>]) -> Result<(), Trouble> {
        let began = Instant::now();
        self.transactions += 1;
        let count = self.transactions;
        self.work()?;
        let Self { work: Some(Work { session, claims, .. }), floors, .. } = self else {
            return Err(Failure::unclear("there is no session").into());
        };
        let changes: Vec<&Outgoing> = changes.iter().map(|(_, change)| *change).collect();
        let asked = changes.len();
        let (new, records) = match claims {
            None => (changes, Vec::new()),
            Some(claims) => {
                let marks = changes.iter().filter_map(|change| change.mark.as_ref());
                let topics = self.met.iter().map(String::as_str).collect();
                claims.claim(session, &marks.map(|mark| &*mark.source).collect(), &topics)?;
                let name = format!("{}.{count}", session.id);
                new_of(&changes, &claims.marks, (floors, &name))?
            }
        };
        if !new.is_empty() {
            session.write(&new, &records)?;
            if let Some(claims) = claims {
                claims.marks.take_all(&records).map_err(Failure::unclear)?;
            }
        }
        self.count(asked, &new, began);
        Ok(())
    }

    fn count(&self, asked: usize, new: &[&Outgoing], began: Instant) {
        let deletes = new.iter().filter(|change| change.is_delete).count() as u64;
        let (all, bytes) = (new.len() as u64, new.iter().map(|change| change.bytes()).sum());
        if all > 0 {
            self.counts.answered(Answered { bytes, took: began.elapsed() });
        }
        let (rows, conflicts) = (all - deletes, asked as u64 - all);
        self.counts.wrote(Written { rows, deletes, conflicts, ..Written::default() });
    }

    fn work(&mut self) -> Result<&mut Work, Failure> {
        let work = match self.work.take() {
            Some(work) => work,
            None => {
                let begun = self.begin()?;
                self.ended = None;
                begun
            }
        };
        Ok(self.work.insert(work))
    }

    /// Connects, and reads what is written.
    fn begin(&self) -> Result<Work, Failure> {
        let cluster = &self.cluster;
        if let Some(id) = self.ended.as_ref().filter(|_| cluster.is_exactly_once()) {
            Session::fence(cluster, id, &self.met.iter().map(String::as_str).collect())?;
        }
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
    ) -> Result<(), Trouble> {
        let records = changes.iter().flat_map(|(_, change)| &change.records);
        let named: BTreeSet<&str> = records.map(|record| &*record.topic).collect();
        for topic in &named {
            if !self.met.contains(*topic) {
                self.met.insert((*topic).to_owned());
            }
        }
        let Work { session, topics, .. } = self.work()?;
        if named.iter().all(|topic| topics.contains(*topic)) {
            return Ok(());
        }
        *topics = session.topics()?;
        let mut missing: BTreeSet<&str> =
            named.into_iter().filter(|topic| !topics.contains(*topic)).collect();
        if let Some(settings) = self.cluster.access.creation {
            for topic in std::mem::take(&mut missing) {
                self.make(topic, settings, &[]).map_err(Trouble::Held)?;
                // It takes a moment until all brokers know it.
                self.work()?.topics.insert(topic.to_owned());
            }
        }
        for one in changes {
            let topics = one.1.records.iter().map(|record| &*record.topic);
            if let Some(topic) = topics.into_iter().find(|topic| missing.contains(topic)) {
                refused.add(*one, self.is_missing(topic));
            }
        }
        match refused.list.first_key_value() {
            Some((_, first)) if refused.list.len() == changes.len() => {
                Err(Trouble::Held(Failure::unclear(first.why.clone())))
            }
            _ => Ok(()),
        }
    }

    fn is_missing(&self, topic: &str) -> String {
        let command = topics::command(&self.cluster, topic, &[]);
        format!("the topic {topic} is not there: set create = true, or make it: {command}")
    }

    fn make(
        &self,
        name: &str,
        settings: TopicSettings,
        more: &[(&str, &str)],
    ) -> Result<(), Failure> {
        let cluster = &self.cluster;
        let making = Making { name, settings, more, is_trial: false };
        let is_new = self.runtime.block_on(async {
            let admin = topics::administrator(cluster)?;
            topics::make(cluster, &admin, &making).await
        })?;
        if is_new {
            info!(topic = name, "made");
        }
        Ok(())
    }
}

fn is_large((_, change): &Numbered<'_>) -> bool {
    change.bytes() >= SUSPICIOUS_BYTES
}

/// Smaller parts of changes of which one is too large, or all together: in their order.
fn parts<'c, 'a>(changes: &'c [Numbered<'a>]) -> Vec<&'c [Numbered<'a>]> {
    let parts: Vec<_> = changes.chunk_by(|one, next| !is_large(one) && !is_large(next)).collect();
    match parts.len() {
        1 => <[_; 2]>::from(changes.split_at(changes.len() / 2)).to_vec(),
        _ => parts,
    }
}

/// The changes that are not written yet, and the marks that go with them under this name.
fn new_of<'c>(
    changes: &[&'c Outgoing],
    marks: &Marks,
    (floors, name): (&mut Floors, &str),
) -> Result<(Vec<&'c Outgoing>, Vec<MarkRecord>), Trouble> {
    let all = || changes.iter().filter_map(|change| change.mark.as_ref());
    all().for_each(|mark| floors.note(mark));
    if let Some(stale) = all().find(|mark| marks.is_stale(mark, floors)) {
        return Err(Trouble::Held(Failure::unclear(format!(
            "another process of this listener has {} by now; if the listener was set back just now, \
             restart it",
            stale.source
        ))));
    }
    let is_new = |change: &&&Outgoing| change.mark.as_ref().is_none_or(|mark| !marks.has(mark));
    let new: Vec<&Outgoing> = changes.iter().filter(is_new).copied().collect();
    let records =
        marks.records(new.iter().filter_map(|change| change.mark.as_ref()), (floors, name));
    Ok((new, records))
}
