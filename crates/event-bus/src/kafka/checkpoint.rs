//! The topic that keeps a producer's checkpoint: compacted, one partition, a record for each key.

use bytes::Bytes;

use super::{ADMIN_TIMEOUT, Cluster, compacted, make_topics};
use crate::{Checkpoint, Error, Result};

/// Keys of this backend's own begin with this; the producer's own never do.
const OWN_KEYS: &str = "bus/";

/// What the topic holds.
#[derive(Debug, Default)]
pub(super) struct SavedCheckpoint {
    /// What the producer has saved.
    pub(super) checkpoint: Checkpoint,
    /// What this backend has saved, by keys of its own.
    pub(super) own: Checkpoint,
}

/// The key under which this backend keeps something of its own.
pub(super) fn own_key(key: &str) -> String {
    format!("{OWN_KEYS}{key}")
}

impl SavedCheckpoint {
    fn take(&mut self, key: &str, value: Option<&[u8]>) {
        let (map, key) = match key.strip_prefix(OWN_KEYS) {
            Some(own) => (&mut self.own, own),
            None => (&mut self.checkpoint, key),
        };
        match value {
            Some(value) => map.insert(key.to_owned(), Bytes::copy_from_slice(value)),
            None => map.remove(key),
        };
    }
}

/// Reads all of a checkpoint's topic that is committed, up to its end as it is now; blocks.
///
/// After `init_transactions` no transaction of an earlier writer is open any more, so this is all
/// that earlier writers wrote.
pub(super) fn read(cluster: &Cluster, name: &str) -> Result<SavedCheckpoint> {
    let mut saved = SavedCheckpoint::default();
    let (topic, group) = (cluster.checkpoint_topic(name), cluster.producer_id(name));
    compacted::read(cluster, (&topic, &group), |key, value| {
        saved.take(key, value);
        Ok(())
    })?;
    Ok(saved)
}

/// Makes the topic where it is missing, and checks that it can keep a checkpoint.
pub(super) async fn make_topic(cluster: &Cluster, name: &str) -> Result<()> {
    compacted::make_topic(cluster, (&cluster.checkpoint_topic(name), "the checkpoint")).await
}

/// What a checkpoint holds now, whoever writes it.
pub(super) async fn look(cluster: &Cluster, name: &str) -> Result<Checkpoint> {
    let admin = make_topics::client(cluster)?;
    let topic = cluster.checkpoint_topic(name);
    if make_topics::look(cluster, &admin, &[&topic]).await?.is_empty() {
        return Ok(Checkpoint::default());
    }
    let (cluster, name) = (cluster.clone(), name.to_owned());
    let saved = tokio::task::spawn_blocking(move || read(&cluster, &name)).await;
    Ok(saved.map_err(|panic| Error::Internal(panic.to_string()))??.checkpoint)
}

/// The names of all producers of this prefix.
pub(super) async fn names(cluster: &Cluster) -> Result<Vec<String>> {
    let start = cluster.checkpoint_topic("");
    let (cluster, admin) = (cluster.clone(), make_topics::client(cluster)?);
    let listed = tokio::task::spawn_blocking(move || {
        let listed = admin.inner().fetch_metadata(None, ADMIN_TIMEOUT);
        let listed = listed.map_err(|error| {
            cluster.error("cannot list the topics", &error, admin.inner().context())
        })?;
        let names = listed.topics().iter().filter_map(|topic| topic.name().strip_prefix(&start));
        Ok(names.map(str::to_owned).collect())
    });
    listed.await.map_err(|panic| Error::Internal(panic.to_string()))?
}
