//! Lists the groups that the brokers know, and forgets a group.

use std::time::Duration;

use rdkafka::{
    admin::AdminOptions, config::FromClientConfigAndContext, consumer::BaseConsumer,
    consumer::Consumer as _, error::RDKafkaErrorCode as Code, groups::GroupInfo,
};
use tokio::task::spawn_blocking;

use super::{
    ADMIN_TIMEOUT, Cluster,
    client::Voice,
    control::{self, Changes},
    make_topics,
};
use crate::{Error, KnownGroup, Result};

/// How long the brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// All groups under the prefix.
pub(super) async fn list(cluster: &Cluster) -> Result<Vec<KnownGroup>> {
    let cluster = cluster.clone();
    let listed = spawn_blocking(move || list_now(&cluster)).await;
    listed.map_err(|panic| Error::Internal(panic.to_string()))?
}

fn list_now(cluster: &Cluster) -> Result<Vec<KnownGroup>> {
    let voice = Voice::default();
    let failed = |error| cluster.error("cannot list the groups", &error, &voice);
    let mut config = cluster.client("dbevent-groups");
    // The library wants a name, and joins no group.
    config.set("group.id", format!("{}.look", cluster.prefix));
    let consumer: BaseConsumer<Voice> =
        BaseConsumer::from_config_and_context(&config, voice.clone()).map_err(failed)?;
    let listed = consumer.fetch_group_list(None, PATIENCE).map_err(failed)?;
    let own = format!("{}.", cluster.prefix);
    let groups = listed.groups().iter().filter(|group| group.name().starts_with(&own));
    Ok(groups.map(known).collect())
}

fn known(group: &GroupInfo) -> KnownGroup {
    let members = group.members().iter();
    let name = |member: &rdkafka::groups::GroupMemberInfo| {
        format!("{} at {}", member.client_id(), member.client_host().trim_start_matches('/'))
    };
    KnownGroup {
        name: group.name().to_owned(),
        members: members.map(name).collect(),
        waiting: 0,
        held_bytes: None,
    }
}

/// Removes a group that has no members, and what is written down of it.
pub(super) async fn forget(cluster: &Cluster, group: &str) -> Result<()> {
    let admin = make_topics::client(cluster)?;
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT));
    let deleted = admin.delete_groups(&[group], &options).await;
    let doing = format!("cannot delete the group {group}");
    let failed = |error| cluster.error(&doing, &error, &Voice::default());
    match deleted.map_err(failed)?.into_iter().next() {
        Some(Err((_, Code::NonEmptyGroup))) => {
            return Err(Error::GroupActive { group: group.to_owned() });
        }
        Some(Err((_, Code::GroupIdNotFound))) => {
            return Err(Error::Rejected(format!("there is no group {group}")));
        }
        Some(Err((_, code))) => return Err(failed(rdkafka::error::KafkaError::AdminOp(code))),
        Some(Ok(_)) | None => {}
    }
    let (cluster, group) = (cluster.clone(), group.to_owned());
    let forgotten = spawn_blocking(move || {
        let known = control::read(&cluster, &group)?;
        let mut changes = Changes::default();
        for topic in known.topics.keys() {
            changes.forget(&group, topic);
        }
        changes.forget_group(&group);
        control::write(&cluster, &changes)
    });
    forgotten.await.map_err(|panic| Error::Internal(panic.to_string()))?
}
