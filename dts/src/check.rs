//! `dts check`: connects, looks, and says what is missing, with the statement that mends it.

use mysql_async::Conn;

use crate::{
    binlog::{self, AtEnd, Finding, Server, Severity},
    config::Config,
    error::{Error, Result},
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

/// Checks the source. It never waits for a server that is down.
pub async fn check(config: &Config) -> Report {
    let mut report = Report::default();
    if let Err(error) = ask(config, &mut report).await {
        report.findings.push(finding_of(error));
    }
    report.findings.sort_by_key(|finding| finding.severity == Severity::Warn);
    report
}

async fn ask(config: &Config, report: &mut Report) -> Result<()> {
    let mut conn = binlog::connect(&config.source).await?;
    let server = Server::ask(&mut conn, &config.source).await?;
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

fn finding_of(error: Error) -> Finding {
    let (problem, remedy) = match error {
        Error::Refused { problem, remedy } => (problem, remedy),
        other => (other.to_string(), "start the server, or correct source.hosts".to_owned()),
    };
    Finding { severity: Severity::Stop, problem, remedy }
}
