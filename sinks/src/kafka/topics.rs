//! Which topics are there, and how one is made.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use handler::Failure;
use kafka_client::{Place, Voice};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::Client,
    config::FromClientConfigAndContext as _,
    error::{KafkaError, RDKafkaErrorCode as Code},
    metadata::MetadataTopic,
};

use super::{TopicSettings, cluster::TargetCluster};

/// A topic to make.
pub(super) struct Making<'t> {
    pub(super) name: &'t str,
    pub(super) settings: TopicSettings,
    pub(super) more: &'t [(&'t str, &'t str)],
    /// Only asks whether that would do.
    pub(super) is_trial: bool,
}

/// The topics that the user sees; blocks.
pub(super) fn list<C: rdkafka::ClientContext>(
    client: &Client<C>,
    timeout: Duration,
) -> Result<BTreeSet<String>, KafkaError> {
    // Asked for by its name, a topic may be made by the brokers.
    let metadata = client.fetch_metadata(None, timeout)?;
    let is_there = |topic: &&MetadataTopic| topic.error().is_none();
    let topics = metadata.topics().iter().filter(is_there);
    Ok(topics.map(|topic| topic.name().to_owned()).collect())
}

/// The partitions of some of the topics that the user sees; blocks.
pub(super) fn places<C: rdkafka::ClientContext>(
    client: &Client<C>,
    is_meant: impl Fn(&str) -> bool,
    timeout: Duration,
) -> Result<Vec<Place>, KafkaError> {
    let metadata = client.fetch_metadata(None, timeout)?;
    let meant = metadata.topics().iter().filter(|topic| is_meant(topic.name()));
    let of_topic = |topic: &MetadataTopic| -> Vec<Place> {
        let numbers = topic.partitions().iter().map(|partition| partition.id());
        numbers.map(|number| (topic.name().to_owned(), number)).collect()
    };
    Ok(meant.flat_map(of_topic).collect())
}

/// A client for what an administrator does.
pub(super) fn administrator(cluster: &TargetCluster) -> Result<Arc<AdminClient<Voice>>, Failure> {
    let voice = Voice::default();
    let client = AdminClient::from_config_and_context(&cluster.client(&[]), voice.clone());
    let client = client.map_err(|error| cluster.failure("cannot make a client", &error, &voice));
    client.map(Arc::new)
}

/// Makes a topic; `false` for one that is there already.
pub(super) async fn make(
    cluster: &TargetCluster,
    admin: &AdminClient<Voice>,
    making: &Making<'_>,
) -> Result<bool, Failure> {
    let Making { name, settings, more, is_trial } = making;
    let TopicSettings { partitions, replication } = settings;
    let partitions = partitions.map_or(-1, |count| i32::try_from(count).unwrap_or(i32::MAX));
    let replication = TopicReplication::Fixed(replication.map_or(-1, i32::from));
    let mut topic = NewTopic::new(name, partitions, replication);
    topic.config.extend_from_slice(more);
    let timeout = cluster.access.timeout;
    let options = AdminOptions::new()
        .request_timeout(Some(timeout))
        .operation_timeout(Some(timeout))
        .validate_only(*is_trial);
    let doing = format!("cannot make the topic {name}");
    let made = admin.create_topics([&topic], &options).await;
    let made = made.map_err(|error| cluster.failure(&doing, &error, admin.inner().context()))?;
    match made.into_iter().next() {
        None | Some(Ok(_)) => Ok(true),
        Some(Err((_, Code::TopicAlreadyExists))) => Ok(false),
        Some(Err((_, code))) => Err(cluster.meaning(&doing, code, &code.to_string())),
    }
}

/// The command that makes a topic.
pub(super) fn command(cluster: &TargetCluster, name: &str, more: &[(&str, &str)]) -> String {
    let brokers = &cluster.access.brokers;
    let settings: String =
        more.iter().map(|(key, value)| format!(" --config {key}={value}")).collect();
    let partitions = if more.is_empty() { 6 } else { 1 };
    format!(
        "kafka-topics.sh --bootstrap-server {brokers} --create --topic {name} --partitions \
         {partitions}{settings}"
    )
}
