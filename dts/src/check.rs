//! `dts check`: connects to source and bus, looks, and says what is missing and what mends it.

use mysql_async::Conn;

use crate::{
    binlog::{self, AtEnd, Finding, Server, Severity},
    bus,
    config::Config,
    error::{Error, Result},
    pipeline,
};

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// The server's version and identity, if it was reached.
    pub server: Option<String>,
    /// What should be mended; the worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether `dts run` could work.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Warn)
    }
}

/// Checks the source and the bus. It never waits for a server that is down.
pub async fn check(config: &Config) -> Report {
    let mut report = Report::default();
    let (source, bus) = tokio::join!(ask(config, &mut report), ask_bus(config));
    report.findings.extend([source, bus].into_iter().filter_map(Result::err).map(finding_of));
    report.findings.sort_by_key(|finding| finding.severity == Severity::Warn);
    report
}

async fn ask(config: &Config, report: &mut Report) -> Result<()> {
    let (conn, server) = binlog::open(&config.source).await?;
    report.server = Some(format!("MySQL {} ({})", server.version, server.uuid));
    report.findings = server.findings();
    if report.is_good() {
        try_to_replicate(config, &server, conn).await?;
    }
    Ok(())
}

/// The rights are tried, not read: roles and managed servers make grants hard to read.
async fn try_to_replicate(config: &Config, server: &Server, mut conn: Conn) -> Result<()> {
    let end = server.binlog_end(&mut conn, &config.source).await?;
    Server::binlog_files(&mut conn, &config.source).await?;
    let mut stream = binlog::Stream::open(conn, &config.source, &end, AtEnd::Stop).await?;
    stream.next().await?;
    Ok(())
}

/// Reads the checkpoint, which every start begins with: without taking the lead.
async fn ask_bus(config: &Config) -> Result<()> {
    let checkpoint = bus::read_checkpoint(&config.bus, &config.name).await?;
    pipeline::load(&checkpoint)?;
    Ok(())
}

fn finding_of(error: Error) -> Finding {
    let (problem, remedy) = match error {
        Error::Refused { problem, remedy } => (problem, remedy),
        Error::Bus(error) if error.is_transient() => {
            (error.to_string(), "start the bus, or correct bus.address".to_owned())
        }
        Error::Bus(error) => (error.to_string(), "see [bus] in the config".to_owned()),
        Error::Checkpoint(error) => (
            error.to_string(),
            "see who else writes to it, or update dts; `dts position set` replaces it".to_owned(),
        ),
        other => (other.to_string(), "start the server, or correct source.hosts".to_owned()),
    };
    Finding { severity: Severity::Stop, problem, remedy }
}
