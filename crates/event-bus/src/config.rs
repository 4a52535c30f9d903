//! The `[bus]` section, which `dts.toml` and `db_event_listener.toml` share.

use std::path::PathBuf;

use event_log::{StorageConfig, TlsFiles};
use service::{Secret, config::Section};

/// Which bus, and how to reach it.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// Where the log listens, as `host:port`.
    pub address: String,
    /// Whether `dts` hosts the log in its own process.
    pub embedded: bool,
    /// What the log keeps, and where: for the process that hosts it.
    pub storage: StorageConfig,
    /// The first part of every topic and group, and the name of the log's stream.
    pub topic_prefix: String,
    /// What clients show to the log, where it asks.
    pub token: Option<Secret>,
    /// The certificate of the log, for the process that hosts it; it speaks TLS when it is set.
    pub tls: Option<TlsFiles>,
    /// Trust in the log's certificate; TLS is used when it is set.
    pub ca_file: Option<PathBuf>,
}

impl BusConfig {
    /// Reads the section; mistakes are noted there.
    pub fn read(section: &Section) -> Self {
        section.choice("kind", ["log"]);
        let config = Self {
            address: section.or("address", "127.0.0.1:19288".to_owned()),
            embedded: section.or("embedded", true),
            storage: StorageConfig::read(section),
            topic_prefix: section.or("topicPrefix", "dbevents".to_owned()),
            token: section.secret("token"),
            tls: TlsFiles::read(section),
            ca_file: section.optional("caFile"),
        };
        config.check(section);
        config
    }

    fn check(&self, section: &Section) {
        if !event_log::is_address(&self.address) {
            let problem = format!("{:?} is not an address", self.address);
            section.note("address", &problem, "write host:port, for example 127.0.0.1:19288");
        }
        if self.embedded && !event_log::is_loopback(&self.address) && self.token.is_none() {
            let problem = format!("is missing, while {} can be reached from outside", self.address);
            section.note(
                "token",
                &problem,
                r#"set token = { env = "NAME" }, or listen on 127.0.0.1"#,
            );
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
        assert_eq!(config.address, "127.0.0.1:19288");
        assert_eq!(config.topic_prefix, "dbevents");
        assert_eq!(config.storage.directory, Path::new("data/event-log"));
        assert!(config.embedded && config.token.is_none());
    }

    #[test]
    fn every_mistake_is_told_with_its_key() {
        let text = "[bus]\nkind = \"kafka\"\naddress = \"nowhere\"\ntopicPrefix = \"a/b\"\n\
                    onFull = \"panic\"\nmaxBytes = \"1KiB\"\npartitions = 6\n";
        let mistakes = read(text).unwrap_err().to_string();
        for key in ["kind", "address", "topicPrefix", "onFull", "maxBytes", "partitions"] {
            assert!(mistakes.contains(&format!("\n  bus.{key}: ")), "{key} in {mistakes}");
        }
        assert!(mistakes.contains("\"kafka\" is not known; write one of log"), "{mistakes}");
    }

    #[test]
    fn a_log_that_others_can_reach_needs_a_token() {
        let mistakes = read("[bus]\naddress = \"0.0.0.0:19288\"\n").unwrap_err().to_string();
        assert!(mistakes.contains("bus.token"), "{mistakes}");
        assert!(read("[bus]\naddress = \"0.0.0.0:19288\"\ntoken = \"t\"\n").is_ok());
    }
}
