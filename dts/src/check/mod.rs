//! `dts check`: connects to source and bus, looks, and says what is missing and how to fix it.

mod ahead;
mod finding;
mod full_sync;
mod generated;
mod local;
mod noted;
mod privileges;
mod settings;
mod tables;

use std::time::Duration;

use serde_json::{Value, json};

pub use self::finding::{Finding, Severity};

use crate::{
    bus::{self, LastBus},
    checkpoint::{Saved, saved_in},
    config::{Config, SourceConfig},
    error::{Error, Result},
    replica::{self, AtEnd, Conn, Managed, Product, Server},
    watch::{self, DurablePlace},
};

/// How long the questions about tables may take; with very many tables they are slow.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// The result of a check.
#[derive(Debug, Default)]
pub struct Report {
    /// The hosts of the source, in their order.
    pub hosts: Vec<Host>,
    /// The findings about the bus and the saved position.
    pub bus: Vec<Finding>,
    /// The findings about ports and directories on this machine.
    pub local: Vec<Finding>,
}

/// One host of the source.
#[derive(Debug, Default)]
pub struct Host {
    /// Host and port.
    pub address: String,
    /// The server, if it was reached.
    pub server: Option<Facts>,
    /// The GRANT statements for what the user needs and lacks.
    pub grants: Vec<String>,
    /// What should be fixed; the worst first.
    pub findings: Vec<Finding>,
}

/// The facts about a server.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its product.
    pub product: Product,
    /// Its version, as the server prints it.
    pub version: String,
    /// Its identity.
    pub uuid: String,
    /// The provider that runs it, if there is one.
    pub managed: Option<&'static str>,
}

impl Report {
    /// Whether `dts run` can work with every host.
    pub fn is_good(&self) -> bool {
        let hosts = self.hosts.iter().flat_map(|host| &host.findings);
        let all = hosts.chain(&self.bus).chain(&self.local);
        all.into_iter().all(|finding| finding.severity != Severity::Stop)
    }

    /// The report for programs; `docs/running.md` describes it.
    pub fn to_json(&self) -> Value {
        let server = |facts: &Facts| {
            let Facts { product, version, uuid, managed } = facts;
            let product = product.to_string();
            json!({
                "product": product,
                "version": version,
                "serverUuid": uuid,
                "managed": managed,
            })
        };
        let hosts = self.hosts.iter().map(|host| {
            json!({
                "address": host.address,
                "server": host.server.as_ref().map(server),
                "grants": host.grants,
                "findings": host.findings,
            })
        });
        json!({
            "good": self.is_good(),
            "hosts": hosts.collect::<Vec<_>>(),
            "bus": {"findings": self.bus},
            "local": {"findings": self.local},
        })
    }
}

/// Checks every host of the source, and the bus. It never waits for a server that is down.
pub async fn check(config: &Config) -> Report {
    let (local, running) = local::look(config).await;
    let mut report = Report { local, ..Report::default() };
    let begin = match tokio::time::timeout(MAX_WAIT, read_begin(config)).await {
        Ok(Ok(begin)) => begin,
        Ok(Err(finding)) => {
            report.bus.push(finding);
            Begin::Unknown
        }
        Err(_) => {
            let error = Error::Internal(format!("the bus does not answer within {MAX_WAIT:?}"));
            let remedy = "start the bus, or correct bus.address".to_owned();
            report.bus.push(Finding { name: "bus", remedy, ..finding_of(error) });
            Begin::Unknown
        }
    };
    for source in config.source.each_host() {
        let address = format!("{}:{}", source.host, source.port);
        let mut host = Host { address, ..Host::default() };
        let looked = look(&source, (config, &begin), &mut host).await;
        host.findings.extend(looked.err().map(finding_of));
        // Our id may be used by the dts that runs here.
        if running.is_some() {
            host.findings.retain(|finding| finding.name != "server_id_taken");
        }
        host.findings.sort_by_key(|finding| finding.severity);
        report.hosts.push(host);
    }
    report
}

async fn look(
    source: &SourceConfig,
    (config, begin): (&Config, &Begin),
    host: &mut Host,
) -> Result<()> {
    let mut conn = replica::connect(source).await?;
    let asked = Server::ask(&mut conn, source).await;
    // A host that does not answer is not asked again and again.
    if !asked.as_ref().is_err_and(Error::is_transient) {
        host.grants = privileges::missing(&mut conn, source, &config.capture).await;
    }
    let server = asked?;
    host.server = Some(Facts {
        product: server.product,
        version: server.version.clone(),
        uuid: server.uuid.clone(),
        managed: Managed::of(&server).name(),
    });
    host.findings = server.findings();
    host.findings.extend(of_source(&mut conn, (source, config), &server).await);
    host.findings.extend(settings::of_taken_id(&mut conn, source).await);
    let place = begin.saved().map(DurablePlace::of);
    let sight = watch::look_once(source, place).await?;
    host.findings.extend(settings::of_retention(&server, &sight));
    let of_begin = of_begin(&mut conn, (source, config), (&server, begin)).await;
    host.findings.extend(of_begin);
    try_to_replicate(source, &server, conn).await
}

