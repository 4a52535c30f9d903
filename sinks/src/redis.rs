//! Redis and Valkey, one server or a cluster: keys that are deleted when a row changes, rows as
//! JSON or as hashes, and messages on channels and streams.
//!
//! A row is written by a script that compares `Seq` with the version of the row that is there, and
//! the version stands in a key of its own beside the row's. So a change that comes again, or late,
//! never replaces a newer one. A deleted row's version stays for `rememberDeletes`.

mod client;
mod commands;
mod key;
mod look;
mod refusal;
mod scripts;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytesize::ByteSize;
use handler::Failure;
use reqwest::Url;
use service::{Secret, config::Section};

use self::{client::RedisClient, commands::Plan};
use crate::{
    change::Unusable,
    host_look::HostLook,
    http::read_ca,
    shape::{Shape, Wanted},
    target::{Means, Target, TargetFinding},
    template::Template,
};

/// The config of this target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RedisConfig {
    server: RedisServer,
    plan: Plan,
    /// What is sent at once is not larger, but for one command that is.
    max_request_bytes: usize,
}

/// How the server is reached.
#[derive(Clone, Debug, PartialEq)]
struct RedisServer {
    /// Of a cluster the nodes to begin with; otherwise the hosts of which one is the primary.
    urls: Vec<Url>,
    is_cluster: bool,
    user: Option<String>,
    password: Option<Secret>,
    /// The certificates to trust instead of the system's, in PEM.
    ca: Option<Vec<u8>>,
    timeout: Duration,
}

const EXAMPLE: &str = "write one, for example redis://127.0.0.1:6379/0, or rediss://… for TLS";

impl RedisConfig {
    /// Reads the keys; mistakes are noted.
    pub(crate) fn read(section: &Section) -> Option<Self> {
        let max = section.or("maxRequestBytes", ByteSize::mib(1)).as_u64();
        let plan = Plan::read(section);
        Some(Self {
            server: RedisServer::read(section)?,
            plan,
            max_request_bytes: usize::try_from(max).unwrap_or(usize::MAX).max(1),
        })
    }
}

impl RedisServer {
    fn read(section: &Section) -> Option<Self> {
        let timeout = section.or("timeout", Duration::from_secs(10));
        if timeout < Duration::from_millis(1) {
            section.note("timeout", "is too short", r#"write "1ms" or more"#);
        }
        let (user, password) = (section.optional::<String>("user"), section.secret("password"));
        if user.is_some() && password.is_none() {
            section.note("user", "has no password", "write password, too");
        }
        let server = Self {
            is_cluster: section.or("cluster", false),
            user,
            password,
            ca: read_ca(section),
            timeout,
            urls: read_urls(section),
        };
        if server.is_cluster && server.urls.iter().any(|url| database(url) != "0") {
            section.note("url", "names a database", "leave it out: a cluster has only database 0");
        }
        (!server.urls.is_empty()).then_some(server)
    }

    /// Whether the servers are asked with TLS.
    fn is_tls(&self) -> bool {
        self.urls.iter().any(|url| url.scheme() == "rediss")
    }
}

/// One URL or a list of them.
fn read_urls(section: &Section) -> Vec<Url> {
    let texts: Vec<String> = match section.raw("url") {
        Some(serde_json::Value::Array(_)) => section.or("url", Vec::new()),
        _ => vec![section.required("url", String::new())],
    };
    let urls: Vec<Url> = texts.iter().filter_map(|text| read_url(section, text)).collect();
    if urls.windows(2).any(|pair| pair[0].scheme() != pair[1].scheme()) {
        section.note("url", "has URLs with TLS and without", "write redis:// or rediss:// for all");
    }
    urls
}

fn read_url(section: &Section, text: &str) -> Option<Url> {
    let url = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "redis" | "rediss"));
    let Some(url) = url.filter(|url| url.host_str().is_some_and(|host| !host.is_empty())) else {
        // The text may hold a password.
        section.note("url", "is not the URL of a Redis server", EXAMPLE);
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        section.note("url", "has a user or password in it", "use user and password");
    }
    let is_bare = url.query().is_none() && url.fragment().is_none();
    if !is_bare || database(&url).parse::<u32>().is_err() {
        section.note("url", "has more than a host, a port and the number of a database", EXAMPLE);
    }
    Some(url)
}

