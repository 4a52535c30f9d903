//! The topics that a producer writes: made before their first record, and watched from then on.
//!
//! The checkpoint keeps how many partitions a topic had, and its id. So keys stay in their
//! partition when partitions are added. And the producer notices when a topic was deleted, and
//! perhaps made again: then its records are gone, and a human has to know.
//!
//! Brokers hear of a topic one after the other, and one of them may not know a topic that all
//! others have. So what one broker says is only a doubt. The doubt counts when it lasts and every
//! broker that answers says the same.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_client::Place;
use rdkafka::admin::AdminClient;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::{ADMIN_TIMEOUT, Cluster, checkpoint, client::Voice, make_topics, topic_id::Described};
use crate::{ChangedTopic, Checkpoint, CheckpointChange, Error, Result, TopicChange};

/// How soon a topic that was made is looked for again.
const LOOK_STEP: Duration = Duration::from_millis(20);

/// How long a doubt about a topic must last before all brokers are asked; an open transaction ends
/// by itself after ten seconds.
const MIN_DOUBT: Duration = Duration::from_secs(5);

/// How soon a topic in doubt is looked at again.
const DOUBT_STEP: Duration = Duration::from_millis(250);

pub(super) struct ProducerTopics {
    cluster: Cluster,
    admin: Arc<AdminClient<Voice>>,
    kept: HashMap<String, KeptTopic>,
    /// Topics that this process writes, with the number of partitions that keys are spread over.
    open: HashMap<String, u32>,
    /// Topics that have more partitions than that, with how many.
    grown: HashMap<String, u32>,
    /// Topics that were not as kept at the last look, and since when.
    doubts: HashMap<String, Instant>,
}

/// A topic as it was before its first record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptTopic {
    partitions: u32,
    id: String,
}

/// The partitions that a checkpoint knows.
pub(super) fn places(own: &Checkpoint) -> Result<Vec<Place>> {
    let partitions = |(topic, kept): (String, KeptTopic)| {
        (0..kept.partitions).map(move |number| (topic.clone(), number.cast_signed()))
    };
    Ok(read(own)?.into_iter().flat_map(partitions).collect())
}

fn read(own: &Checkpoint) -> Result<HashMap<String, KeptTopic>> {
    let read = |(topic, value): (&String, &Bytes)| {
        let kept = serde_json::from_slice(value).map_err(|error| {
            Error::Internal(format!("the checkpoint's entry for topic {topic}: {error}"))
        })?;
        Ok((topic.clone(), kept))
    };
    own.iter().map(read).collect()
}

impl ProducerTopics {
    /// Those that the checkpoint knows.
    pub(super) fn new(cluster: &Cluster, own: &Checkpoint) -> Result<Self> {
        let kept = read(own)?;
        let admin = make_topics::client(cluster)?;
        let (open, grown, doubts) = (HashMap::new(), HashMap::new(), HashMap::new());
        Ok(Self { cluster: cluster.clone(), admin, kept, open, grown, doubts })
    }

    /// Over how many partitions the keys of an open topic are spread.
    pub(super) fn partitions(&self, topic: &str) -> Option<u32> {
        self.open.get(topic).copied()
    }

    /// Makes a topic ready to be written; gives the change of the checkpoint, if there is one.
    pub(super) async fn open(&mut self, topic: &str) -> Result<Option<CheckpointChange>> {
        loop {
            let found = self.look(&[topic]).await?.pop();
            match (self.kept.get(topic), found) {
                (Some(kept), Some(found)) if kept.id == found.id => {
                    let used = kept.partitions;
                    self.open.insert(topic.to_owned(), used);
                    self.doubts.remove(topic);
                    self.warn_if_grown(&found, used);
                    return Ok(None);
                }
                (Some(_), _) => {
                    self.doubt(topic).await?;
                    tokio::time::sleep(DOUBT_STEP).await;
                }
                (None, Some(found)) => return Ok(Some(self.keep(topic, found))),
                (None, None) => {
                    let made = self.create(topic).await?;
                    return Ok(Some(self.keep(topic, made)));
                }
            }
        }
    }

    /// Looks whether the topics that this process writes are still the same.
    pub(super) async fn verify(&mut self) -> Result<()> {
        let open: Vec<(String, u32)> =
            self.open.iter().map(|(topic, used)| (topic.clone(), *used)).collect();
        let names: Vec<&str> = open.iter().map(|(topic, _)| topic.as_str()).collect();
        let found = self.look(&names).await?;
        for (name, used) in &open {
            let id = self.kept.get(name).map(|kept| &kept.id);
            match found.iter().find(|found| found.topic == *name && Some(&found.id) == id) {
                Some(found) => {
                    self.doubts.remove(name);
                    self.warn_if_grown(found, *used);
                }
                None => self.doubt(name).await?,
            }
        }
        Ok(())
    }

    /// The largest batch that a topic takes, if the brokers tell it.
    pub(super) async fn max_batch_bytes(&self, topic: &str) -> Option<usize> {
        let told =
            make_topics::setting(&self.cluster, &self.admin, (topic, "max.message.bytes")).await;
        told.ok().flatten()?.parse().ok()
    }

    /// How soon the topics are to be looked at again, after `usual` if nothing is in doubt.
    pub(super) fn verify_after(&self, usual: Duration) -> Duration {
        if self.doubts.is_empty() { usual } else { DOUBT_STEP }
    }

