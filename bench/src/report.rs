//! What was measured, as JSON for machines and Markdown for people.

mod step;

use std::{fmt::Write, process::Command};

use anyhow::{Context, Result};
use e2e::servers::repository;
use serde::Serialize;

pub(crate) use self::step::Step;
use crate::{
    Sizes,
    full_sync::{self, TableRuns},
    ratios,
};

/// Everything that one call of `bench/run.sh` found out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    date: String,
    commit: String,
    rustc: String,
    machine: String,
    pub(crate) server: String,
    runs: usize,
    pub(crate) catch_up: Vec<Step>,
    pub(crate) full_sync: Vec<TableRuns>,
    pub(crate) latency: Vec<Latency>,
}

/// The latency from the commit to the place where the events arrive.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Latency {
    /// The name of this place.
    to: String,
    transactions_per_second: f64,
    events: usize,
    p50_ms: u64,
    p99_ms: u64,
    max_ms: u64,
}

impl Latency {
    pub(crate) fn new(to: &str, rate: f64, sorted: &[u64]) -> Self {
        let at = |share: f64| {
            let index = (sorted.len() as f64 * share) as usize;
            sorted.get(index).or(sorted.last()).copied().unwrap_or_default()
        };
        Self {
            to: to.to_owned(),
            transactions_per_second: rate,
            events: sorted.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }
}

impl Report {
    pub(crate) fn new(sizes: &Sizes) -> Result<Self> {
        Ok(Self {
            date: output("date", &["-u", "+%Y-%m-%d"])?,
            commit: output("git", &["describe", "--always", "--dirty", "--abbrev=12"])?,
            rustc: output("rustc", &["--version"])?,
            machine: machine()?,
            server: String::new(),
            runs: sizes.runs,
            catch_up: Vec::new(),
            full_sync: Vec::new(),
            latency: Vec::new(),
        })
    }

    /// Writes `bench/results/latest.json` and `latest.md`.
    pub(crate) fn write(&self) -> Result<()> {
        let folder = repository().join("bench/results");
        std::fs::create_dir_all(&folder)?;
        let markdown = self.to_markdown()?;
        std::fs::write(folder.join("latest.json"), serde_json::to_string_pretty(self)? + "\n")?;
        std::fs::write(folder.join("latest.md"), &markdown)?;
        eprintln!("{markdown}");
        Ok(())
    }

    /// Only prints the results.
    pub(crate) fn print(&self) -> Result<()> {
        eprintln!("{}", self.to_markdown()?);
        Ok(())
    }

    fn to_markdown(&self) -> Result<String> {
        let mut text = format!(
            "# Results of bench/run.sh\n\nOn {}, commit {}, {}, MySQL {}.\n{}. \
             Medians of {} runs; in brackets the slowest and the fastest.\n\n\
             | load | step | rows/s | binlog MB/s | seconds | CPU s | peak RSS MB |\n\
             |---|---|---|---|---|---|---|\n",
            self.date, self.commit, self.rustc, self.server, self.machine, self.runs
        );
        for step in &self.catch_up {
            let cost = step.runs.median().context("a step without runs")?;
            let Step { load, step: name, rows_per_second, .. } = step;
            let (slowest, fastest) = (step.slowest_rows_per_second, step.fastest_rows_per_second);
            writeln!(
                text,
                "| {load} | {name} | {rows_per_second:.0} ({slowest:.0} – {fastest:.0}) \
                 | {:.0} | {:.2} | {:.2} | {} |",
                step.bytes_per_second() / 1e6,
                cost.seconds,
                cost.cpu_seconds,
                cost.peak_rss_kib / 1024
            )?;
        }
        ratios::write(&self.catch_up, &mut text)?;
        full_sync::write(&self.full_sync, &mut text)?;
        for latency in &self.latency {
            writeln!(
                text,
                "\nFrom commit to {} at {:.0} one-row transactions a second: \
                 p50 {} ms, p99 {} ms, longest {} ms ({} events).",
                latency.to,
                latency.transactions_per_second,
                latency.p50_ms,
                latency.p99_ms,
                latency.max_ms,
                latency.events
            )?;
        }
        Ok(text)
    }
}

/// The kind of machine, without its name.
fn machine() -> Result<String> {
    let processors = std::fs::read_to_string("/proc/cpuinfo")?;
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field(&processors, "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = field(&std::fs::read_to_string("/proc/meminfo")?, "MemTotal").context("memory")?;
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{cores} cores of {model}, {memory}, Linux {}", output("uname", &["-r"])?))
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
