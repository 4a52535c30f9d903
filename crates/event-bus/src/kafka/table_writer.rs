//! Puts entries into the control table. Who puts entries again and again keeps the clients for it:
//! to connect takes far longer than to write.

use std::sync::Arc;

use rdkafka::admin::AdminClient;
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{
    Cluster,
    client::Voice,
    control::{self, Changes, Writer},
    make_topics,
};
use crate::{ControlChange, Error, Result};

/// The clients, once they were needed.
#[derive(Default)]
pub(super) struct TableWriter(Mutex<Option<Clients>>);

struct Clients {
    admin: Arc<AdminClient<Voice>>,
    writer: Arc<Writer>,
}

impl Clients {
    /// Connects when the brokers have let us in.
    async fn open(cluster: &Cluster) -> Result<Self> {
        let reached = cluster.clone();
        let reached = spawn_blocking(move || reached.reach()).await;
        reached.map_err(|panic| Error::Internal(panic.to_string()))??;
        Ok(Self { admin: make_topics::client(cluster)?, writer: Arc::new(Writer::open(cluster)?) })
    }

    /// Writes the changes, and makes the topic first where it is missing.
    async fn write(&self, cluster: &Cluster, changes: &Arc<Changes>) -> Result<()> {
        control::make_topic_with(cluster, &self.admin).await?;
        let (writer, cluster) = (Arc::clone(&self.writer), cluster.clone());
        let changes = Arc::clone(changes);
        let written = spawn_blocking(move || writer.write(&cluster, &changes)).await;
        written.map_err(|panic| Error::Internal(panic.to_string()))?
    }
}

impl TableWriter {
    /// Puts the entries and waits until they are durable.
    pub(super) async fn put(&self, cluster: &Cluster, entries: &[ControlChange]) -> Result<()> {
        let mut changes = Changes::default();
        entries.iter().for_each(|entry| changes.entry(entry));
        let changes = Arc::new(changes);
        let mut kept = self.0.lock().await;
        // What was kept for long may be of no use any more, so its error is not the last word. A
        // call that is dropped keeps no clients: they may be in the middle of something.
        if let Some(clients) = kept.take() {
            if clients.write(cluster, &changes).await.is_ok() {
                *kept = Some(clients);
                return Ok(());
            }
            // To close them can block.
            drop(spawn_blocking(move || drop(clients)));
        }
        let clients = Clients::open(cluster).await?;
        clients.write(cluster, &changes).await?;
        *kept = Some(clients);
        Ok(())
    }
}