    /// One broker says that a topic is not as it was kept.
    ///
    /// # Errors
    ///
    /// When that has lasted, and all brokers that answer say it.
    async fn doubt(&mut self, topic: &str) -> Result<()> {
        let since = *self.doubts.entry(topic.to_owned()).or_insert_with(Instant::now);
        if since.elapsed() < MIN_DOUBT {
            return Ok(());
        }
        // The next such answer is a new doubt.
        self.doubts.remove(topic);
        let found = self.look_at_each(topic).await?;
        let kept = self.kept.get(topic).map(|kept| &kept.id);
        if found.iter().any(|found| found.as_ref().map(|found| &found.id) == kept) {
            tracing::warn!(topic, "a broker does not know the topic as the others do");
            return Ok(());
        }
        Err(self.replaced(topic, found.iter().any(Option::is_some)))
    }

    /// What each broker says of a topic.
    ///
    /// # Errors
    ///
    /// Transient, when fewer than two of several answer.
    async fn look_at_each(&self, topic: &str) -> Result<Vec<Option<Described>>> {
        let (admin, cluster) = (Arc::clone(&self.admin), self.cluster.clone());
        let name = topic.to_owned();
        let asked = spawn_blocking(move || make_topics::look_at_each(&cluster, &admin, &name));
        asked.await.map_err(|panic| Error::Internal(panic.to_string()))?
    }

    /// The topics that are not as they were kept.
    pub(super) async fn changed(&self) -> Result<Vec<ChangedTopic>> {
        let mut names: Vec<&str> = self.kept.keys().map(String::as_str).collect();
        names.sort_unstable();
        let found = self.look(&names).await?;
        let change = |name: &str| {
            let kept = self.kept.get(name)?;
            match found.iter().find(|found| found.topic == name) {
                None => Some(TopicChange::Deleted),
                Some(found) if found.id != kept.id => {
                    Some(TopicChange::Replaced { partitions: found.partitions })
                }
                Some(found) if found.partitions != kept.partitions => {
                    Some(TopicChange::Grown { used: kept.partitions, partitions: found.partitions })
                }
                Some(_) => None,
            }
        };
        let changed =
            |name: &str| Some(ChangedTopic { topic: name.to_owned(), change: change(name)? });
        Ok(names.into_iter().filter_map(changed).collect())
    }

    /// Keeps the topics as they are now; gives the changes of the checkpoint.
    pub(super) async fn adopt(&mut self, topics: &[ChangedTopic]) -> Result<Vec<CheckpointChange>> {
        let names: Vec<&str> = topics.iter().map(|changed| changed.topic.as_str()).collect();
        let mut found = self.look(&names).await?;
        let adopted = names.into_iter().map(|name| {
            match found.iter().position(|found| found.topic == name) {
                Some(at) => self.keep(name, found.swap_remove(at)),
                None => {
                    self.kept.remove(name);
                    self.open.remove(name);
                    self.doubts.remove(name);
                    (checkpoint::own_key(name), None)
                }
            }
        });
        Ok(adopted.collect())
    }

    /// Warns once of partitions that are not used.
    fn warn_if_grown(&mut self, found: &Described, used: u32) {
        let Described { topic, partitions, .. } = found;
        if *partitions > used && self.grown.insert(topic.clone(), *partitions) != Some(*partitions)
        {
            tracing::warn!(
                topic,
                partitions,
                used,
                "the topic has grown: its new partitions stay empty, so that keys stay where they \
                 are, until `dts topics adopt`"
            );
        }
    }

    fn keep(&mut self, topic: &str, found: Described) -> CheckpointChange {
        self.doubts.remove(topic);
        let kept = KeptTopic { partitions: found.partitions, id: found.id };
        // A struct of a number and a text always serialises.
        let value = serde_json::to_vec(&kept).unwrap_or_default();
        self.open.insert(topic.to_owned(), kept.partitions);
        self.kept.insert(topic.to_owned(), kept);
        (checkpoint::own_key(topic), Some(value.into()))
    }

    async fn create(&self, topic: &str) -> Result<Described> {
        let max_bytes = self.cluster.max_record_bytes().to_string();
        let mut settings = vec![("cleanup.policy", "delete"), ("max.message.bytes", &*max_bytes)];
        let retention = self.cluster.config.retention.map(|time| time.as_millis().to_string());
        settings.extend(retention.as_deref().map(|time| ("retention.ms", time)));
        let partitions = self.cluster.config.partitions;
        make_topics::create(&self.cluster, &self.admin, (topic, partitions, &settings)).await?;
        tracing::info!(topic, partitions, "made the topic");
        // Not every broker has heard of it yet.
        let deadline = Instant::now() + ADMIN_TIMEOUT;
        loop {
            if let Some(found) = self.look(&[topic]).await?.pop() {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(Error::Unavailable {
                    address: self.cluster.config.address.clone(),
                    reason: format!(
                        "the topic {topic} was made, but the brokers do not show it yet"
                    ),
                });
            }
            tokio::time::sleep(LOOK_STEP).await;
        }
    }

    async fn look(&self, topics: &[&str]) -> Result<Vec<Described>> {
        make_topics::look(&self.cluster, &self.admin, topics).await
    }

    fn replaced(&self, topic: &str, is_there_again: bool) -> Error {
        let what = if is_there_again { "deleted and made again" } else { "deleted" };
        Error::Refused {
            address: self.cluster.config.address.clone(),
            reason: format!(
                "the topic {topic} was {what}: what listeners had not read of it is lost; if that \
                 was meant, `dts topics adopt` takes it as it is now, and a full sync brings its \
                 rows back to the listeners that need them"
            ),
        }
    }
}
