//! Search servers: the OpenSearch that tests share, and servers of a test's own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::start_instance;
use crate::{
    http::request,
    processes::{PATIENCE, Process, children, free_port, send, wait_until},
};

/// No more documents are asked for at once.
const MAX_DOCUMENTS: usize = 10_000;

/// The port of the OpenSearch that tests share, on loopback (`TEST_SEARCH` names another).
pub fn search_port() -> u16 {
    std::env::var("TEST_SEARCH").ok().and_then(|port| port.parse().ok()).unwrap_or(23420)
}

/// What a search server has.
#[derive(Clone, Copy, Debug)]
pub struct Searched {
    port: u16,
}

/// A document.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Document {
    pub version: u64,
    pub source: Value,
}

/// A search server of a test's own, which it may kill, with its data in a folder that outlives the
/// kill.
#[derive(Debug)]
pub struct Search {
    flavor: String,
    port: u16,
    folder: PathBuf,
    settings: Vec<String>,
    process: Process,
}

impl Searched {
    /// The server on a port.
    pub fn at(port: u16) -> Self {
        Self { port }
    }

    /// Its URL.
    pub fn url(self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it answers, whatever the status: that, and the JSON.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not with JSON.
    pub async fn ask(self, method: &str, path: &str, body: &str) -> Result<(u16, Value)> {
        let (status, text) = request(self.port, (method, path), body).await?;
        let json = serde_json::from_str(&text).with_context(|| format!("{path} answered {text}"));
        Ok((status, json?))
    }

    /// The documents of an index by their ids, as a search finds them at present; none while there
    /// is no index.
    ///
    /// # Errors
    ///
    /// When it does not answer, or has more documents than a test may have.
    pub async fn documents(self, index: &str) -> Result<BTreeMap<String, Document>> {
        let path = format!("/{index}/_search?version=true&size={MAX_DOCUMENTS}");
        let (status, answer) = self.ask("GET", &path, "").await?;
        if status == 404 {
            return Ok(BTreeMap::new());
        }
        ensure!(status == 200 && answer["_shards"]["failed"] == 0, "{status}: {answer}");
        let hits = answer["hits"]["hits"].as_array().with_context(|| answer.to_string())?;
        ensure!(hits.len() < MAX_DOCUMENTS, "{index} has too many documents for one answer");
        let document = |hit: &Value| -> Result<(String, Document)> {
            let id = hit["_id"].as_str().context("no id")?;
            let version = hit["_version"].as_u64().context("no version")?;
            Ok((id.to_owned(), Document { version, source: hit["_source"].clone() }))
        };
        hits.iter().map(document).collect()
    }

    /// Lets searches find all that was written.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn refresh(self) -> Result<()> {
        let (status, answer) = self.ask("POST", "/_refresh", "").await?;
        ensure!(status == 200, "{status}: {answer}");
        Ok(())
    }
}

impl Search {
    /// Starts a new, empty server (`flavor` is `opensearch-2` or `elasticsearch-8`) with settings,
    /// each as `key=value`, and waits until it serves.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, or is not up in time.
    pub async fn start(flavor: &str, folder: &Path, settings: &[&str]) -> Result<Self> {
        let port = free_port()?;
        std::fs::create_dir_all(folder)?;
        let process = run((flavor, port), folder, settings)?;
        let (flavor, folder) = (flavor.to_owned(), folder.to_owned());
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { flavor, port, folder, settings, process };
        server.serves().await?;
        Ok(server)
    }

    /// What it has.
    pub fn searched(&self) -> Searched {
        Searched { port: self.port }
    }

    /// `kill -9`.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<()> {
        // Where the process only watches over the server, it ends with it.
        let watched = self.process.pid().context("it has ended")?;
        for server in children(watched)? {
            send(server, "KILL").await?;
        }
        self.process.kill().await
    }

    /// Starts it again on its data, after a kill, and waits until it serves.
    ///
    /// # Errors
    ///
    /// When it is not up in time.
    pub async fn restart(&mut self) -> Result<()> {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        self.process = run((&self.flavor, self.port), &self.folder, &settings)?;
        self.serves().await
    }

    async fn serves(&mut self) -> Result<()> {
        const HEALTH: &str = "/_cluster/health?wait_for_status=yellow&timeout=1s";
        let (searched, mut ended) = (self.searched(), false);
        wait_until("the search server serves", PATIENCE * 3, async || {
            ended = !self.process.is_running().unwrap_or(false);
            ended || searched.ask("GET", HEALTH, "").await.is_ok_and(|(status, _)| status == 200)
        })
        .await
        .with_context(|| self.process.output())?;
        ensure!(!ended, "the search server ended at once: {}", self.process.output());
        Ok(())
    }
}

/// A secure Elasticsearch 8 of a test's own: TLS, and the users `admin` and `writer`, each with its
/// name and `-secret` as the password. `writer` may write to the indexes `shop-*`, but make none.
#[derive(Debug)]
pub struct SecureSearch {
    port: u16,
    folder: PathBuf,
    process: Process,
}

impl SecureSearch {
    /// Starts a new, empty server, and waits until it serves.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, or is not up in time.
    pub async fn start(folder: &Path) -> Result<Self> {
        let port = free_port()?;
        std::fs::create_dir_all(folder)?;
        let number = port.to_string();
        let verb = ["search-instance", "--secure", "elasticsearch-8", &number];
        let process = start_instance(folder, "search", &verb, &[])?;
        let server = Self { port, folder: folder.to_owned(), process };
        wait_until("the secure search server serves", PATIENCE * 3, async || {
            server.ask("GET", "/_cluster/health").await.is_ok()
        })
        .await
        .with_context(|| server.process.output())?;
        Ok(server)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate (PEM) of the authority that signed the server's own.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("config/ca.pem")
    }

    /// The certificate of an authority that has nothing to do with the server.
    pub fn other_authority(&self) -> PathBuf {
        self.folder.join("config/other-ca.pem")
    }

    /// Gives `writer` this role instead, as the API takes it; the server sees it within seconds.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn set_role(&self, role: &str) -> Result<()> {
        let file = self.folder.join("config/roles.yml");
        // What is JSON is YAML.
        Ok(std::fs::write(file, format!("writer: {role}\n"))?)
    }

    /// What it answers to `admin`.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not with success.
    pub async fn ask(&self, method: &str, path: &str) -> Result<String> {
        let mut curl = Command::new("curl");
        curl.args(["-fsS", "-u", "admin:admin-secret", "-X", method, "--cacert"]);
        let output = curl.arg(self.authority()).arg(self.url() + path).output().await?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{path}: {complaint}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn run((flavor, port): (&str, u16), folder: &Path, settings: &[&str]) -> Result<Process> {
    start_instance(folder, "search", &["search-instance", flavor, &port.to_string()], settings)
}
