//! The contract of the bus, on every backend.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod contract;

use std::sync::Arc;

use event_bus::{Bus, MemoryBus};

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
