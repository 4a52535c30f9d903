//! The sink `elasticsearch` with a real OpenSearch: `scripts/servers.sh up opensearch-2`.

mod begun;
mod fields;
mod red;
mod templates;

use std::{path::Path, sync::Arc};

use full_sync::Table;
use reqwest::{Client, Method};
use serde_json::Value;
use service::config::File;
use sinks::{Sink, SinkConfig, Tables};

use crate::source::Source;

/// An index of its own in the server, into which a sink writes.
struct Target {
    url: String,
    client: Client,
    index: String,
    source: Arc<Source>,
}

impl Target {
    fn new() -> Self {
        let port = std::env::var("TEST_SEARCH").unwrap_or_else(|_| "23420".to_owned());
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            url: format!("http://127.0.0.1:{port}"),
            client: Client::builder().no_proxy().build().unwrap(),
            index: format!("test-{:016x}", rand::random::<u64>()),
            source: Arc::default(),
        }
    }

    /// A sink with these keys besides those that say where to.
    fn sink(&self, toml: &str) -> Sink {
        self.sink_to(&self.index, toml)
    }

    /// A sink that writes to the indexes of a template.
    fn sink_to(&self, index: &str, toml: &str) -> Sink {
        let toml = format!("url = \"{}\"\nindex = \"{index}\"\n{toml}", self.url);
        let file = File::parse(Path::new("test"), &toml).unwrap();
        let config = SinkConfig::read("elasticsearch", file.root());
        let config = file.finish(config).unwrap().unwrap();
        Sink::new(&config, "copy", Arc::clone(&self.source) as Arc<dyn Tables>).unwrap()
    }

    /// What the server answers to a request about the index.
    async fn ask(&self, method: Method, path: &str, body: &str) -> Value {
        self.ask_server(method, &format!("{}{path}", self.index), body).await
    }

    /// What the server answers.
    async fn ask_server(&self, method: Method, path: &str, body: &str) -> Value {
        let url = format!("{}/{path}", self.url);
        let call = self.client.request(method, url).header("content-type", "application/json");
        let answer = call.body(body.to_owned()).send().await;
        let answer = answer.expect("OpenSearch is not there: run scripts/servers.sh up");
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
    }

    /// The source's table, as it is told.
    fn table(&self) -> Arc<Table> {
        self.source.0.lock().unwrap().clone().unwrap()
    }

    /// What the server calls the type of a field with documents of any form.
    async fn flat_kind(&self) -> &'static str {
        let answer = self.client.get(format!("{}/", self.url)).send().await.unwrap();
        match answer.text().await.unwrap().contains("opensearch") {
            true => "flat_object",
            false => "flattened",
        }
    }

    async fn end(self) {
        self.ask(Method::DELETE, "", "").await;
    }
}
