//! Kafka: each change is a record of another topic, in the same cluster or in another one.
//!
//! One thread of the listener writes what all its lanes have at that moment in one transaction,
//! with a mark for each change in a topic of the sink's own. A change that comes again is
//! recognised by its mark. `claim` has the protocol by which the marks of a source are written by
//! one process at a time.

mod claim;
mod cluster;
mod courier;
mod log;
mod look;
mod marks;
mod record;
mod session;
mod topics;
mod worker;

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use handler::Failure;
use kafka_client::{Properties, check_addresses};
use service::config::Section;

use self::{cluster::TargetCluster, courier::Courier};
use crate::{
    change::Unusable,
    host_look::HostLook,
    shape::{Shape, Wanted},
    target::{Means, Target, TargetFinding},
    template::Template,
};

/// The config of this target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KafkaConfig {
    form: RecordForm,
    access: Access,
    /// The name under which marks are kept; absent: the listener's.
    name: Option<String>,
}

/// What records are like.
#[derive(Clone, Debug, PartialEq)]
struct RecordForm {
    topic: Template,
    /// Absent: the key of the event.
    key: Option<Template>,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// The change as an event in JSON.
    Event,
    /// The row in JSON; nothing for a row that is gone.
    Row,
}

/// How the brokers are reached, and what they are asked for.
#[derive(Clone, Debug, PartialEq)]
struct Access {
    brokers: String,
    properties: Properties,
    compression: String,
    timeout: Duration,
    delivery: Delivery,
    /// Set where topics that are missing are made.
    creation: Option<TopicSettings>,
}

/// What a reader at `read_committed` is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    ExactlyOnce,
    AtLeastOnce,
}

/// What topics are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TopicSettings {
    /// Absent: what the brokers are set to.
    partitions: Option<u32>,
    replication: Option<u16>,
}

impl KafkaConfig {
    /// Reads the keys; mistakes are noted.
    pub(crate) fn read(section: &Section) -> Option<Self> {
        let topic = match section.has("topic") {
            true => Template::read(section, "topic"),
            false => Template::new("{schema}.{table}").ok(),
        };
        let key = Template::read(section, "key");
        let content = match section.choice("content", ["event", "row"]) {
            Some(1) => Content::Row,
            _ => Content::Event,
        };
        let name = section.optional::<String>("name");
        if let Some(name) = name.as_deref().and_then(record::topic_problem) {
            section.note(
                "name",
                &format!("cannot be a part of a topic's name: it {name}"),
                "correct it",
            );
        }
        let access = Access::read(section);
        Some(Self { form: RecordForm { topic: topic?, key, content }, access, name })
    }

    /// The brokers, and the name under which marks are kept there for this listener: two listeners
    /// with the same name would stop each other. `None` where no marks are kept.
    pub(crate) fn marks(&self, listener: &str) -> Option<(&str, String)> {
        let name = self.name.as_deref().unwrap_or(listener).to_owned();
        let keeps = self.access.delivery == Delivery::ExactlyOnce;
        keeps.then_some((&*self.access.brokers, name))
    }

    /// A topic of these brokers that changes of a table go to, if it is one of those that
    /// `is_read` is true for: then what is written comes again, for ever.
    pub(crate) fn loop_through(
        &self,
        brokers: &str,
        tables: &[(String, String)],
        is_read: impl Fn(&str) -> bool,
    ) -> Option<String> {
        if !have_common(&self.access.brokers, brokers) {
            return None;
        }
        let of_table = |(schema, table): &(String, String)| {
            // What a wildcard stands for may be any name.
            let any = |glob: &str| glob.replace(['*', '?'], "x");
            self.form.topic.of_table(&any(schema), &any(table))
        };
        tables.iter().filter_map(of_table).find(|topic| is_read(topic))
    }
}

