//! Whether the brokers are there, and let us do what the listener needs.

use std::{sync::Arc, time::Duration};

use full_sync::Table;
use handler::Failure;
use kafka_client::{
    Voice,
    topic_id::{Described, describe_rights},
};
use rdkafka::{
    admin::AdminClient,
    config::FromClientConfigAndContext as _,
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{
    RecordForm, TopicSettings,
    cluster::TargetCluster,
    log::LOG_SETTINGS,
    session::Session,
    topics::{self, Making},
};
use crate::{
    host_look::{HostLook, look_at_each},
    target::{NOT_REACHED, TargetFinding},
};

/// A broker that has not answered after this time hangs.
const BROKER_DEADLINE: Duration = Duration::from_secs(2);

/// Looks at the brokers; nothing is made there but a transactional id.
pub(super) async fn look(
    cluster: &TargetCluster,
    form: &RecordForm,
    tables: &[Arc<Table>],
) -> Vec<TargetFinding> {
    match look_at_all(cluster, form, tables).await {
        Ok(findings) => findings,
        Err(failure) => {
            vec![TargetFinding::wrong(failure.reason, NOT_REACHED)]
        }
    }
}

/// How each broker is that the config names.
pub(super) async fn hosts(cluster: &TargetCluster) -> Vec<HostLook> {
    let brokers: Vec<&str> = cluster.access.brokers.split(',').map(str::trim).collect();
    // One connection to a single broker says all that there is to say.
    if brokers.len() < 2 {
        return Vec::new();
    }
    let looks = brokers.into_iter().map(|broker| {
        let mut config = cluster.client(&[]);
        config.set("bootstrap.servers", broker);
        let cluster = cluster.clone();
        let look = tokio::task::spawn_blocking(move || {
            let voice = Voice::default();
            let client = AdminClient::from_config_and_context(&config, voice.clone());
            let asked = client.and_then(|client: AdminClient<Voice>| {
                client.inner().fetch_metadata(None, BROKER_DEADLINE).map(drop)
            });
            let failed = |error| cluster.failure("no answer", &error, &voice).reason;
            asked.map(|()| "answers").map_err(failed)
        });
        let look = async { look.await.unwrap_or_else(|panic| Err(panic.to_string())) };
        (broker.to_owned(), look)
    });
    look_at_each(looks).await
}

async fn look_at_all(
    cluster: &TargetCluster,
    form: &RecordForm,
    tables: &[Arc<Table>],
) -> Result<Vec<TargetFinding>, Failure> {
    let admin = topics::administrator(cluster)?;
    let topics = tables.iter().filter_map(|table| form.topic.of_table(&table.schema, &table.table));
    let topics: Vec<String> = topics.collect();
    let there = seen(cluster, &admin, topics.clone()).await?;
    let mut findings = Vec::new();
    for topic in topics {
        match there.iter().find(|there| there.topic == topic) {
            Some(there) if there.may_write == Some(false) => {
                findings.push(may_not_write(cluster, &topic));
            }
            Some(_) => {}
            None => {
                let settings = cluster.access.creation;
                findings.extend(missing(cluster, &admin, (&topic, settings, &[])).await);
            }
        }
    }
    if cluster.is_exactly_once() {
        let marks = there.iter().find(|there| *there.topic == *cluster.name);
        if marks.is_some_and(|marks| marks.may_write == Some(false)) {
            findings.push(may_not_write(cluster, &cluster.name));
        }
        if marks.is_none() {
            let replication = cluster.access.creation.and_then(|made| made.replication);
            let settings = TopicSettings { partitions: Some(1), replication };
            let marks = (&*cluster.name, Some(settings), &LOG_SETTINGS[..]);
            findings.extend(missing(cluster, &admin, marks).await);
        }
        findings.extend(transactions(cluster).await);
    }
    if findings.is_empty() {
        let brokers = &cluster.access.brokers;
        findings.push(TargetFinding::good(format!("{brokers} answer")));
    }
    Ok(findings)
}

/// What the user sees of these topics, and of the one with marks.
async fn seen(
    cluster: &TargetCluster,
    admin: &Arc<AdminClient<Voice>>,
    mut topics: Vec<String>,
) -> Result<Vec<Described>, Failure> {
    topics.push(cluster.name.to_string());
    let asked = Arc::clone(admin);
    let answer = tokio::task::spawn_blocking(move || {
        let mut seen = Vec::new();
        // One by one: a topic that the user may not see fails all that are asked for with it.
        for topic in &topics {
            match describe_rights(asked.inner(), &[topic]) {
                Err(KafkaError::AdminOp(Code::TopicAuthorizationFailed)) => {}
                answer => seen.extend(answer?),
            }
        }
        Ok(seen)
    });
    let answer = answer.await.map_err(|error| Failure::unclear(error.to_string()))?;
    let voice = admin.inner().context();
    answer.map_err(|error| cluster.failure("cannot look at the topics", &error, voice))
}

/// The user may not write to a topic.
fn may_not_write(cluster: &TargetCluster, topic: &str) -> TargetFinding {
    TargetFinding::wrong(
        format!("the user may not write to the topic {topic}"),
        format!(
            "kafka-acls.sh --bootstrap-server {} --add --allow-principal User:NAME --operation \
             Write --topic {topic}",
            cluster.access.brokers
        ),
    )
}

/// What is wrong about a topic that is not there.
async fn missing(
    cluster: &TargetCluster,
    admin: &AdminClient<Voice>,
    (name, settings, more): (&str, Option<TopicSettings>, &[(&str, &str)]),
) -> Option<TargetFinding> {
    let command = topics::command(cluster, name, more);
    let Some(settings) = settings else {
        let what = format!("the topic {name} is not there, or the user may not see it");
        return Some(TargetFinding::wrong(what, format!("set create = true, or run {command}")));
    };
    let making = Making { name, settings, more, is_trial: true };
    match topics::make(cluster, admin, &making).await {
        Ok(true) => None,
        // It is there, and the user does not see it.
        Ok(false) => Some(may_not_write(cluster, name)),
        Err(failure) => {
            Some(TargetFinding::wrong(failure.reason, format!("make the topic: {command}")))
        }
    }
}

/// What is wrong with transactions.
async fn transactions(cluster: &TargetCluster) -> Option<TargetFinding> {
    let opened = {
        let cluster = cluster.clone();
        tokio::task::spawn_blocking(move || Session::open(&cluster)).await.ok()?
    };
    let failure = opened.err()?;
    let (brokers, name) = (&cluster.access.brokers, &cluster.name);
    let remedy = format!(
        "kafka-acls.sh --bootstrap-server {brokers} --add --allow-principal User:NAME --operation \
         Write --transactional-id {name}. --resource-pattern-type prefixed"
    );
    Some(TargetFinding::wrong(failure.reason, remedy))
}
