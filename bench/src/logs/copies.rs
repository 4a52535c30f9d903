//! A mirror and a relay beside a server that is filled as fast as it goes, and a mirror that
//! catches up.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{Process, free_port, wait_until},
    programs::{Site, program},
};
use event_log::Client;
use tokio::process::Command;

use super::{
    LogSizes, WRITERS,
    event_log::{EventLog, client},
};

const RECORD_BYTES: usize = 1024;
const LIVE: &str = "live";
const FULL: &str = "full";
const RELAY: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(1800);

/// Measures all, and gives sentences.
pub(super) async fn measure(site: &Site, sizes: &LogSizes) -> Result<String> {
    let server = EventLog::start(site, "original").await?;
    let kept_up = keep_up(site, &server, sizes).await?;
    let caught_up = catch_up(site, &server, sizes).await?;
    let resident = mebibytes(&server.process)?;
    Ok(format!(
        "\n## Copies and relays\n\n{kept_up}{caught_up}\nThe server's peak RSS over both: \
         {resident} MB.\n"
    ))
}

/// A mirror and a relay follow a stream that is filled.
async fn keep_up(site: &Site, server: &EventLog, sizes: &LogSizes) -> Result<String> {
    let lasts = Duration::from_secs(sizes.seconds * 4);
    let alone = fill_for(server, "alone", lasts).await?;
    server.client()?.open_producer(LIVE, "first").await?;
    let mirror = Mirror::start(site, server, LIVE).await?;
    let relay = relay(site, server)?;
    let followed = fill_for(server, LIVE, lasts).await?;
    let (began, source) = (Instant::now(), server.client()?);
    let end = source.info(LIVE).await?.next_offset;
    mirror.reach(LIVE, end).await?;
    let behind = began.elapsed();
    wait_until("the relay is at the end", PATIENCE, async || relayed(&source).await >= Some(end))
        .await?;
    let relay_behind = began.elapsed();
    Ok(format!(
        "Filled with records of 1 KiB for {} s: {alone:.0} records/s with nobody there, \
         {followed:.0} with a mirror and a relay that follow. When the last append was answered, the \
         mirror had the rest {} ms later, and the relay {} ms. Peak RSS: mirror {} MB, relay {} MB.\n",
        lasts.as_secs(),
        behind.as_millis(),
        relay_behind.as_millis(),
        mebibytes(&mirror.process)?,
        mebibytes(&relay)?
    ))
}

/// Records a second.
async fn fill_for(server: &EventLog, stream: &str, lasts: Duration) -> Result<f64> {
    let began = Instant::now();
    let sent = server.publish(stream, RECORD_BYTES, move |_| began.elapsed() < lasts).await?;
    Ok(sent as f64 / began.elapsed().as_secs_f64())
}

fn relay(site: &Site, server: &EventLog) -> Result<Process> {
    let me = std::env::current_exe()?.display().to_string();
    let program = program("event-log")?.display().to_string();
    let counted = site.path("relayed").display().to_string();
    let from = ["relay", "--from", &server.address, "--stream", LIVE, "--name", RELAY];
    let call = ["--batch", "1000", "--exec", &me, "count-events", &counted];
    site.run("relay", &[&[&*program], &from[..], &call[..]].concat())
}

/// How far the relay is.
async fn relayed(source: &Client) -> Option<u64> {
    let groups = source.info(LIVE).await.ok()?.groups;
    groups.into_iter().find(|group| group.name == RELAY)?.committed
}

/// A new mirror gets a stream that is there already.
async fn catch_up(site: &Site, server: &EventLog, sizes: &LogSizes) -> Result<String> {
    let each = sizes.mirror_bytes / (RECORD_BYTES * WRITERS) as u64;
    server.publish(FULL, RECORD_BYTES, move |sent| sent < each).await?;
    let files = data_files(&site.path("log-original").join(FULL))?;
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    let cached = if forget_cached().await { "" } else { " (parts of it may be in memory)" };
    let end = server.client()?.info(FULL).await?.next_offset;
    let began = Instant::now();
    let mirror = Mirror::start(site, server, FULL).await?;
    mirror.reach(FULL, end).await?;
    let copied = bytes as f64 / 1e6 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    for (file, _) in &files {
        read_directly(file).await?;
    }
    let read = bytes as f64 / 1e6 / began.elapsed().as_secs_f64();
    Ok(format!(
        "\nA new mirror copied {:.1} GB{cached} at {copied:.0} MB/s, and wrote them; the disk gives \
         the same files at {read:.0} MB/s (`dd` with `iflag=direct`): {:.2} of it. Its peak RSS: {} \
         MB.\n",
        bytes as f64 / 1e9,
        copied / read,
        mebibytes(&mirror.process)?
    ))
}

struct Mirror {
    process: Process,
    client: Client,
}

impl Mirror {
    async fn start(site: &Site, server: &EventLog, stream: &str) -> Result<Self> {
        let program = program("event-log")?.display().to_string();
        let listen = format!("127.0.0.1:{}", free_port()?);
        let (name, directory) = (format!("mirror-{stream}"), format!("copy-{stream}"));
        let (config, address) = (format!("{name}.toml"), &*server.address);
        let text = format!(
            "[listen]\naddress = {listen:?}\n[http]\naddress = \"127.0.0.1:{}\"\n[storage]\n\
             directory = {directory:?}\nmaxBytes = \"60GiB\"\n\
             [mirror]\nfrom = {address:?}\nstreams = [{stream:?}]\n",
            free_port()?
        );
        std::fs::write(site.path(&config), text)?;
        let process = site.run(&name, &[&program, "mirror", "--config", &config])?;
        Ok(Self { process, client: client(&listen)? })
    }

    /// Waits until it has all records before an offset.
    async fn reach(&self, stream: &str, end: u64) -> Result<()> {
        let reached = async || {
            let info = self.client.info(stream).await;
            info.is_ok_and(|info| info.next_offset >= end)
        };
        wait_until("the mirror has all", PATIENCE, reached)
            .await
            .with_context(|| self.process.output())
    }
}

fn mebibytes(process: &Process) -> Result<u64> {
    Ok(process.peak_resident_kib()? / 1024)
}

/// The data files of a stream, with their sizes.
fn data_files(stream: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for day in std::fs::read_dir(stream)? {
        let day = day?.path();
        for file in std::fs::read_dir(&day).into_iter().flatten() {
            let (path, about) = file.map(|file| (file.path(), file.metadata()))?;
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("data") {
                found.push((path, about?.len()));
            }
        }
    }
    ensure!(!found.is_empty(), "{} has no data files", stream.display());
    Ok(found)
}

/// Makes the system forget what it has read of files. Only root may ask for it.
async fn forget_cached() -> bool {
    let mut asked = Command::new("sh");
    asked.args(["-c", "sync; echo 1 >/proc/sys/vm/drop_caches"]);
    asked.stderr(std::process::Stdio::null()).status().await.is_ok_and(|status| status.success())
}

async fn read_directly(file: &Path) -> Result<()> {
    let input = format!("if={}", file.display());
    let mut read = Command::new("dd");
    let read = read.args([&input, "of=/dev/null", "bs=4M", "iflag=direct", "status=none"]);
    let status = read.status().await?;
    ensure!(status.success(), "cannot read {}", file.display());
    Ok(())
}
