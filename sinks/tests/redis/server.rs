//! Redis servers of a test's own, started by `scripts/servers.sh`.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::{Client, aio::MultiplexedConnection};
use tempfile::TempDir;

/// A server; it is killed when it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
    options: Vec<String>,
    process: Child,
}

impl Server {
    /// Starts one, and waits until it answers.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let process = run(port, folder.path(), &options);
        let server = Self { port, folder, options, process };
        server.answers().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own, with all rights.
    pub(crate) async fn admin(&self) -> MultiplexedConnection {
        let client = Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) async fn start_again(&mut self) {
        self.process = run(self.port, self.folder.path(), &self.options);
        self.answers().await;
    }

    /// Waits until it is part of a cluster of three.
    async fn joined(&self) {
        let mut admin = self.admin().await;
        let mut last = String::new();
        for _ in 0..600 {
            last = redis::cmd("CLUSTER").arg("INFO").query_async(&mut admin).await.unwrap();
            if last.contains("cluster_state:ok") && last.contains("cluster_known_nodes:3") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("there is no cluster of three: {last}");
    }

    async fn answers(&self) {
        let ping = async || {
            let client = Client::open(self.url()).ok()?;
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            let answer = redis::cmd("PING").query_async::<String>(&mut connection).await;
            // A server that asks for a password answers, too.
            (answer.is_ok() || answer.is_err_and(|error| error.code() == Some("NOAUTH")))
                .then_some(())
        };
        for _ in 0..600 {
            if ping().await.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("Redis does not answer: see {}/log", self.folder.path().display());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(port: u16, folder: &Path, options: &[String]) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/servers.sh");
    let flavor = std::env::var("TEST_REDIS").unwrap_or_else(|_| "redis-7".to_owned());
    let log = std::fs::File::create(folder.join("log")).unwrap();
    Command::new(script)
        .args(["redis-instance", &flavor, &port.to_string()])
        .arg(folder)
        .args(options)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// A cluster of three primaries.
pub(crate) async fn cluster() -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Server::start(&["--cluster-enabled", "yes"]).await);
    }
    let slots = [(0, 5460), (5461, 10922), (10923, 16383)];
    for (server, (first, last)) in servers.iter().zip(slots) {
        let mut admin = server.admin().await;
        let mut add = redis::cmd("CLUSTER");
        add.arg("ADDSLOTSRANGE").arg(first).arg(last);
        add.exec_async(&mut admin).await.unwrap();
        let mut meet = redis::cmd("CLUSTER");
        meet.arg("MEET").arg("127.0.0.1").arg(servers[0].port);
        meet.exec_async(&mut admin).await.unwrap();
    }
    for server in &servers {
        server.joined().await;
    }
    servers
}

/// A port that a server and, 10,000 above it, its cluster bus can have. Both are below those that
/// the system gives to connections.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(12_000..22_000);
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}
