//! What all clients of the brokers share: where their logs go, and what their errors mean.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use crate::Error;

/// Hears what a client says besides its answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Voice {
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

    /// Trouble that only a human can end, if there was some: no answer says so.
    pub(super) fn refusal(&self, address: &str) -> Option<Error> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard
            .take_if(|(code, reason)| remedy(*code, reason).is_some())
            .map(|(code, reason)| meaning(code, reason, address))
    }

    /// What an error means on the bus: with what the client said besides, where that tells more.
    pub(super) fn explain(&self, doing: &str, error: &KafkaError, address: &str) -> Error {
        let code = match error {
            KafkaError::AdminOp(code) => Some(*code),
            other => other.rdkafka_error_code(),
        };
        let told = self.take();
        if let Some(code) = code.filter(|code| !is_vague(*code)) {
            return meaning(code, format!("{doing}: {code}"), address);
        }
        match (told, code) {
            (Some((code, reason)), _) => meaning(code, format!("{doing}: {reason}"), address),
            (None, Some(code)) => meaning(code, format!("{doing}: {code}"), address),
            (None, None) => Error::Internal(format!("{doing}: {error}")),
        }
    }
}

/// What an error that a client gave means, if only a human can end it.
pub(super) fn refusal(doing: &str, error: &KafkaError, address: &str) -> Option<Error> {
    let code = error.rdkafka_error_code()?;
    remedy(code, doing).map(|_| meaning(code, format!("{doing}: {code}"), address))
}

/// Topics in a message.
pub(super) fn listed(topics: &[&str]) -> String {
    const MAX_SHOWN: usize = 3;
    match topics {
        [one] => format!("the topic {one}"),
        some if some.len() <= MAX_SHOWN => format!("the topics {}", some.join(", ")),
        many => {
            let shown = many.get(..MAX_SHOWN).unwrap_or_default().join(", ");
            format!("the topics {shown} and {} more", many.len() - MAX_SHOWN)
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

/// What a code means on the bus.
pub(super) fn meaning(code: Code, reason: String, address: &str) -> Error {
    let address = address.to_owned();
    if let Some(remedy) = remedy(code, &reason) {
        return Error::Refused { address, reason: format!("{reason}; {remedy}") };
    }
    match code {
        Code::Fenced | Code::ProducerFenced | Code::FencedInstanceId => Error::Fenced(reason),
        Code::MessageSizeTooLarge | Code::InvalidRecord | Code::InvalidMessageSize => {
            Error::Rejected(reason)
        }
        Code::InvalidArgument
        | Code::InvalidConfig
        | Code::InvalidReplicationFactor
        | Code::InvalidPartitions
        | Code::PolicyViolation
        | Code::UnsupportedVersion => Error::Refused { address, reason },
        _ => Error::Unavailable { address, reason },
    }
}

/// What a human does about a refusal; `None` for trouble that ends by itself.
fn remedy(code: Code, reason: &str) -> Option<&'static str> {
    Some(match code {
        Code::SaslAuthenticationFailed | Code::Authentication => {
            "check sasl.username, sasl.password and sasl.mechanism in bus.properties"
        }
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState => {
            "set sasl.mechanism in bus.properties to one that the brokers offer"
        }
        // A broker that goes down in the middle of a handshake gives this code too.
        Code::SSL if reason.contains("certificate") => {
            "set ssl.ca.location in bus.properties to the authority that signed the brokers' \
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
            "set session.timeout.ms in bus.properties to what the brokers allow \
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
    })
}
