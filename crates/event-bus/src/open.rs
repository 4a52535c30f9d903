//! Opens the backend that a config names.

use std::sync::Arc;

use crate::{Bus, BusConfig, BusKind, Result, kafka, log};

/// Reaches the bus that a config names, over the network. Nothing is sent yet.
///
/// # Errors
///
/// [`Error::Refused`](crate::Error::Refused) for a setting that cannot be.
pub fn open(config: &BusConfig) -> Result<Arc<dyn Bus>> {
    match &config.kind {
        BusKind::Log(log) => log::open(log, &config.topic_prefix),
        BusKind::Kafka(kafka) => Ok(kafka::open(kafka, config)),
    }
}
