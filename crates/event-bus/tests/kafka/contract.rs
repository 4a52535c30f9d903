//! The contract of the bus, on a real broker: each sentence under a prefix of its own.

use std::{io::Write as _, net::TcpStream, sync::Arc, time::Duration};

use event_bus::Bus;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};

use super::{address, bus, new_prefix};
use crate::contract::{self, Backend};

struct Kafka {
    prefix: String,
    bus: Arc<dyn Bus>,
}

impl Kafka {
    fn new(partitions: u32) -> Self {
        let prefix = new_prefix();
        let bus = bus(&prefix, partitions);
        Self { prefix, bus }
    }
}

#[async_trait::async_trait]
impl Backend for Kafka {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.bus)
    }

    fn prefix(&self) -> String {
        self.prefix.clone()
    }

    async fn expel(&self, client: &str) {
        let (group, client) = (format!("{}.g", self.prefix), client.to_owned());
        tokio::task::spawn_blocking(move || expel(&group, &client)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_with_one_partition_keeps_the_contract() {
    contract::holds(async || Kafka::new(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_with_many_partitions_keeps_the_contract() {
    contract::holds(async || Kafka::new(6)).await;
}

/// Tells the broker that a member leaves, in the member's name.
fn expel(group: &str, client: &str) {
    let asking: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", address()).create().unwrap();
    let id = loop {
        let groups = asking.fetch_group_list(Some(group), Duration::from_secs(10)).unwrap();
        let members = groups.groups().iter().flat_map(|group| group.members());
        // While it joins again, it is not a member.
        match members.into_iter().find(|member| member.client_id() == client) {
            Some(member) => break member.id().to_owned(),
            None => std::thread::park_timeout(Duration::from_millis(50)),
        }
    };
    let mut stream = TcpStream::connect(address()).unwrap();
    stream.write_all(&leave_group(group, &id)).unwrap();
    // The answer says that it is done; it begins with its length.
    std::io::Read::read_exact(&mut stream, &mut [0; 4]).unwrap();
}

/// LeaveGroup, version 1 (https://kafka.apache.org/protocol).
fn leave_group(group: &str, member: &str) -> Vec<u8> {
    const LEAVE_GROUP: i16 = 13;
    let mut request = Vec::new();
    request.extend(LEAVE_GROUP.to_be_bytes());
    request.extend(1_i16.to_be_bytes());
    request.extend(7_i32.to_be_bytes());
    for text in ["test", group, member] {
        request.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
        request.extend(text.as_bytes());
    }
    let length = i32::try_from(request.len()).unwrap();
    [&length.to_be_bytes()[..], &request].concat()
}
