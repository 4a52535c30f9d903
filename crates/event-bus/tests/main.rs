//! The contract of the bus, on every backend.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod contract;
mod kafka;

use std::{path::Path, sync::Arc, time::Duration};

use contract::reader::{Reader, append, batch};
use event_bus::{Bus, BusConfig, BusKind, EmbeddedLog, LogConfig, MemoryBus};
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
struct ServedLog {
    bus: Arc<dyn Bus>,
    stream: event_log::Stream,
    _serving: AbortOnDropHandle<event_bus::Result<()>>,
    _directory: tempfile::TempDir,
}

impl ServedLog {
    async fn open() -> (Self, LogConfig) {
        let directory = tempfile::tempdir().unwrap();
        let mut config = log_config(directory.path());
        let log = EmbeddedLog::open(&config, "t").await.unwrap();
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
        Self { bus: over_network(config), ..log }
    }
}

fn over_network(log: LogConfig) -> Arc<dyn Bus> {
    event_bus::open(&BusConfig::new(BusKind::Log(Box::new(log)), "t")).unwrap()
}

fn log_config(directory: &Path) -> LogConfig {
    LogConfig {
        address: "127.0.0.1:0".to_owned(),
        embedded: true,
        storage: event_log::StorageConfig::new(directory),
        token: None,
        tls: None,
        ca_file: None,
        identity: None,
    }
}

#[async_trait::async_trait]
impl contract::Backend for ServedLog {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.bus)
    }

    async fn expel(&self, _client: &str) {
        self.stream.expel("t.g");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_log_keeps_the_contract() {
    contract::holds(ServedLog::embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_over_the_network_keeps_the_contract() {
    contract::holds(ServedLog::remote).await;
}

/// Serves a directory until the token is cancelled, and then waits until it is free again.
async fn serve(config: &LogConfig) -> (EmbeddedServer, String) {
    let log = EmbeddedLog::open(config, "t").await.unwrap();
    let (address, bus) = (log.address().to_string(), log.bus());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(log.serve(stop.clone()));
    (EmbeddedServer { bus, stop, serving }, address)
}

struct EmbeddedServer {
    bus: Arc<dyn Bus>,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<event_bus::Result<()>>,
}

impl EmbeddedServer {
    async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_told_of_a_lost_connection_and_joins_again_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = log_config(directory.path());
    let (server, address) = serve(&config).await;
    config.address = address;
    let bus = over_network(config.clone());
    append(&*server.bus, &batch("a", [("k", "1".to_owned())])).await;
    let mut reader = Reader::join(&*bus, "one").await;
    reader.read(1).await;
    reader.commit_with("1", Some("kept")).await.unwrap();
    server.stop().await;
    while !reader.owned.is_empty() {
        reader.poll(Duration::from_secs(20)).await;
    }
    let error = bus.progress("t.g", &contract::reader::tables("*")).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(&config.address), "{error}");

    let (server, _) = serve(&config).await;
    append(&*server.bus, &batch("a", [("k", "2".to_owned())])).await;
    reader.read(2).await;
    let kept = reader.kept().await;
    assert_eq!(kept.iter().map(|kept| &*kept.value).collect::<Vec<_>>(), [b"kept"]);
    reader.commit_with("1", None).await.unwrap();
    assert_eq!(bus.kept(contract::reader::TABLE).await.unwrap(), []);
    assert_eq!(reader.values(), ["1", "2"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_table_of_a_log_outlives_it_and_who_listens_hears_of_what_follows() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = log_config(directory.path());
    let (server, address) = serve(&config).await;
    config.address = address;
    let bus = over_network(config.clone());
    let mut control = bus.control().await.unwrap();
    let put = |key: &str, value: &'static str| (key.to_owned(), Some(value.into()));
    bus.put_control(&[put("a", "1")]).await.unwrap();
    assert_eq!(control.changes().await.unwrap(), [put("a", "1")]);
    server.stop().await;
    let error = control.changes().await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(&config.address), "{error}");
    let error = bus.put_control(&[put("b", "1")]).await.unwrap_err();
    assert!(error.is_transient(), "{error}");

    let (server, _) = serve(&config).await;
    server.bus.put_control(&[put("b", "2")]).await.unwrap();
    let changes = loop {
        match control.changes().await {
            Ok(changes) => break changes,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    };
    assert_eq!(changes, [put("b", "2")], "what was told before is not told again");
    let first = server.bus.control().await.unwrap().changes().await.unwrap();
    assert_eq!(first, [put("a", "1"), put("b", "2")]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_or_a_port_of_another_process_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = log_config(directory.path());
    let first = EmbeddedLog::open(&config, "t").await.unwrap();
    let held = EmbeddedLog::open(&config, "t").await.err().unwrap();
    assert!(held.to_string().contains(&directory.path().display().to_string()), "{held}");
    let other = tempfile::tempdir().unwrap();
    let address = first.address().to_string();
    let config = LogConfig { address: address.clone(), ..log_config(other.path()) };
    let taken = EmbeddedLog::open(&config, "t").await.err().unwrap();
    assert!(taken.to_string().contains(&address) && !taken.is_transient(), "{taken}");
}
