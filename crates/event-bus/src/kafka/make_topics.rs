//! What an administrator of the brokers does: looks at topics and their settings, and makes topics.

use std::sync::Arc;

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    config::FromClientConfigAndContext,
    error::RDKafkaErrorCode as Code,
};
use tokio::task::spawn_blocking;

use super::{
    ADMIN_TIMEOUT, Cluster,
    client::{Voice, listed, meaning},
    topic_id::{self, Described},
};
use crate::{Error, Result};

/// A client for what an administrator does.
pub(super) fn client(cluster: &Cluster) -> Result<Arc<AdminClient<Voice>>> {
    let voice = Voice::default();
    let failed = |error| cluster.error("cannot reach the brokers", &error, &voice);
    let client = cluster.client("dbevent-admin");
    let admin = AdminClient::from_config_and_context(&client, voice.clone()).map_err(failed)?;
    Ok(Arc::new(admin))
}

/// What the brokers know of these topics; topics that are not there are left out.
pub(super) async fn look(
    cluster: &Cluster,
    admin: &Arc<AdminClient<Voice>>,
    topics: &[&str],
) -> Result<Vec<Described>> {
    let names: Vec<String> = topics.iter().map(|&name| name.to_owned()).collect();
    let asked = Arc::clone(admin);
    let answer = spawn_blocking(move || {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        topic_id::describe(asked.inner(), &names)
    });
    let answer = answer.await.map_err(|panic| Error::Internal(panic.to_string()))?;
    let voice = admin.inner().context();
    let doing = format!("cannot look at {}", listed(topics));
    answer.map_err(|error| cluster.error(&doing, &error, voice))
}

/// What each broker that answers says of a topic; blocks.
///
/// # Errors
///
/// Transient, when fewer than two of several answer.
pub(super) fn look_at_each(
    cluster: &Cluster,
    admin: &AdminClient<Voice>,
    topic: &str,
) -> Result<Vec<Option<Described>>> {
    let doing = format!("cannot ask each broker for the topic {topic}");
    let failed = |error| cluster.error(&doing, &error, admin.inner().context());
    let metadata = admin.inner().fetch_metadata(None, ADMIN_TIMEOUT).map_err(failed)?;
    let brokers: Vec<i32> = metadata.brokers().iter().map(|broker| broker.id()).collect();
    let answer = |broker: &i32| topic_id::describe_by(admin.inner(), Some(*broker), &[topic]);
    let mut answers = Vec::with_capacity(brokers.len());
    let mut last = None;
    for broker in &brokers {
        match answer(broker) {
            Ok(mut found) => answers.push(found.pop()),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) if answers.len() < brokers.len().min(2) => Err(failed(error)),
        _ => Ok(answers),
    }
}

/// Makes a topic: its name, its number of partitions and its settings. A topic that is there
/// already is no failure.
pub(super) async fn create(
    cluster: &Cluster,
    admin: &AdminClient<Voice>,
    (name, partitions, settings): (&str, u32, &[(&str, &str)]),
) -> Result<()> {
    let replication = cluster.config.replication.map_or(-1, i32::from);
    let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
    topic.config.extend_from_slice(settings);
    let options = AdminOptions::new()
        .request_timeout(Some(ADMIN_TIMEOUT))
        .operation_timeout(Some(ADMIN_TIMEOUT));
    let doing = format!("cannot make the topic {name}");
    let voice = admin.inner().context();
    let made = admin.create_topics([&topic], &options).await;
    match made.map_err(|error| cluster.error(&doing, &error, voice))?.pop() {
        None | Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => Ok(()),
        // Older brokers say so while one of them starts again: there are too few for the copies.
        Some(Err((_, code @ Code::InvalidReplicationFactor))) => Err(Error::Unavailable {
            address: cluster.config.address.clone(),
            reason: format!(
                "{doing}: {code}; start more brokers, or set bus.replication to no more than there \
                 are"
            ),
        }),
        Some(Err((_, code))) => {
            Err(meaning(code, format!("{doing}: {code}"), &cluster.config.address))
        }
    }
}

/// A setting of a topic as it is now; `None` when the brokers do not tell it.
pub(super) async fn setting(
    cluster: &Cluster,
    admin: &AdminClient<Voice>,
    (topic, setting): (&str, &str),
) -> Result<Option<String>> {
    let doing = format!("cannot look at the settings of the topic {topic}");
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT));
    let asked = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
    let voice = admin.inner().context();
    match asked.map_err(|error| cluster.error(&doing, &error, voice))?.pop() {
        Some(Ok(told)) => Ok(told.get(setting).and_then(|entry| entry.value.clone())),
        Some(Err(code)) => Err(meaning(code, format!("{doing}: {code}"), &cluster.config.address)),
        None => Ok(None),
    }
}
