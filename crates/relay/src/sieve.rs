//! Which records a relay gives.

use event_log::{DATABASE_CHANGE, Error, Record, RecordFilter, Start, Subscribe};
use full_sync::LISTENER_HEADER;

use crate::config::{RecordChoice, RelayConfig};

/// Which records are given.
#[derive(Clone, Debug)]
pub(crate) struct Sieve {
    filter: RecordFilter,
    not_origins: Vec<u32>,
    name: String,
}

impl Sieve {
    pub(crate) fn new(config: &RelayConfig) -> Result<Self, Error> {
        let filter = RecordFilter::new(&wanted(config))?;
        let not_origins = config.choice.not_origins.clone();
        Ok(Self { filter, not_origins, name: config.name.clone() })
    }

    pub(crate) fn passes(&mut self, record: &Record) -> bool {
        !self.not_origins.contains(&record.origin)
            && !self.is_for_another(record)
            && self.filter.passes(record)
    }

    /// Whether it is a row of a full sync that a listener asked for.
    fn is_for_another(&self, record: &Record) -> bool {
        record.kind == DATABASE_CHANGE
            && record.headers.iter().any(|header| {
                header.name() == LISTENER_HEADER && header.value != self.name.as_bytes()
            })
    }
}

/// What is asked of a server, or of the reader of files.
pub(crate) fn wanted(config: &RelayConfig) -> Subscribe {
    let RecordChoice { topics, kinds, origins, .. } = config.choice.clone();
    Subscribe {
        group: config.name.clone(),
        start: Start::Earliest,
        topics,
        kinds,
        origins,
        addressee: None,
        max_bytes: 0,
        client: format!("relay {}, pid {}", config.name, std::process::id()),
    }
}
