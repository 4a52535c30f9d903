//! Kafka: the broker that tests share, and brokers of a test's own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::{repository, start_instance};
use crate::processes::{PATIENCE, Process, free_port, wait_until};

/// What a broker logs once it serves, each time that it starts.
const STARTED: &str = "Kafka Server started";

/// The address of the broker that tests share (`TEST_KAFKA` names another).
pub fn kafka_address() -> String {
    std::env::var("TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:23392".to_owned())
}

/// Runs one of Kafka's own tools to its end, and returns what it printed. It takes a second or two.
///
/// # Errors
///
/// When it fails; the message has its output.
pub async fn kafka_tool(class: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(repository().join("scripts/servers.sh"));
    let output = command.args(["kafka-tool", class]).args(arguments).output().await?;
    let (printed, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{class} {arguments:?}: {printed}{complaint}");
    Ok(printed.into_owned())
}

/// A broker of a test's own, which it may kill, with its data in a folder that outlives the kill.
#[derive(Debug)]
pub struct Kafka {
    access: Access,
    port: u16,
    folder: PathBuf,
    settings: Vec<String>,
    process: Process,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Access {
    Open,
    Secure,
    /// In the cluster of a broker with its data in this folder.
    Joined(PathBuf),
}

impl Kafka {
    /// Starts a new, empty broker that lets everybody do everything, and waits until it serves.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, or is not up in time.
    pub async fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &[]).await
    }

    /// The same with settings of a broker's `server.properties`, each as `key=value`.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, or is not up in time.
    pub async fn start_with(folder: &Path, settings: &[&str]) -> Result<Self> {
        Self::open(Access::Open, folder, settings).await
    }

    /// Starts a broker that has a second port, `outside`: who comes there is told to come to
    /// `proxy` from then on, which may cut and hold back what it passes on to that port.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, or is not up in time.
    pub async fn start_behind(folder: &Path, outside: u16, proxy: &str) -> Result<Self> {
        let (port, controller) = (free_port()?, free_port()?);
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("ports"), format!("{controller} 0\n"))?;
        let settings = [
            &format!(
                "listeners=PLAINTEXT://127.0.0.1:{port},OUTSIDE://127.0.0.1:{outside},\
                 CONTROLLER://127.0.0.1:{controller}"
            ),
            &format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port},OUTSIDE://{proxy}"),
            "listener.security.protocol.map=\
             PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        ];
        Self::open_at(port, Access::Open, folder, &settings).await
    }

    /// Starts a broker with `SASL_SSL` (PLAIN, SCRAM-SHA-256 and -512) and ACLs.
    ///
    /// Its users are `admin`, who may do everything, `dts`, `worker` and `nobody`, who may do
    /// nothing; each has its name with `-secret` as password. Rights are granted with Kafka's
    /// tools at [`Kafka::admin_address`].
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, or is not up in time.
    pub async fn start_secure(folder: &Path) -> Result<Self> {
        Self::open(Access::Secure, folder, &[]).await
    }

    /// Starts one more broker of the cluster of another, which is its controller.
    ///
    /// # Errors
    ///
    /// When it is not up in time.
    pub async fn join(&self, folder: &Path) -> Result<Self> {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        Self::open(Access::Joined(self.folder.clone()), folder, &settings).await
    }

    async fn open(access: Access, folder: &Path, settings: &[&str]) -> Result<Self> {
        Self::open_at(free_port()?, access, folder, settings).await
    }

    async fn open_at(port: u16, access: Access, folder: &Path, settings: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let process = run(&access, port, folder, settings)?;
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut broker = Self { access, port, folder: folder.to_owned(), settings, process };
        broker.serves(1).await?;
        Ok(broker)
    }

    /// Host and port, for `bootstrap.servers`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where everything is allowed without a password, also at a secure broker.
    ///
    /// # Errors
    ///
    /// When the broker's folder is gone.
    pub fn admin_address(&self) -> Result<String> {
        if self.access != Access::Secure {
            return Ok(self.address());
        }
        let ports = std::fs::read_to_string(self.folder.join("ports"))?;
        let port = ports.split_whitespace().nth(1).context("there is no admin port")?;
        Ok(format!("127.0.0.1:{port}"))
    }

    /// The certificate (PEM) of the authority that signed a secure broker's own.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The certificate of an authority that has nothing to do with the broker.
    pub fn other_authority(&self) -> PathBuf {
        self.folder.join("other-ca.pem")
    }

    /// Grants a user of a secure broker rights, in the words of Kafka's `AclCommand`, such as
    /// `["--operation", "Write", "--topic", "orders"]`.
    ///
    /// # Errors
    ///
    /// When the tool refuses.
    pub async fn grant(&self, user: &str, rights: &[&str]) -> Result<()> {
        let (address, principal) = (self.admin_address()?, format!("User:{user}"));
        let to_whom = ["--bootstrap-server", &address, "--add", "--allow-principal", &principal];
        kafka_tool("org.apache.kafka.tools.AclCommand", &[&to_whom, rights].concat()).await?;
        Ok(())
    }

    /// Sends a signal by its name, such as `STOP`.
    ///
    /// # Errors
    ///
    /// When the broker has ended.
    pub async fn signal(&self, signal: &str) -> Result<()> {
        self.process.signal(signal).await
    }

    /// `kill -9`.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again on its data, after a kill, and waits until it serves.
    ///
    /// # Errors
    ///
    /// When it is not up in time.
    pub async fn restart(&mut self) -> Result<()> {
        let before = self.starts();
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        self.process = run(&self.access, self.port, &self.folder, &settings)?;
        self.serves(before + 1).await
    }

    async fn serves(&mut self, starts: usize) -> Result<()> {
        let mut ended = false;
        wait_until("Kafka serves", PATIENCE * 2, async || {
            ended = !self.process.is_running().unwrap_or(false);
            ended || self.starts() >= starts
        })
        .await?;
        ensure!(!ended, "Kafka ended at once: {}", self.process.output());
        Ok(())
    }

    /// How often it has started, by its log, which all of its lives share.
    fn starts(&self) -> usize {
        self.process.output().matches(STARTED).count()
    }
}

fn run(access: &Access, port: u16, folder: &Path, settings: &[&str]) -> Result<Process> {
    let port = port.to_string();
    let first = match access {
        Access::Joined(first) => first.to_str().context("the folder's path is not UTF-8")?,
        Access::Open | Access::Secure => "",
    };
    let verb: &[&str] = match access {
        Access::Open => &["kafka-instance", &port],
        Access::Secure => &["kafka-instance", "--secure", &port],
        Access::Joined(_) => &["kafka-instance", "--join", first, &port],
    };
    start_instance(folder, "kafka", verb, settings)
}
