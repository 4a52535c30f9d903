//! MySQL and MariaDB: those that tests share, and instances of a test's own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mysql_async::{Conn, Opts, Row, prelude::Queryable};

use super::start_instance;
use crate::processes::{PATIENCE, Process, free_port, wait_until};

/// The address of the MySQL 9.7 that tests share (`TEST_MYSQL_97` names another).
pub fn mysql_97_url() -> String {
    std::env::var("TEST_MYSQL_97").unwrap_or_else(|_| "mysql://root@127.0.0.1:23397".to_owned())
}

/// The address of the MySQL 8.0.31 that tests share (`TEST_MYSQL_80` names another).
pub fn mysql_80_url() -> String {
    std::env::var("TEST_MYSQL_80").unwrap_or_else(|_| "mysql://root@127.0.0.1:23380".to_owned())
}

/// The address of the MariaDB 10.11 that tests share (`TEST_MARIADB_1011` names another).
pub fn mariadb_1011_url() -> String {
    std::env::var("TEST_MARIADB_1011").unwrap_or_else(|_| "mysql://root@127.0.0.1:23311".to_owned())
}

/// The address of the MariaDB 11.8 that tests share (`TEST_MARIADB_118` names another).
pub fn mariadb_118_url() -> String {
    std::env::var("TEST_MARIADB_118").unwrap_or_else(|_| "mysql://root@127.0.0.1:23318".to_owned())
}

/// A MySQL of a test's own, which it may kill, with its data in a folder that outlives the kill.
#[derive(Debug)]
pub struct Mysql {
    flavor: String,
    port: u16,
    folder: PathBuf,
    options: Vec<String>,
    process: Process,
}

impl Mysql {
    /// Starts a new, empty server (`flavor` is `9.7`, `8.0`,
    /// `mariadb-10.11` or `mariadb-11.8`) and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, or does not answer in time.
    pub async fn start(flavor: &str, folder: &Path) -> Result<Self> {
        Self::start_with(flavor, folder, &[]).await
    }

    /// The same with options of `mysqld`, which it keeps over its lives. A folder that holds the
    /// data of a server is taken over.
    ///
    /// # Errors
    ///
    /// As [`Mysql::start`].
    pub async fn start_with(flavor: &str, folder: &Path, options: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let process = run((flavor, port), folder, &options)?;
        let (flavor, folder) = (flavor.to_owned(), folder.to_owned());
        let mut server = Self { flavor, port, folder, options, process };
        server.answers().await?;
        Ok(server)
    }

    /// Where its data lies: a copy of it, made while it does not run, is a backup.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is a MariaDB.
    pub fn is_mariadb(&self) -> bool {
        self.flavor.starts_with("mariadb")
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of its root user.
    pub fn url(&self) -> String {
        format!("mysql://root@{}", self.address())
    }

    /// `kill -9`.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again on its data, after a kill, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not answer in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = run((&self.flavor, self.port), &self.folder, &self.options)?;
        self.answers().await
    }

    /// A connection as root.
    ///
    /// # Errors
    ///
    /// When the server does not take it.
    pub async fn connect(&self) -> Result<Conn> {
        Ok(connect(&self.url()).await?)
    }

    /// Runs statements one after the other, over a connection of their own as root.
    ///
    /// # Errors
    ///
    /// The first that the server refuses.
    pub async fn execute(&self, statements: &[&str]) -> Result<()> {
        execute(&mut self.connect().await?, statements).await
    }

    /// The text that a query answers.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub async fn ask(&self, query: &str) -> Result<String> {
        let answer: Option<String> = self.connect().await?.query_first(query).await?;
        answer.with_context(|| format!("no answer to {query}"))
    }

    /// File and position of the binlog's end.
    ///
    /// # Errors
    ///
    /// When it writes none.
    pub async fn binlog_end(&self) -> Result<(String, u64)> {
        let mut conn = self.connect().await?;
        let is_new = !self.is_mariadb() && conn.server_version() >= (8, 4, 0);
        let query = if is_new { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
        let row: Row = conn.query_first(query).await?.context("no binlog")?;
        Ok((row.get("File").context("no file")?, row.get("Position").context("no position")?))
    }

    async fn answers(&mut self) -> Result<()> {
        let (url, process) = (self.url(), &mut self.process);
        let mut ended = false;
        wait_until("MySQL answers", PATIENCE * 2, async || {
            ended = !process.is_running().unwrap_or(false);
            ended || connect(&url).await.is_ok()
        })
        .await?;
        ensure!(!ended, "MySQL ended at once: {}", process.output());
        Ok(())
    }
}

fn run((flavor, port): (&str, u16), folder: &Path, options: &[String]) -> Result<Process> {
    std::fs::create_dir_all(folder)?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    start_instance(folder, "mysqld", &["mysql-instance", flavor, &port.to_string()], &options)
}

/// A connection that reads its options from the URL alone.
///
/// # Errors
///
/// When the server does not take it.
pub async fn connect(url: &str) -> mysql_async::Result<Conn> {
    let options = Opts::from_url(url)?;
    // Without this the driver may move to the server's socket, past a proxy of the test.
    Conn::new(mysql_async::OptsBuilder::from_opts(options).prefer_socket(false)).await
}

/// Runs statements one after the other.
///
/// # Errors
///
/// The first that the server refuses.
pub async fn execute(connection: &mut Conn, statements: &[&str]) -> Result<()> {
    for statement in statements {
        connection.query_drop(*statement).await.with_context(|| (*statement).to_owned())?;
    }
    Ok(())
}
