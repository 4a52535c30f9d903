//! What a client says besides its answers, and what a human does about an error.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode as Code},
};

/// Hears what a client says besides its answers.
#[derive(Clone, Debug, Default)]
pub struct Voice {
    heard: Arc<Mutex<Option<(Code, String)>>>,
}

impl ClientContext for Voice {
    /// The library logs every attempt to connect; its caller reports what matters.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" follows every reason, and says less.
        if code != Code::AllBrokersDown || heard.is_none() {
            *heard = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Voice {}

impl Voice {
    /// Takes the last trouble that the client told of.
    fn take(&self) -> Option<(Code, String)> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes trouble that only a human can end, if there was some: no answer says so.
    pub fn refusal(&self) -> Option<(Code, String)> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.take_if(|(code, reason)| remedy(*code, reason, "").is_some())
    }

    /// The code of an error, and a text for it: what the client said besides, where that tells
    /// more. `None` for an error of our own.
    pub fn explain(&self, error: &KafkaError) -> Option<(Code, String)> {
        let code = match error {
            KafkaError::AdminOp(code) => Some(*code),
            other => other.rdkafka_error_code(),
        };
        let told = self.take();
        match code {
            Some(code) if !is_vague(code) => Some((code, code.to_string())),
            _ => told.or_else(|| code.map(|code| (code, code.to_string()))),
        }
    }
}

/// Codes that say that something went wrong, but not what.
fn is_vague(code: Code) -> bool {
    matches!(
        code,
        Code::OperationTimedOut
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::MessageTimedOut
            | Code::Fail
            | Code::PurgeQueue
            | Code::PurgeInflight
    )
}

/// Whether another producer has taken the transactional id.
pub fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
    )
}

/// What a human does about a refusal; `None` for trouble that ends by itself. `properties` is where
/// the config has the properties of the client.
pub fn remedy(code: Code, reason: &str, properties: &str) -> Option<String> {
    let words = match code {
        Code::SaslAuthenticationFailed | Code::Authentication => {
            "check sasl.username, sasl.password and sasl.mechanism in {properties}"
        }
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState => {
            "set sasl.mechanism in {properties} to one that the brokers offer"
        }
        // A broker that goes down in the middle of a handshake gives this code too.
        Code::SSL if reason.contains("certificate") => {
            "set ssl.ca.location in {properties} to the authority that signed the brokers' \
             certificates"
        }
        Code::TopicAuthorizationFailed => {
            "grant the user the right to do that: READ, WRITE or CREATE on the topic \
             (docs/kafka.md lists the ACLs)"
        }
        Code::GroupAuthorizationFailed => {
            "grant the user READ on the group (docs/kafka.md lists the ACLs)"
        }
        Code::InconsistentGroupProtocol => {
            "other programs are in this group, with another assignor: stop them, or give the \
             listener another name"
        }
        Code::InvalidSessionTimeout => {
            "set session.timeout.ms in {properties} to what the brokers allow \
             (group.min.session.timeout.ms to group.max.session.timeout.ms)"
        }
        Code::GroupMaxSizeReached => {
            "run the listener on fewer machines, or raise group.max.size of the brokers"
        }
        Code::TransactionalIdAuthorizationFailed => {
            "grant the user WRITE on the transactional id (docs/kafka.md lists the ACLs)"
        }
        Code::ClusterAuthorizationFailed => {
            "grant the user IDEMPOTENT_WRITE on the cluster, which brokers before Kafka 2.8 ask \
             for (docs/kafka.md lists the ACLs)"
        }
        _ => return None,
    };
    Some(words.replace("{properties}", properties))
}
