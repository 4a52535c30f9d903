//! `event-worker check`: finds what would go wrong, before anything runs.

use std::{path::Path, sync::Arc, time::Duration};

use event_bus::{Bus, Subscription};
use full_sync::Table;
use handlers::{Caller, HttpConfig, HttpHandler};
use serde::Serialize;
use serde_json::json;
use service::{
    config::{Mistake, OldName},
    exit::Exit,
    say,
};
use sinks::{NoTables, Sink, SinkConfig, TargetFinding};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    config::{Config, GroupChoice, HandlerConfig, UserConfig},
    error::Error,
    handler::LISTENER_HEADER,
    output::{Output, print_json},
    reach::{Catalogs, Reach, Reason},
    supervisor::records_behind,
    user::Account,
};

const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// So long a server is asked whether it lets us in.
const KNOCK_DEADLINE: Duration = Duration::from_secs(3);

/// Checks that the config is right, that the bus answers and that the handlers are there. Prints
/// what it found of these groups of listeners. Takes some seconds at the most.
///
/// # Errors
///
/// All mistakes of the config.
pub async fn check(file: &Path, groups: &GroupChoice, output: Output) -> Result<Exit, Error> {
    let (config, missing) = Config::open_to_check(file)?;
    let config = config.only(groups)?;
    let mut findings = Findings { output, list: Vec::new() };
    findings.add("config", Ok(format!("{} has no mistakes", file.display())));
    config.old_names.iter().for_each(|old| findings.old_name(old));
    missing_secrets(&missing).into_iter().for_each(|wrong| findings.add("config", Err(wrong)));
    if let Some(user) = &config.user {
        findings.add("user", check_user(user));
    }
    let bus = event_bus::open(&config.bus).map_err(wrong_bus);
    if let Err(wrong) = &bus {
        findings.add("bus", Err(wrong.clone()));
    }
    // All at the same time, so that several that do not answer cost one deadline.
    let checks = config.chosen().map(async |(id, listener)| {
        let handler = check_handler((id, &listener.handler)).await;
        let subscription = listener.subscription(id, &config.bus);
        let group = match &bus {
            Ok(bus) => Some(check_group(bus.as_ref(), &subscription).await),
            Err(_) => None,
        };
        (format!("listener {id}"), handler, group)
    });
    let mut is_reached = false;
    for (name, handler, group) in futures_util::future::join_all(checks).await {
        findings.add(&name, handler);
        is_reached |= matches!(group, Some(Ok(_)));
        group.into_iter().for_each(|group| findings.add(&name, group));
    }
    // A bus that refused all listeners is not asked again.
    let catalogs = match &bus {
        Ok(bus) if is_reached => timeout(ANSWER_DEADLINE, Catalogs::read(bus.as_ref())).await.ok(),
        _ => None,
    };
    let catalogs = catalogs.and_then(Result::ok);
    let targets = config.chosen().filter_map(|(id, listener)| {
        let HandlerConfig::Sink(sink) = &listener.handler else { return None };
        let tables = catalogs.as_ref().map_or_else(Vec::new, |all| all.tables_of(listener));
        Some(async move { (format!("listener {id}"), check_sink((id, sink), &tables).await) })
    });
    for (name, found) in futures_util::future::join_all(targets).await {
        match found {
            Ok(found) => findings.target(&name, &found),
            Err(wrong) => findings.add(&name, Err(wrong)),
        }
    }
    if let Some(catalogs) = catalogs {
        for (id, listener) in config.chosen() {
            let reach = catalogs.reach(listener, &config.bus.topic_prefix);
            findings.reach(&format!("listener {id}"), &reach);
        }
    }
    Ok(findings.end())
}

/// What was found. Words are printed at once, JSON at the end.
struct Findings {
    output: Output,
    list: Vec<Finding>,
}

/// One thing that was found, with the keys of `dts check --json`.
#[derive(Serialize)]
struct Finding {
    severity: Severity,
    /// What it is about: `config`, `bus`, `listener ID`.
    name: String,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Stop,
    Warn,
    Ok,
}

