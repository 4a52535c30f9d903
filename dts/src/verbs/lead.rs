//! Takes the lead of a name, so that nobody else writes while an operator changes the saved
//! position.

use std::{sync::Arc, time::Duration};

use event_bus::{
    Batch, Bus, BusConfig, ChangedTopic, Checkpoint, EmbeddedLog, LogConfig, Producer,
};

use crate::{
    checkpoint::{Saved, Seq, set_position},
    error::{Error, Result},
};

/// A little more than a bus needs to see that a leader is gone.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// The lead of a name; given back when this is dropped.
pub(super) struct HeldLead {
    producer: Box<dyn Producer>,
    checkpoint: Checkpoint,
    bus: Arc<dyn Bus>,
    /// The log, if we host it because nobody else does.
    _log: Option<EmbeddedLog>,
}

impl HeldLead {
    /// Becomes the one writer of a name on a bus.
    ///
    /// # Errors
    ///
    /// Refused, while a `dts` of this name runs; transient, when the bus is elsewhere and away.
    pub(super) async fn take(config: &BusConfig, name: &str) -> Result<Self> {
        let bus = event_bus::open(config)?;
        match (open(&*bus, name).await, config.embedded_log()) {
            (Err(Error::Bus(error)), Some(hosted)) if error.is_transient() => {
                Self::host((hosted, &config.topic_prefix), name).await
            }
            (opened, _) => {
                let (producer, checkpoint) = opened?;
                Ok(Self { producer, checkpoint, bus, _log: None })
            }
        }
    }

    /// As [`HeldLead::take`], for a log whose `dts` does not run: from the log's directory.
    async fn host((hosted, stream): (&LogConfig, &str), name: &str) -> Result<Self> {
        let log = EmbeddedLog::open(hosted, stream).await?;
        let bus = log.bus();
        let (producer, checkpoint) = open(&*bus, name).await?;
        Ok(Self { producer, checkpoint, bus, _log: Some(log) })
    }

    /// Gives the lead back, so that the next start does not wait for a time-out.
    pub(super) async fn give_back(self) {
        self.producer.close().await;
    }

    /// Topics that are not as they were before; see [`Producer::changed_topics`].
    pub(super) async fn changed_topics(&mut self) -> Result<Vec<ChangedTopic>> {
        Ok(self.producer.changed_topics().await?)
    }

    /// Takes topics as they are; see [`Producer::adopt_topics`].
    pub(super) async fn adopt_topics(&mut self, topics: &[ChangedTopic]) -> Result<()> {
        Ok(self.producer.adopt_topics(topics).await?)
    }

    /// The saved checkpoint.
    pub(super) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The bus of the lead.
    pub(super) fn bus(&self) -> &dyn Bus {
        &*self.bus
    }

    /// Saves a position, or forgets it; the numbers of events go on in both cases. Durable when
    /// this returns.
    ///
    /// # Errors
    ///
    /// Those of the bus; after an error it is not known what is saved.
    pub(super) async fn save(&mut self, saved: Option<&Saved>, seq: Option<Seq>) -> Result<()> {
        let changes = set_position(saved, seq);
        Ok(self.producer.append(&Batch::default(), &changes).await?)
    }
}

async fn open(bus: &dyn Bus, name: &str) -> Result<(Box<dyn Producer>, Checkpoint)> {
    match tokio::time::timeout(MAX_WAIT, bus.producer(name)).await {
        Ok(opened) => Ok(opened?),
        Err(_) => Err(Error::refused(
            format!("a dts named {name} is running"),
            "stop it first, and its stand-bys",
        )),
    }
}
