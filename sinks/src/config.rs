//! The `handler` of a listener that is a sink: which target, and what goes there.

use service::config::Section;

use crate::{
    elasticsearch::ElasticsearchConfig,
    fetch::FetchConfig,
    file::FileConfig,
    kafka::{KafkaConfig, have_common},
    mysql::MysqlConfig,
    postgres::PostgresConfig,
    redis::RedisConfig,
    servers::Servers,
    shape::Shape,
};

/// The keys of `handler` that name a sink.
pub const SINKS: [&str; 6] = ["elasticsearch", "mysql", "postgres", "redis", "kafka", "file"];

/// A sink.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    pub(crate) shape: Shape,
    pub(crate) target: TargetConfig,
    pub(crate) servers: Servers,
    /// From where rows come that were too large for their events; `None`: they are refused.
    pub(crate) fetch: Option<FetchConfig>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TargetConfig {
    Elasticsearch(Box<ElasticsearchConfig>),
    Mysql(Box<MysqlConfig>),
    Redis(Box<RedisConfig>),
    Kafka(Box<KafkaConfig>),
    File(Box<FileConfig>),
    Postgres(Box<PostgresConfig>),
}

impl SinkConfig {
    /// Reads the table of the sink `name`, which is one of [`SINKS`]; mistakes are noted.
    pub fn read(name: &str, section: &Section) -> Option<Self> {
        let shape = Shape::read(section);
        let fetch = FetchConfig::read(section);
        let target = match name {
            "elasticsearch" => {
                TargetConfig::Elasticsearch(Box::new(ElasticsearchConfig::read(section)?))
            }
            "mysql" => TargetConfig::Mysql(Box::new(MysqlConfig::read(section)?)),
            "redis" => TargetConfig::Redis(Box::new(RedisConfig::read(section)?)),
            "kafka" => TargetConfig::Kafka(Box::new(KafkaConfig::read(section)?)),
            "file" => TargetConfig::File(Box::new(FileConfig::read(section)?)),
            "postgres" => TargetConfig::Postgres(Box::new(PostgresConfig::read(section)?)),
            _ => return None,
        };
        Some(Self { shape, target, servers: Servers::read(name, section), fetch })
    }

    /// The name that this sink of a listener and that of another one both use for themselves at
    /// the same target, if they do: they would stop each other.
    pub fn name_shared_with(&self, listener: &str, other: (&Self, &str)) -> Option<String> {
        let (TargetConfig::Kafka(ours), TargetConfig::Kafka(theirs)) =
            (&self.target, &other.0.target)
        else {
            return None;
        };
        let ((ours, name), (theirs, their_name)) = (ours.marks(listener)?, theirs.marks(other.1)?);
        (name == their_name && have_common(ours, theirs)).then_some(name)
    }

    /// The target in words: its kind, and its servers.
    pub fn target_name(&self) -> String {
        self.servers.to_string()
    }

    /// A topic of the brokers that the sink writes to though the listener reads it, if there is
    /// one: what is written would come again, for ever.
    pub fn loop_through(
        &self,
        brokers: &str,
        tables: &[(String, String)],
        is_read: impl Fn(&str) -> bool,
    ) -> Option<String> {
        match &self.target {
            TargetConfig::Kafka(target) => target.loop_through(brokers, tables, is_read),
            _ => None,
        }
    }
}
