//! Keeps what the decoder knows of hidden types up to date, while definitions change.

use std::time::Duration;

use tracing::debug;

use crate::{
    binlog::{self, Server},
    config::SourceConfig,
    decode::Decoder,
    error::Result,
};

/// A server of very many tables takes long to list their columns.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// Asks the server at the beginning, and again after each statement that may have changed a
/// definition. Only for servers that hide types.
pub(super) struct Types {
    config: SourceConfig,
    /// How many such statements had been read when it was last asked.
    asked_at: Option<u64>,
}

impl Types {
    pub(super) fn new(config: SourceConfig) -> Self {
        Self { config, asked_at: None }
    }

    /// Whether the server is to be asked before anything else is decoded.
    pub(super) fn are_stale(&self, decoder: &Decoder) -> bool {
        self.asked_at != Some(decoder.definitions())
    }

    pub(super) async fn refresh(&mut self, decoder: &mut Decoder) -> Result<()> {
        let mut conn = binlog::connect(&self.config).await?.waiting(MAX_WAIT);
        decoder.know_types(Server::hidden_types(&mut conn, &self.config).await?);
        self.asked_at = Some(decoder.definitions());
        debug!("asked for the types that the binlog hides");
        Ok(())
    }
}
