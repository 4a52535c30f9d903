//! What all clients of the brokers share: where their logs go, and what their errors mean.

pub(super) use kafka_client::Voice;
use kafka_client::remedy;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::Error;

/// Where the config has the properties of clients.
const PROPERTIES: &str = "bus.properties";

/// Trouble that only a human can end, if the client told of some: no answer says so.
pub(super) fn heard_refusal(voice: &Voice, address: &str) -> Option<Error> {
    voice.refusal().map(|(code, reason)| meaning(code, reason, address))
}

/// What an error means on the bus: with what the client said besides, where that tells more.
pub(super) fn explain(voice: &Voice, doing: &str, error: &KafkaError, address: &str) -> Error {
    match voice.explain(error) {
        Some((code, reason)) => meaning(code, format!("{doing}: {reason}"), address),
        None => Error::Internal(format!("{doing}: {error}")),
    }
}

/// What an error that a client gave means, if only a human can end it.
pub(super) fn refusal(doing: &str, error: &KafkaError, address: &str) -> Option<Error> {
    let code = error.rdkafka_error_code()?;
    remedy(code, doing, PROPERTIES).map(|_| meaning(code, format!("{doing}: {code}"), address))
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

/// What a code means on the bus.
pub(super) fn meaning(code: Code, reason: String, address: &str) -> Error {
    let address = address.to_owned();
    if let Some(remedy) = remedy(code, &reason, PROPERTIES) {
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
