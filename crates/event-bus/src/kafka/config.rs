//! What `[bus]` says of Kafka.

use std::time::Duration;

use kafka_client::{Properties, check_addresses};
use rdkafka::ClientConfig;
use service::config::Section;

/// Apache Kafka, or what speaks its protocol, as the bus.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// Bootstrap servers: `host:port`, separated by commas.
    pub address: String,
    /// How many partitions a topic is made with.
    pub partitions: u32,
    /// How many brokers keep a copy; absent: what the brokers are set to.
    pub replication: Option<u16>,
    /// How long a topic keeps its records; absent: what the brokers are set to.
    pub retention: Option<Duration>,
    /// What a reader at `read_committed` is promised.
    pub guarantee: Guarantee,
    /// Properties of librdkafka, passed on as they are: TLS, SASL, time-outs.
    pub properties: Properties,
}

/// What a reader at `read_committed` is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// Every change is on its topic exactly once.
    ExactlyOnce,
    /// For brokers without transactions: changes may be there twice after a failure.
    AtLeastOnce,
}

impl KafkaConfig {
    pub(crate) fn read(section: &Section) -> Self {
        let guarantee = match section.choice("delivery", ["exactly-once", "at-least-once"]) {
            Some(1) => Guarantee::AtLeastOnce,
            _ => Guarantee::ExactlyOnce,
        };
        let config = Self {
            address: section.or("address", "127.0.0.1:9092".to_owned()),
            partitions: section.or("partitions", 6),
            replication: section.optional("replication"),
            retention: section.optional("retention"),
            guarantee,
            properties: Properties::read(section),
        };
        config.check(section);
        config
    }

    /// What a client of these brokers is made from: the user's properties go before `defaults`.
    pub(super) fn client(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        self.properties.client(&self.address, defaults)
    }

    /// How large a batch of records may be, as the user or the library has it.
    pub(super) fn batch_bytes(&self) -> usize {
        const OF_THE_LIBRARY: usize = 1_000_000;
        let set = self.properties.get("batch.size").and_then(|size| size.expose().parse().ok());
        set.unwrap_or(OF_THE_LIBRARY)
    }

    fn check(&self, section: &Section) {
        const MAX_PARTITIONS: u32 = 10_000;
        check_addresses(section, "address", &self.address);
        if !(1..=MAX_PARTITIONS).contains(&self.partitions) {
            let problem = format!("{} is not a number of partitions", self.partitions);
            section.note("partitions", &problem, &format!("set 1 to {MAX_PARTITIONS}"));
        }
        if self.replication == Some(0) {
            let remedy = "set 1 or more, or remove it to take what the brokers are set to";
            section.note("replication", "0 copies keep nothing", remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service::config::{File, Mistakes};

    use super::*;

    fn read(text: &str) -> Result<KafkaConfig, Mistakes> {
        let file = File::parse(Path::new("dts.toml"), &format!("[bus]\nkind = \"kafka\"\n{text}"))?;
        let bus = file.root().section("bus");
        let config = KafkaConfig::read(&bus);
        let _ = bus.raw("kind");
        file.finish(config)
    }

    #[test]
    fn properties_may_be_written_in_all_of_tomls_ways() {
        let text = "[bus.properties]\nsecurity.protocol = \"SASL_SSL\"\n\
                    \"sasl.mechanism\" = \"SCRAM-SHA-512\"\nsocket.keepalive.enable = true\n\
                    linger.ms = 5\nsasl.password = { env = \"PATH\" }\n";
        let properties = read(text).unwrap().properties;
        let shown: Vec<(&str, &str)> =
            properties.iter().map(|(name, value)| (name, value.expose())).collect();
        let path = std::env::var("PATH").unwrap();
        let expected = [
            ("linger.ms", "5"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.password", path.as_str()),
            ("security.protocol", "SASL_SSL"),
            ("socket.keepalive.enable", "true"),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn properties_that_are_ours_unknown_or_wrong_are_told_without_their_values() {
        let text = "address = \"a:1, nowhere\"\npartitions = 0\n\
                    properties = { acks = 1, no.such = \"x\", linger.ms = \"hunter2\" }\n";
        let mistakes = read(text).unwrap_err().to_string();
        for key in ["address", "partitions", "properties.acks", "properties.no.such"] {
            assert!(mistakes.contains(&format!("\n  bus.{key}: ")), "{key} in {mistakes}");
        }
        assert!(mistakes.contains("properties.linger.ms"), "{mistakes}");
        assert!(!mistakes.contains("hunter2"), "{mistakes}");
    }
}
