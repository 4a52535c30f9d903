//! The contract of the bus, on every backend.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod contract;

use std::{path::Path, sync::Arc};

use event_bus::{Bus, BusConfig, EmbeddedLog, MemoryBus};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

struct Memory(MemoryBus);

#[async_trait::async_trait]
impl contract::Backend for Memory {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(self.0.clone())
    }

    async fn expel(&self, client: &str) {
        self.0.expel(client);
    }
}

#[tokio::test]
async fn the_memory_bus_with_one_partition_keeps_the_contract() {
    contract::holds(async || Memory(MemoryBus::new(1))).await;
}

#[tokio::test]
async fn the_memory_bus_with_many_partitions_keeps_the_contract() {
    contract::holds(async || Memory(MemoryBus::new(6))).await;
}

/// A log on disk that is served, with one of its two doors.
struct Log {
    bus: Arc<dyn Bus>,
    stream: event_log::Stream,
    _serving: AbortOnDropHandle<event_bus::Result<()>>,
    _directory: tempfile::TempDir,
}

impl Log {
    async fn open() -> (Self, BusConfig) {
        let directory = tempfile::tempdir().unwrap();
        let mut config = log_config(directory.path());
        let log = EmbeddedLog::open(&config).await.unwrap();
        config.address = log.address().to_string();
        let (bus, stream) = (log.bus(), log.stream().clone());
        let serving = tokio::spawn(log.serve(CancellationToken::new()));
        let _serving = AbortOnDropHandle::new(serving);
        (Self { bus, stream, _serving, _directory: directory }, config)
    }

    async fn embedded() -> Self {
        Self::open().await.0
    }

    async fn remote() -> Self {
        let (log, config) = Self::open().await;
        Self { bus: event_bus::open(&config).unwrap(), ..log }
    }
}

fn log_config(directory: &Path) -> BusConfig {
    BusConfig {
        address: "127.0.0.1:0".to_owned(),
        embedded: true,
        storage: event_log::StorageConfig::new(directory),
        topic_prefix: "t".to_owned(),
        token: None,
        tls: None,
        ca_file: None,
    }
}

#[async_trait::async_trait]
impl contract::Backend for Log {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.bus)
    }

    async fn expel(&self, _client: &str) {
        self.stream.expel("t.g");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_log_keeps_the_contract() {
    contract::holds(Log::embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_over_the_network_keeps_the_contract() {
    contract::holds(Log::remote).await;
}