/// What is wrong, and what to do about it.
#[derive(Clone)]
struct Wrong {
    what: String,
    remedy: String,
}

impl Wrong {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl Findings {
    /// Which tables a listener's subscription matches. A pattern that matches nothing is only a
    /// warning: the table may come later.
    fn reach(&mut self, name: &str, reach: &Reach) {
        if !reach.tables.is_empty() {
            self.add(name, Ok(format!("gets {}", reach.names())));
        }
        for Reason { message, remedy } in &reach.reasons {
            self.push(Severity::Warn, name, message.clone(), Some(remedy.clone()));
        }
    }

    /// What was found at the target of a sink.
    fn target(&mut self, name: &str, found: &[TargetFinding]) {
        let (wrong, others): (Vec<_>, Vec<_>) = found.iter().partition(|found| found.is_wrong);
        let (doubtful, good): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|found| found.is_doubtful);
        for TargetFinding { what, remedy, .. } in doubtful {
            self.push(Severity::Warn, name, what.clone(), Some(remedy.clone()));
        }
        let found = match wrong.is_empty() {
            true => Ok(joined(&good, |found| &found.what)),
            false => Err(Wrong::new(
                joined(&wrong, |found| &found.what),
                joined(&wrong, |found| &found.remedy),
            )),
        };
        self.add(name, found);
    }

    /// The config uses an old name.
    fn old_name(&mut self, OldName { what, remedy }: &OldName) {
        self.push(Severity::Warn, "config", what.clone(), Some(remedy.clone()));
    }

    fn add(&mut self, name: &str, found: Result<String, Wrong>) {
        match found {
            Ok(good) => self.push(Severity::Ok, name, good, None),
            Err(Wrong { what, remedy }) => self.push(Severity::Stop, name, what, Some(remedy)),
        }
    }

    fn push(&mut self, severity: Severity, name: &str, what: String, remedy: Option<String>) {
        let finding = Finding { severity, name: name.to_owned(), what, remedy };
        if self.output == Output::Words {
            print_finding(&finding);
        }
        self.list.push(finding);
    }

    fn end(self) -> Exit {
        let is_good = self.list.iter().all(|finding| finding.severity != Severity::Stop);
        if self.output == Output::Json {
            print_json(&json!({ "good": is_good, "findings": self.list }));
        }
        if is_good { Exit::Done } else { Exit::Refused }
    }
}

/// Whether the user is there. Who runs the check need not be the one who starts the program.
fn check_user(user: &UserConfig) -> Result<String, Wrong> {
    let found = Account::find(user).map_err(|error| Wrong::new(error.to_string(), error.remedy()));
    found.map(|account| format!("runs as {account}, when root starts it"))
}

fn print_finding(Finding { severity, name, what, remedy }: &Finding) {
    let word = match severity {
        Severity::Ok => "ok   ",
        Severity::Warn => "warn ",
        Severity::Stop => "wrong",
    };
    let remedy = remedy.as_ref().map_or_else(String::new, |remedy| format!("; {remedy}"));
    say!("{word} {name}: {what}{remedy}");
}

async fn check_group(bus: &dyn Bus, subscription: &Subscription) -> Result<String, Wrong> {
    let asked = bus.progress(&subscription.group, &subscription.topics);
    let late =
        |_| Wrong::new(format!("the bus did not answer within {ANSWER_DEADLINE:?}"), "start it");
    let progress = timeout(ANSWER_DEADLINE, asked).await.map_err(late)?.map_err(wrong_bus)?;
    if progress.iter().all(|at| at.committed.is_none()) {
        return Ok("the bus answers; the listener has never run, and will begin as `start` says"
            .to_owned());
    }
    let (records, partitions) = (records_behind(&progress), progress.len());
    Ok(format!(
        "the bus answers; the listener is {records} records behind in {partitions} partitions"
    ))
}

