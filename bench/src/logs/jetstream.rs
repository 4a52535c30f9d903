//! NATS JetStream: server and clients are the Go program in `bench/jetstream`.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use e2e::{
    processes::{PATIENCE, Process, free_port, wait_until},
    programs::Site,
};
use tokio::process::Command;

use super::{Durability, Figures, LogSystem};

pub(super) struct JetStream {
    _server: Process,
    program: String,
    url: String,
}

impl JetStream {
    pub(super) async fn start(site: &Site, program: &Path, durability: Durability) -> Result<Self> {
        let program = program.canonicalize().context("the program of bench/jetstream")?;
        let program = program.display().to_string();
        let port = free_port()?.to_string();
        let sync = if durability == Durability::Synced { "always" } else { "default" };
        let name = format!("nats-{sync}");
        let data = site.path(&format!("{name}-data")).display().to_string();
        let server = site.run(&name, &[&program, "serve", &data, &port, sync])?;
        wait_until("JetStream serves", PATIENCE, async || server.output().contains("ready"))
            .await
            .with_context(|| server.output())?;
        Ok(Self { _server: server, program, url: format!("nats://127.0.0.1:{port}") })
    }

    async fn carry_out(&self, verb: &str, stream: &str, words: &[u64]) -> Result<Figures> {
        let words = words.iter().map(u64::to_string);
        let mut command = Command::new(&self.program);
        let output = command.args([verb, &self.url, stream]).args(words).output().await?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "jetstream {verb}: {complaint}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

#[async_trait]
impl LogSystem for JetStream {
    fn name(&self) -> &'static str {
        "NATS JetStream"
    }

    async fn append(
        &self,
        stream: &str,
        (producers, bytes): (usize, usize),
        lasts: Duration,
    ) -> Result<Figures> {
        let words = [producers as u64, bytes as u64, lasts.as_secs()];
        self.carry_out("append", stream, &words).await
    }

    async fn fan(
        &self,
        stream: &str,
        (readers, bytes): (usize, usize),
        lasts: Duration,
    ) -> Result<Figures> {
        self.carry_out("fan", stream, &[readers as u64, bytes as u64, lasts.as_secs()]).await
    }

    async fn fill(&self, stream: &str, bytes: usize, records: u64) -> Result<()> {
        self.carry_out("fill", stream, &[bytes as u64, records]).await.map(drop)
    }

    async fn read(&self, stream: &str, readers: usize, records: u64) -> Result<Figures> {
        self.carry_out("read", stream, &[readers as u64, records]).await
    }
}
