//! The table `properties` of a config: what librdkafka is told besides what we set ourselves.

use std::{collections::BTreeMap, rc::Rc};

use rdkafka::ClientConfig;
use serde_json::Value;
use service::{Secret, config::Section};

/// Properties of librdkafka, passed on as they are: TLS, SASL, time-outs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties(BTreeMap<String, Secret>);

/// What our promises rest on, and the name under which a client is known: not for users to set.
const OURS: &[&str] = &[
    "bootstrap.servers",
    "metadata.broker.list",
    "client.id",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "partition.assignment.strategy",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "isolation.level",
    "transactional.id",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "log.queue",
];

impl Properties {
    /// Reads the table `properties` of a section; mistakes are noted.
    pub fn read(section: &Section) -> Self {
        let mut properties = BTreeMap::new();
        read_properties(&section.section("properties"), "", &mut properties);
        for (name, value) in &properties {
            if let Some((problem, remedy)) = property_problem(name, value) {
                section.note(&format!("properties.{name}"), &problem, &remedy);
            }
        }
        Self(properties)
    }

    /// The value of a property, if it is there.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    /// Sets one more.
    pub fn set(&mut self, name: &str, value: Secret) {
        self.0.insert(name.to_owned(), value);
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// What a client of these brokers is made from: the properties go before `defaults`.
    pub fn client(&self, address: &str, defaults: &[(&str, &str)]) -> ClientConfig {
        // OpenSSL takes itself down when the process exits, under the threads of clients that
        // nobody waits for. The first to call it decides, and this call leaves that out.
        openssl_sys::init();
        let mut client = ClientConfig::new();
        for (name, value) in defaults {
            client.set(*name, *value);
        }
        for (name, value) in &self.0 {
            client.set(name, value.expose());
        }
        client.set("bootstrap.servers", address);
        client
    }
}

/// Notes what is wrong with the bootstrap servers under this key.
pub fn check_addresses(section: &Section, key: &str, addresses: &str) {
    if !addresses.split(',').all(|one| is_address(one.trim())) {
        let problem = format!("{addresses:?} is not a list of addresses");
        section.note(key, &problem, "write host:port, separated by commas");
    }
}

/// Whether it is `host:port`, as Kafka's clients write it: `PROTOCOL://` may stand before it.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Collects `"a.b" = "c"` and `a.b = "c"` alike: TOML makes tables of the second.
fn read_properties(section: &Rc<Section>, path: &str, found: &mut BTreeMap<String, Secret>) {
    for key in section.keys() {
        let name = format!("{path}{key}");
        let value = match section.raw(key) {
            Some(Value::Bool(value)) => Some(Secret::new(value.to_string())),
            Some(Value::Number(value)) => Some(Secret::new(value.to_string())),
            Some(Value::Object(table)) if !is_secret(table) => {
                read_properties(&section.section(key), &format!("{name}."), found);
                None
            }
            _ => section.secret(key),
        };
        found.extend(value.map(|value| (name, value)));
    }
}

fn is_secret(table: &serde_json::Map<String, Value>) -> bool {
    table.len() == 1 && (table.contains_key("env") || table.contains_key("file"))
}

fn property_problem(name: &str, value: &Secret) -> Option<(String, String)> {
    if OURS.contains(&name) {
        return Some(("is set by this program itself".to_owned(), "remove it".to_owned()));
    }
    openssl_sys::init();
    let mut probe = ClientConfig::new();
    probe.set(name, value.expose());
    let error = probe.create_native_config().err()?;
    let rdkafka::error::KafkaError::ClientConfig(_, problem, ..) = error else { return None };
    let remedy = "see CONFIGURATION.md of librdkafka for its properties";
    // What librdkafka says may show the value, and that may be a password.
    let problem = match value.expose() {
        "" => problem,
        shown => problem.replace(shown, "[REDACTED]"),
    };
    Some((problem, remedy.to_owned()))
}
