//! A PostgreSQL of a test's own, which it may kill.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio_postgres::{Client, NoTls};

use super::start_instance;
use crate::processes::{PATIENCE, Process, free_port, wait_until};

/// The server, with its data in a folder that outlives a kill.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    folder: PathBuf,
    process: Process,
}

impl Postgres {
    /// Starts a new, empty server and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, or does not answer in time.
    pub async fn start(folder: &Path) -> Result<Self> {
        let port = free_port()?;
        let process = run(port, folder)?;
        let mut server = Self { port, folder: folder.to_owned(), process };
        server.answers().await?;
        Ok(server)
    }

    /// Host and port. The user `postgres` may do everything, without a password.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kill -9`, and starts it again on its data.
    ///
    /// # Errors
    ///
    /// When it does not answer in time.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await?;
        self.process = run(self.port, &self.folder)?;
        self.answers().await
    }

    /// Stops it, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub async fn end(mut self) -> Result<()> {
        // A fast shutdown: connections are closed.
        self.process.signal("INT").await?;
        self.process.ended().await?;
        Ok(())
    }

    /// A connection to the database `postgres`.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn connect(&self) -> Result<Client> {
        let config = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port);
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn answers(&mut self) -> Result<()> {
        for _ in 0..50 {
            let answers = wait_until("PostgreSQL answers", PATIENCE, async || {
                !self.process.is_running().unwrap_or(false) || self.connect().await.is_ok()
            });
            let answers = answers.await;
            if self.process.is_running()? {
                return answers.with_context(|| self.process.output());
            }
            // The processes of the one that was killed live a moment longer.
            self.process = run(self.port, &self.folder)?;
        }
        anyhow::bail!("PostgreSQL does not start: {}", self.process.output())
    }
}

fn run(port: u16, folder: &Path) -> Result<Process> {
    std::fs::create_dir_all(folder)?;
    let verb = ["postgres-instance", &port.to_string()];
    start_instance(folder, "postgres", &verb, &[])
}