/// The secrets of listeners that are missing here, as one finding: many listeners may have the same
/// secret.
fn missing_secrets(missing: &[Mistake]) -> Option<Wrong> {
    let first = missing.first()?;
    let mut problems: Vec<&str> = missing.iter().map(|of| of.problem.as_str()).collect();
    problems.sort_unstable();
    problems.dedup();
    let keys = match missing.len() {
        1 => first.key.clone(),
        count => format!("{} and {} more", first.key, count - 1),
    };
    let remedy = "a listener does not start without its secrets; if event-worker runs with other \
                  variables than this shell has, check with those";
    Some(Wrong::new(format!("{} ({keys})", problems.join("; ")), remedy))
}

/// What is wrong with the bus, and what to do about it.
fn wrong_bus(error: event_bus::Error) -> Wrong {
    let error = Error::from(error);
    Wrong::new(error.to_string(), error.remedy())
}

async fn check_handler((id, handler): (&str, &HandlerConfig)) -> Result<String, Wrong> {
    match handler {
        HandlerConfig::Print => Ok("prints".to_owned()),
        HandlerConfig::Sink(_) => Ok("is a sink".to_owned()),
        HandlerConfig::Program => Ok("a program of your own runs it".to_owned()),
        HandlerConfig::Exec(exec) => find_program(exec.command.first().map_or("", String::as_str)),
        HandlerConfig::Http(http) => check_http((id, http)).await,
    }
}

/// Whether the server is there, and lets us in.
async fn check_http((id, http): (&str, &HttpConfig)) -> Result<String, Wrong> {
    let url = http.first_stop();
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(80);
    let connected = timeout(ANSWER_DEADLINE, TcpStream::connect((host, port))).await;
    match connected {
        // A server that takes one call at a time waits for nothing then.
        Ok(Ok(stream)) => drop(stream),
        Ok(Err(error)) => {
            let what = format!("cannot connect to {host}:{port}: {error}");
            return Err(Wrong::new(what, "start it"));
        }
        Err(_) => {
            let what = format!("{host}:{port} does not answer");
            return Err(Wrong::new(what, "check the network and the firewall"));
        }
    }
    let caller = Caller { header: LISTENER_HEADER, name: id };
    let handler = HttpHandler::new(http.clone(), caller).map_err(|error| {
        let error = Error::from(error);
        Wrong::new(error.to_string(), error.remedy())
    })?;
    match handler.knock(KNOCK_DEADLINE).await {
        Ok(()) => Ok(format!("{host}:{port} takes connections")),
        Err(failure) => {
            let said = failure.said.map_or_else(String::new, |said| format!(" ({said})"));
            let what = format!("{}, when it is asked with HEAD{said}", failure.reason);
            Err(Wrong::new(what, failure.remedy.unwrap_or("see the log of the server")))
        }
    }
}

/// What is found at the target of a sink, for these tables.
async fn check_sink(
    (id, config): (&str, &SinkConfig),
    tables: &[Arc<Table>],
) -> Result<Vec<TargetFinding>, Wrong> {
    let sink = Sink::new(config, id, Arc::new(NoTables)).map_err(|error| {
        let error = Error::Sink(error);
        Wrong::new(error.to_string(), error.remedy())
    })?;
    Ok(sink.check(tables).await)
}

/// What was found, each thing once: several tables may lack the same.
fn joined(all: &[&TargetFinding], of: fn(&TargetFinding) -> &str) -> String {
    let mut told: Vec<&str> = Vec::new();
    for text in all.iter().copied().map(of) {
        if !told.contains(&text) {
            told.push(text);
        }
    }
    told.join("; ")
}

fn find_program(name: &str) -> Result<String, Wrong> {
    handlers::find_program(name).map(|path| format!("calls {}", path.display())).ok_or_else(|| {
        Wrong::new(
            format!("{name:?} is not an executable file here or in PATH"),
            "install it or correct `exec`",
        )
    })
}
