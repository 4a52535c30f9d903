//! Which brokers, and which prefix: what every part of this backend needs.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{
    KafkaConfig,
    client::{self, Voice},
};
use crate::{BusConfig, Error, Result};

/// How long the brokers may take to let us in, and how often we look.
const REACH_PATIENCE: Duration = Duration::from_secs(10);
const REACH_STEP: Duration = Duration::from_millis(200);

/// What a record needs on a topic besides its value.
const RECORD_OVERHEAD_BYTES: usize = 64 << 10;

/// Which brokers, and which prefix: what every part of this backend needs.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) config: Arc<KafkaConfig>,
    pub(super) prefix: Arc<str>,
    max_row_bytes: usize,
    /// How large a producer makes its batches; less since a topic took none of that size.
    pub(super) batch_bytes: Arc<AtomicUsize>,
}

impl Cluster {
    pub(super) fn new(kafka: &KafkaConfig, bus: &BusConfig) -> Self {
        Self {
            config: Arc::new(kafka.clone()),
            prefix: bus.topic_prefix.as_str().into(),
            max_row_bytes: bus.max_row_bytes,
            batch_bytes: Arc::new(AtomicUsize::new(kafka.batch_bytes())),
        }
    }

    /// The settings of a client of these brokers; the brokers know it by `name`.
    pub(super) fn client(&self, name: &str) -> ClientConfig {
        self.client_with(name, &[])
    }

    /// The same, with properties that the user may overrule.
    pub(super) fn client_with(&self, name: &str, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut client = self.config.client(defaults);
        client.set("client.id", name);
        client
    }

    /// What an error means, with what its client logged.
    pub(super) fn error(&self, doing: &str, error: &KafkaError, voice: &Voice) -> Error {
        client::explain(voice, doing, error, &self.config.address)
    }

    /// The group of a producer and its stand-bys, and its transactional id.
    pub(super) fn producer_id(&self, name: &str) -> String {
        format!("{}.dts.{name}", self.prefix)
    }

    pub(super) fn checkpoint_topic(&self, name: &str) -> String {
        format!("{}.dts-checkpoint.{name}", self.prefix)
    }

    /// The largest record that a topic must take.
    pub(super) fn max_record_bytes(&self) -> usize {
        self.max_row_bytes + RECORD_OVERHEAD_BYTES
    }

    /// Waits until the brokers have let us in; blocks.
    pub(super) fn reach(&self) -> Result<()> {
        let voice = Voice::default();
        let failed = |error| self.error("cannot reach the brokers", &error, &voice);
        let config = self.client("dbevent");
        let consumer: BaseConsumer<Voice> =
            BaseConsumer::from_config_and_context(&config, voice.clone()).map_err(failed)?;
        let deadline = Instant::now() + REACH_PATIENCE;
        loop {
            if consumer.client().fetch_cluster_id(REACH_STEP).is_some() {
                return Ok(());
            }
            // The client's messages come out of its queue of events.
            let _ = consumer.poll(Duration::ZERO);
            if let Some(refusal) = client::heard_refusal(&voice, &self.config.address) {
                return Err(refusal);
            }
            if Instant::now() > deadline {
                return Err(failed(KafkaError::Global(Code::BrokerTransportFailure)));
            }
        }
    }
}
