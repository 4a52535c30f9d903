//! The `[bus]` section, which `dts.toml` and `db_event_listener.toml` share.

use bytesize::ByteSize;
use service::config::Section;

use crate::{KafkaConfig, LogConfig, TopicName, topic::DEFAULT_TEMPLATE};

/// Which bus, how to reach it, and what is the same on all.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// Which, and how to reach it.
    pub kind: BusKind,
    /// The first part of every topic and group, and the name of a log's stream.
    pub topic_prefix: String,
    /// How topics are named.
    topics: TopicName,
    /// The largest value of a record, in bytes.
    pub max_row_bytes: usize,
    /// What becomes of a larger one.
    pub on_oversize: OnOversize,
}

/// The backends that a config can name.
#[derive(Clone, Debug)]
pub enum BusKind {
    /// `"log"`: an event log, hosted by `dts` or elsewhere.
    Log(Box<LogConfig>),
    /// `"kafka"`: Apache Kafka, or what speaks its protocol.
    Kafka(KafkaConfig),
}

/// What becomes of a change whose record would be larger than `maxRowBytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOversize {
    /// The stream stops before it, and says where.
    Stop,
    /// Its key is published, with the size of what was left out.
    KeysOnly,
}

/// A record of a large row still fits where Kafka keeps its own limits.
const DEFAULT_MAX_ROW_BYTES: usize = 16 << 20;

impl BusConfig {
    /// A bus with what is the default on all.
    pub fn new(kind: BusKind, topic_prefix: &str) -> Self {
        Self {
            kind,
            topic_prefix: topic_prefix.to_owned(),
            topics: TopicName::new(topic_prefix),
            max_row_bytes: DEFAULT_MAX_ROW_BYTES,
            on_oversize: OnOversize::Stop,
        }
    }

    /// Reads the section; mistakes are noted there.
    pub fn read(section: &Section) -> Self {
        let max_row_bytes = section.or("maxRowBytes", ByteSize::b(DEFAULT_MAX_ROW_BYTES as u64));
        let on_oversize = match section.choice("onOversize", ["stop", "keys-only"]) {
            Some(1) => OnOversize::KeysOnly,
            _ => OnOversize::Stop,
        };
        let topic_prefix = section.or("topicPrefix", "dbevents".to_owned());
        let kind = match section.choice("kind", ["log", "kafka"]) {
            Some(1) => BusKind::Kafka(KafkaConfig::read(section)),
            _ => BusKind::Log(Box::new(LogConfig::read(section))),
        };
        let template = section.or("topicTemplate", DEFAULT_TEMPLATE.to_owned());
        let topics = TopicName::with_template(&topic_prefix, &template).unwrap_or_else(|problem| {
            let remedy = "write for example \"{prefix}.{schema}.{table}\" or \"{prefix}.all\"";
            section.note("topicTemplate", &problem, remedy);
            TopicName::new(&topic_prefix)
        });
        let max_row_bytes = usize::try_from(max_row_bytes.as_u64()).unwrap_or(usize::MAX);
        let config = Self { kind, topic_prefix, topics, max_row_bytes, on_oversize };
        config.check(section);
        config
    }

    /// How topics are named.
    pub fn topics(&self) -> TopicName {
        self.topics.clone()
    }

    /// Where it is reached, as written.
    pub fn address(&self) -> &str {
        match &self.kind {
            BusKind::Log(log) => &log.address,
            BusKind::Kafka(kafka) => &kafka.address,
        }
    }

    /// The log, where it is to be hosted by the process that has this config.
    pub fn embedded_log(&self) -> Option<&LogConfig> {
        match &self.kind {
            BusKind::Log(log) if log.embedded => Some(log),
            BusKind::Log(_) | BusKind::Kafka(_) => None,
        }
    }

    fn check(&self, section: &Section) {
        /// A log's record, and a Kafka request, have limits of their own not far above.
        const ROW_BYTES: std::ops::RangeInclusive<usize> = 1024..=64 << 20;
        if !ROW_BYTES.contains(&self.max_row_bytes) {
            let problem = format!("{} bytes cannot be the limit", self.max_row_bytes);
            section.note("maxRowBytes", &problem, "set 1KiB to 64MiB");
        }
        if !event_log::is_stream_name(&self.topic_prefix) {
            let problem = format!("{:?} cannot begin the name of a topic", self.topic_prefix);
            let remedy = "use up to 64 of A-Z a-z 0-9 _ - ., beginning with a letter or digit";
            section.note("topicPrefix", &problem, remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service::config::File;

    use super::BusConfig;

    fn read(text: &str) -> Result<BusConfig, service::config::Mistakes> {
        let file = File::parse(Path::new("dts.toml"), text).unwrap();
        let config = BusConfig::read(&file.root().section("bus"));
        file.finish(config)
    }

    #[test]
    fn an_absent_section_is_an_embedded_log_on_loopback() {
        let config = read("").unwrap();
        assert_eq!((&*config.topic_prefix, config.max_row_bytes), ("dbevents", 16 << 20));
        let log = config.embedded_log().unwrap();
        assert_eq!(log.address, "127.0.0.1:19288");
        assert_eq!(log.storage.directory, Path::new("data/event-log"));
        assert!(log.token.is_none());
    }

    #[test]
    fn every_mistake_is_told_with_its_key() {
        let text = "[bus]\nkind = \"pigeon\"\naddress = \"nowhere\"\ntopicPrefix = \"a/b\"\n\
                    onFull = \"panic\"\nmaxBytes = \"1KiB\"\npartitions = 6\n";
        let mistakes = read(text).unwrap_err().to_string();
        for key in ["kind", "address", "topicPrefix", "onFull", "maxBytes", "partitions"] {
            assert!(mistakes.contains(&format!("\n  bus.{key}: ")), "{key} in {mistakes}");
        }
        assert!(
            mistakes.contains("\"pigeon\" is not known; write one of log, kafka"),
            "{mistakes}"
        );
    }

    #[test]
    fn a_log_that_others_can_reach_needs_a_token() {
        let mistakes = read("[bus]\naddress = \"0.0.0.0:19288\"\n").unwrap_err().to_string();
        assert!(mistakes.contains("bus.token"), "{mistakes}");
        assert!(read("[bus]\naddress = \"0.0.0.0:19288\"\ntoken = \"t\"\n").is_ok());
    }
}
