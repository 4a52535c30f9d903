//! Which brokers are written to, and under which names.

use std::{fmt::Write as _, sync::Arc};

use handler::Failure;
use kafka_client::{Voice, remedy};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{Access, Delivery};

/// What is sent at once is not larger: what a topic takes, the brokers know.
const MAX_MESSAGE_BYTES: &str = "134217728";

/// What a producer's client is made with, unless the user says otherwise.
const DEFAULTS: &[(&str, &str)] = &[
    ("linger.ms", "0"),
    ("partitioner", "murmur2_random"),
    // While the brokers still end the last transaction, they refuse the next one for a moment. The
    // wait doubles each time, up to the second figure.
    ("retry.backoff.ms", "5"),
    ("retry.backoff.max.ms", "10"),
    ("queue.buffering.max.messages", "200000"),
    ("queue.buffering.max.kbytes", "262144"),
    ("message.max.bytes", MAX_MESSAGE_BYTES),
];

/// Which brokers are written to, and under which names.
#[derive(Clone, Debug)]
pub(super) struct TargetCluster {
    pub(super) access: Arc<Access>,
    /// The topic with marks, and what transactional ids begin with.
    pub(super) name: Arc<str>,
}

impl TargetCluster {
    pub(super) fn new(access: &Access, name: &str) -> Self {
        Self { access: Arc::new(access.clone()), name: format!("dbevent-sink.{name}").into() }
    }

    pub(super) fn is_exactly_once(&self) -> bool {
        self.access.delivery == Delivery::ExactlyOnce
    }

    /// The settings of a client.
    pub(super) fn client(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut client = self.access.properties.client(&self.access.brokers, defaults);
        client.set("client.id", &*self.name);
        client
    }

    /// The settings of a producer; with a transactional id it writes transactions.
    pub(super) fn producer(&self, transactional_id: Option<&str>) -> ClientConfig {
        let millis = self.access.timeout.as_millis().to_string();
        let own = [
            ("compression.type", &*self.access.compression),
            ("message.timeout.ms", &*millis),
            ("transaction.timeout.ms", &*millis),
        ];
        let mut client = self.client(&[DEFAULTS, &own].concat());
        client.set("acks", "all").set("enable.idempotence", "true");
        if let Some(id) = transactional_id {
            client.set("transactional.id", id);
        }
        client
    }

    /// A transactional id that nobody had before.
    pub(super) fn new_id(&self) -> String {
        format!("{}.{:016x}", self.name, rand::random::<u64>())
    }

    /// What an error means, with what its client said besides.
    pub(super) fn failure(&self, doing: &str, error: &KafkaError, voice: &Voice) -> Failure {
        match voice.explain(error) {
            Some((code, reason)) => self.meaning(doing, code, &reason),
            None => Failure::unclear(format!("{doing}: {error}")),
        }
    }

    /// What an error means, in words.
    pub(super) fn meaning(&self, doing: &str, code: Code, reason: &str) -> Failure {
        let brokers = &self.access.brokers;
        let mut words = format!("the brokers {brokers}: {doing}: {reason}");
        let advice = match code {
            Code::UnsupportedFeature | Code::UnsupportedVersion => {
                Some("brokers without transactions need delivery = \"at-least-once\"".to_owned())
            }
            _ => remedy(code, reason, "the handler's properties"),
        };
        if let Some(advice) = advice {
            // Writing to a string does not fail.
            let _ = write!(words, "; {advice}");
        }
        Failure::unclear(words)
    }
}