/// Whether two lists of brokers name one of the same.
pub(crate) fn have_common(some: &str, others: &str) -> bool {
    let hosts = |list: &str| -> Vec<String> {
        list.split(',').map(|one| one.trim().replace("localhost:", "127.0.0.1:")).collect()
    };
    let others = hosts(others);
    hosts(some).iter().any(|one| others.contains(one))
}

impl Access {
    fn read(section: &Section) -> Self {
        let brokers = section.required("brokers", "127.0.0.1:9092".to_owned());
        check_addresses(section, "brokers", &brokers);
        const COMPRESSIONS: [&str; 5] = ["lz4", "none", "gzip", "snappy", "zstd"];
        let compression = section.choice("compression", COMPRESSIONS).unwrap_or_default();
        let delivery = match section.choice("delivery", ["exactly-once", "at-least-once"]) {
            Some(1) => Delivery::AtLeastOnce,
            _ => Delivery::ExactlyOnce,
        };
        let timeout = section.or("timeout", Duration::from_secs(15));
        if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&timeout) {
            section.note("timeout", "is too short or too long", r#"write "1s" to "10m""#);
        }
        Self {
            brokers,
            properties: Properties::read(section),
            compression: COMPRESSIONS[compression].to_owned(),
            timeout,
            delivery,
            creation: TopicSettings::read(section),
        }
    }
}

impl TopicSettings {
    fn read(section: &Section) -> Option<Self> {
        let create = section.or("create", false);
        let settings = Self {
            partitions: section.optional("partitions"),
            replication: section.optional("replicationFactor"),
        };
        for (key, is_zero) in [
            ("partitions", settings.partitions == Some(0)),
            ("replicationFactor", settings.replication == Some(0)),
        ] {
            if is_zero {
                section.note(key, "is 0", "write 1 or more, or leave it to the brokers");
            }
            if !create && section.has(key) {
                section.note(key, "has a meaning only with create = true", "remove it");
            }
        }
        create.then_some(settings)
    }
}

/// Why a change fails that could be written: it must not be there before the other one.
const LATE: &str = "an earlier change of its row failed";

/// The target.
pub(crate) struct Kafka {
    form: RecordForm,
    shape: Arc<Shape>,
    cluster: TargetCluster,
    courier: Courier,
}

impl Kafka {
    pub(crate) fn new(config: &KafkaConfig, means: Means) -> Self {
        let name = config.name.as_ref().unwrap_or(&means.listener);
        let cluster = TargetCluster::new(&config.access, name);
        Self {
            form: config.form.clone(),
            shape: means.shape,
            courier: Courier::new(cluster.clone(), means.counts),
            cluster,
        }
    }
}

#[async_trait]
impl Target for Kafka {
    async fn write(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
        let (mut changes, mut unusable) = (Vec::with_capacity(wanted.len()), Vec::new());
        let mut failed = HashSet::new();
        for one in wanted {
            let row = record::row_of(&one.change);
            let change = match failed.contains(&row) {
                true => Err(one.change.unusable(LATE)),
                false => self.form.outgoing(one, &self.shape),
            };
            match change {
                Ok(change) => changes.push(change),
                Err(why) => {
                    failed.insert(row);
                    unusable.push(why);
                }
            }
        }
        unusable.extend(self.courier.bring(changes).await?);
        Ok(unusable)
    }

    fn templates(&self) -> Vec<&Template> {
        std::iter::once(&self.form.topic).chain(&self.form.key).collect()
    }

    async fn check(&self, tables: &[Arc<full_sync::Table>]) -> Vec<TargetFinding> {
        look::look(&self.cluster, &self.form, tables).await
    }

    async fn hosts(&self) -> Vec<HostLook> {
        look::hosts(&self.cluster).await
    }

    async fn abandon(&self) {
        // Otherwise what comes again is recognised, wherever it comes to.
        if !self.cluster.is_exactly_once() {
            self.courier.rest().await;
        }
    }
}

#[cfg(test)]
mod tests;