fn database(url: &Url) -> &str {
    match url.path().trim_start_matches('/') {
        "" => "0",
        number => number,
    }
}

impl Plan {
    fn read(section: &Section) -> Self {
        let ttl = section.optional::<Duration>("ttl");
        let remember_deletes = section.or("rememberDeletes", Duration::from_secs(24 * 3600));
        for (key, time) in [("ttl", ttl), ("rememberDeletes", Some(remember_deletes))] {
            if time.is_some_and(|time| time < Duration::from_millis(1)) {
                section.note(key, "is too short", r#"write "1ms" or more"#);
            }
        }
        let plan = Self {
            delete: read_delete(section),
            set: Template::read(section, "set"),
            hset: Template::read(section, "hset"),
            publish: Template::read(section, "publish"),
            xadd: Template::read(section, "xadd"),
            max_length: section.optional("maxLength"),
            ttl,
            remember_deletes,
            is_cluster: section.or("cluster", false),
        };
        let works = ["delete", "set", "hset", "publish", "xadd"];
        if !works.iter().any(|key| section.has(key)) {
            let remedy = "write at least one of delete, set, hset, publish and xadd";
            section.note("", "does not say what to do with a change", remedy);
        }
        if plan.set.is_some() && plan.set == plan.hset {
            section.note("hset", "makes the same keys as set", "make other keys for one of them");
        }
        let needs = |key: &str, of: [&str; 2]| {
            if section.has(key) && !of.iter().any(|of| section.has(of)) {
                let has = format!("has a meaning only with {}", of.join(" or "));
                section.note(key, &has, "remove it");
            }
        };
        needs("ttl", ["set", "hset"]);
        needs("rememberDeletes", ["set", "hset"]);
        needs("maxLength", ["xadd", "xadd"]);
        plan
    }
}

/// One template or a list of them.
fn read_delete(section: &Section) -> Vec<Template> {
    let texts = match section.raw("delete") {
        Some(serde_json::Value::Array(_)) => section.or("delete", Vec::new()),
        _ => section.optional::<String>("delete").into_iter().collect(),
    };
    let templates = texts.iter().filter_map(|text| {
        let template = Template::new(text);
        let noted = template.map_err(|problem| {
            section.note("delete", &format!("is no template: {problem}"), "correct it");
        });
        noted.ok()
    });
    templates.collect()
}

/// The target.
pub(crate) struct Redis {
    plan: Plan,
    shape: Arc<Shape>,
    max_request_bytes: usize,
    client: RedisClient,
}

impl Redis {
    pub(crate) fn new(config: &RedisConfig, means: Means) -> Self {
        Self {
            plan: config.plan.clone(),
            shape: means.shape,
            max_request_bytes: config.max_request_bytes,
            client: RedisClient::new(config.server.clone(), means.counts),
        }
    }
}

#[async_trait]
impl Target for Redis {
    async fn write(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
        let (commands, mut unusable) = self.plan.commands(wanted, &self.shape);
        unusable.extend(self.client.send(&commands, self.max_request_bytes).await?);
        Ok(unusable)
    }

    fn templates(&self) -> Vec<&Template> {
        self.plan.templates().collect()
    }

    fn needs_whole(&self, wanted: &Wanted<'_>) -> bool {
        self.plan.needs_whole(wanted)
    }

    async fn hosts(&self) -> Vec<HostLook> {
        self.client.hosts().await
    }

    async fn check(&self, _tables: &[Arc<full_sync::Table>]) -> Vec<TargetFinding> {
        look::look(&self.client, &self.plan).await
    }
}

#[cfg(test)]
mod tests;
