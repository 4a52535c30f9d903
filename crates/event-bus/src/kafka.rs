//! The bus over Kafka: a topic for each table, exactly once, one writer with stand-bys.
//!
//! | what | name |
//! |---|---|
//! | a table's topic | `{prefix}.{schema}.{table}` |
//! | a producer's checkpoint, compacted | topic `{prefix}.dts-checkpoint.{name}` |
//! | a producer and its stand-bys | group and transactional id `{prefix}.dts.{name}` |
//! | the table of a group, compacted | topic `{prefix}.{table}`: `{prefix}.parked.{listener}` |
//! | what is known of groups, and the control table, compacted | topic `{prefix}.control` |

mod assignment;
mod begin;
mod checkpoint;
mod client;
mod cluster;
mod compacted;
mod config;
mod consumer;
mod control;
mod desk;
mod group_place;
mod groups;
mod kept;
mod known;
mod lead;
mod looks;
mod make_topics;
mod member;
mod offsets;
mod partition;
mod producer;
mod rebalance;
mod reread;
mod saving;
mod scan;
mod survey;
mod table;
mod table_writer;
mod tail;
mod watched_topics;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kafka_client::topic_id;
use tokio::task::spawn_blocking;

use self::{
    cluster::Cluster, consumer::KafkaConsumer, groups::KafkaGroups, lead::Candidacy,
    producer::KafkaProducer, reread::KafkaReread, table::KafkaControl, table_writer::TableWriter,
    tail::KafkaTail,
};
use crate::{
    Bus, BusConfig, Checkpoint, Consumer, Control, ControlChange, Error, Kept, KnownGroup,
    Partition, Producer, Progress, Reset, ResetTo, Result, Room, Standing, Subscription, Survey,
    TopicFilter,
};
pub use config::{Guarantee, KafkaConfig};

/// How long the brokers may take for what an administrator asks.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Names the brokers; nothing is sent yet.
pub(crate) fn open(kafka: &KafkaConfig, bus: &BusConfig) -> Arc<dyn Bus> {
    let cluster = Cluster::new(kafka, bus);
    let groups = KafkaGroups::new(&cluster);
    Arc::new(KafkaBus { cluster, groups, table_writer: TableWriter::default() })
}

struct KafkaBus {
    cluster: Cluster,
    groups: KafkaGroups,
    table_writer: TableWriter,
}

#[async_trait]
impl Bus for KafkaBus {
    async fn lead(
        &self,
        name: &str,
        standing: &Standing,
    ) -> Result<(Box<dyn Producer>, Checkpoint)> {
        let cluster = &self.cluster;
        self.reach().await?;
        checkpoint::make_topic(cluster, name).await?;
        standing.hear();
        let mut lead = Candidacy::join(cluster, name, standing)?;
        match cluster.config.guarantee {
            Guarantee::ExactlyOnce => lead.won().await?,
            Guarantee::AtLeastOnce => lead::won_alone(&mut lead, cluster, name).await?,
        }
        let (producer, checkpoint) = KafkaProducer::open(cluster, name, lead).await?;
        Ok((Box::new(producer), checkpoint))
    }

    async fn checkpoint(&self, name: &str) -> Result<Checkpoint> {
        self.reach().await?;
        checkpoint::look(&self.cluster, name).await
    }

    async fn producers(&self) -> Result<Vec<String>> {
        checkpoint::names(&self.cluster).await
    }

    async fn put_control(&self, entries: &[ControlChange]) -> Result<()> {
        self.table_writer.put(&self.cluster, entries).await
    }

    async fn control(&self) -> Result<Box<dyn Control>> {
        self.reach().await?;
        Ok(Box::new(KafkaControl::open(&self.cluster).await?))
    }

    async fn consumer(&self, subscription: Subscription) -> Result<Box<dyn Consumer>> {
        self.reach().await?;
        Ok(Box::new(KafkaConsumer::join(&self.cluster, subscription).await?))
    }

    async fn kept(&self, table: &str) -> Result<Vec<Kept>> {
        self.reach().await?;
        kept::look(&self.cluster, table).await
    }

    async fn clear_kept(&self, table: &str) -> Result<()> {
        self.reach().await?;
        kept::clear(&self.cluster, table).await
    }

    async fn progress(&self, group: &str, topics: &TopicFilter) -> Result<Vec<Progress>> {
        self.groups.progress(group, topics).await
    }

    async fn survey(&self, groups: &[(String, TopicFilter)]) -> Survey {
        self.groups.survey(groups).await
    }

    async fn plan_reset(
        &self,
        group: &str,
        topics: &TopicFilter,
        to: ResetTo,
    ) -> Result<Vec<Reset>> {
        self.groups.plan_reset(group, topics, to).await
    }

    async fn reset(&self, group: &str, resets: &[Reset]) -> Result<()> {
        self.groups.reset(group, resets).await
    }

    async fn groups(&self) -> Result<Vec<KnownGroup>> {
        self.reach().await?;
        known::list(&self.cluster).await
    }

    async fn forget_group(&self, group: &str) -> Result<()> {
        self.reach().await?;
        known::forget(&self.cluster, group).await
    }

    async fn room(&self) -> Result<Option<Room>> {
        Ok(None)
    }

    async fn tail(&self, topics: &TopicFilter, from: ResetTo) -> Result<Box<dyn Consumer>> {
        self.reach().await?;
        Ok(Box::new(KafkaTail::open(&self.cluster, topics, from).await?))
    }

    async fn reread(
        &self,
        partition: &Partition,
        _: &TopicFilter,
        from: u64,
    ) -> Result<Box<dyn Consumer>> {
        self.reach().await?;
        Ok(Box::new(KafkaReread::open(&self.cluster, partition, from).await?))
    }
}

impl KafkaBus {
    /// Waits a little until the brokers know us: what they have against us they tell here.
    async fn reach(&self) -> Result<()> {
        let cluster = self.cluster.clone();
        let reached = spawn_blocking(move || cluster.reach()).await;
        reached.map_err(|panic| Error::Internal(panic.to_string()))?
    }
}