/// Checks that the server has the place from where `dts run` would read, and that what comes next
/// can be read. A replica may be behind for a moment.
async fn of_begin(
    conn: &mut Conn,
    (source, config): (&SourceConfig, &Config),
    (server, begin): (&Server, &Begin),
) -> Option<Finding> {
    let from = match begin {
        Begin::Saved(saved) => replica::check_position(conn, source, server, saved).await,
        Begin::Start => ahead::find_start((source, config), server).await?,
        Begin::Unknown => return None,
    };
    match (from, begin.saved()) {
        // Events before our position are not decoded again.
        (Ok(from), Some(saved)) if !saved.begins_at(&from) => None,
        (Ok(from), _) => ahead::of_events((source, config), server, &from).await,
        (Err(error), _) => {
            let is_replica = replica::is_replica(conn).await;
            let severity = if is_replica { Severity::Warn } else { Severity::Stop };
            Some(Finding { severity, name: "position", ..finding_of(error) })
        }
    }
}

/// The findings about a source in addition to [`Server::findings`]; if a question fails, its
/// findings are left out. Questions about tables that fail are a finding.
pub(crate) async fn of_source(
    conn: &mut Conn,
    (source, config): (&SourceConfig, &Config),
    server: &Server,
) -> Vec<Finding> {
    let mut found = settings::of_variables(server);
    found.extend(settings::of_replica(conn, server).await);
    found.extend(settings::of_rights(conn).await);
    found.extend(settings::of_own_id(source, server));
    found.extend(settings::of_filters(conn, &config.capture).await);
    found.extend(settings::of_clock(conn).await);
    match tokio::time::timeout(MAX_WAIT, of_tables((source, config), server)).await {
        Ok(Ok(tables)) => found.extend(tables),
        Ok(Err(error)) => found.push(unseen_tables(error.to_string())),
        Err(_) => found.push(unseen_tables(format!("no answer within {MAX_WAIT:?}"))),
    }
    found
}

fn unseen_tables(reason: String) -> Finding {
    Finding {
        severity: Severity::Warn,
        name: "tables",
        what: format!("the definitions of the captured tables could not be read: {reason}"),
        why: "what they say of keys, engines, character sets and full syncs was not checked".into(),
        remedy: "run `dts check` again; if it says the same, see what the server does with \
                 questions to information_schema (SHOW PROCESSLIST)"
            .into(),
    }
}

/// Over a connection of its own, because a question that takes too long ends the connection.
async fn of_tables(
    (source, config): (&SourceConfig, &Config),
    server: &Server,
) -> Result<Vec<Finding>> {
    let mut conn = replica::connect(source).await?.waiting(MAX_WAIT);
    tables_over(&mut conn, (source, config), server)
        .await
        .map_err(|error| replica::classify(source, error))
}

async fn tables_over(
    conn: &mut Conn,
    (source, config): (&SourceConfig, &Config),
    server: &Server,
) -> mysql_async::Result<Vec<Finding>> {
    let mut found = tables::of_tables(conn, server, &config.capture).await?;
    let account = privileges::account(conn, source).await;
    let subject = full_sync::Subject {
        server,
        capture: &config.capture,
        max_keyless_rows: config.full_sync.max_keyless_rows,
        account: &account,
    };
    found.extend(full_sync::of_full_sync(conn, subject).await?);
    if !found.iter().any(|finding| finding.name == "select") {
        found.extend(privileges::of_select(conn, &config.capture).await);
    }
    Ok(found)
}

/// The privileges are tried, not read: roles and managed servers make grants hard to read. The id
/// used here belongs to nobody: with our own, the server would cut off a running dts.
async fn try_to_replicate(config: &SourceConfig, server: &Server, mut conn: Conn) -> Result<()> {
    let nobody = SourceConfig { server_id: 0, ..config.clone() };
    let end = server.binlog_end(&mut conn, config).await?;
    let mut stream = replica::Stream::open(conn, &nobody, &end, AtEnd::Stop).await?;
    stream.next().await?;
    Ok(())
}

/// From where `dts run` would read.
enum Begin {
    Saved(Box<Saved>),
    /// As `start` in the config says.
    Start,
    Unknown,
}

impl Begin {
    fn saved(&self) -> Option<&Saved> {
        match self {
            Self::Saved(saved) => Some(saved),
            Self::Start | Self::Unknown => None,
        }
    }
}

/// Reads the checkpoint, which every start begins with, without taking the lead.
async fn read_begin(config: &Config) -> Result<Begin, Finding> {
    let checkpoint = bus::read_checkpoint(&config.bus, &config.name).await.map_err(finding_of)?;
    match saved_in(&checkpoint).map_err(|error| finding_of(error.into()))? {
        Some(saved) => Ok(Begin::Saved(Box::new(saved))),
        None => match LastBus::refuse_other(config).await {
            Ok(()) => Ok(Begin::Start),
            Err(error) => Err(Finding { name: "bus_changed", ..finding_of(error) }),
        },
    }
}

fn finding_of(error: Error) -> Finding {
    let start_bus = "start the bus, or correct bus.address";
    let (name, what, remedy) = match error {
        Error::Refused { problem, remedy } => ("refused", problem, remedy),
        Error::Bus(error) if error.is_transient() => {
            ("bus", error.to_string(), start_bus.to_owned())
        }
        Error::Bus(error) => ("bus", error.to_string(), "see [bus] in the config".to_owned()),
        Error::Checkpoint(error) => (
            "checkpoint",
            error.to_string(),
            "find out whether another program or a newer dts wrote the checkpoint; `dts position \
             set` replaces it"
                .to_owned(),
        ),
        other => {
            ("away", other.to_string(), "start the server, or correct source.hosts".to_owned())
        }
    };
    Finding { severity: Severity::Stop, name, what, why: String::new(), remedy }
}
