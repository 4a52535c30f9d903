//! Redis servers of a test's own.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use redis::{Client, aio::MultiplexedConnection};

use super::start_instance;
use crate::processes::{PATIENCE, Process, free_port, wait_until};

/// A Redis 7 that a test may kill: what it has answered is in its folder, which outlives the kill.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    folder: PathBuf,
    process: Process,
}

impl Redis {
    /// Starts an empty server and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, or does not answer in time.
    pub async fn start(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let port = free_port()?;
        let (folder, process) = (folder.to_owned(), run(port, folder)?);
        let mut server = Self { port, folder, process };
        server.answers().await?;
        Ok(server)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    ///
    /// # Errors
    ///
    /// When the server does not take it.
    pub async fn connect(&self) -> Result<MultiplexedConnection> {
        Ok(Client::open(self.url())?.get_multiplexed_async_connection().await?)
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
        self.process = run(self.port, &self.folder)?;
        self.answers().await
    }

    async fn answers(&mut self) -> Result<()> {
        let (client, process) = (Client::open(self.url())?, &mut self.process);
        let mut ended = false;
        wait_until("Redis answers", PATIENCE, async || {
            ended = !process.is_running().unwrap_or(false);
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
                return ended;
            };
            redis::cmd("PING").exec_async(&mut connection).await.is_ok()
        })
        .await?;
        ensure!(!ended, "Redis ended at once: {}", process.output());
        Ok(())
    }
}

fn run(port: u16, folder: &Path) -> Result<Process> {
    start_instance(folder, "redis", &["redis-instance", "redis-7", &port.to_string()], &[])
}
