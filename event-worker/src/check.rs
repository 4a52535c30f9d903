//! `event-worker check`: what would go wrong, before anything runs.

use std::{path::Path, time::Duration};

use event_bus::{Bus, Subscription};
use service::exit::Exit;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    config::{Config, HandlerConfig},
    error::Error,
    handler::program,
    reach::{Catalogs, Reach, Reason},
    supervisor::records_behind,
};

const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Looks whether the config is right, the bus answers and the handlers are there, prints what it
/// found, and never waits longer than some seconds.
///
/// # Errors
///
/// All mistakes of the config.
pub async fn check(file: &Path) -> Result<Exit, Error> {
    let config = Config::open(file)?;
    let mut findings = Findings::default();
    findings.add("config", Ok(format!("{} is right", file.display())));
    let bus = event_bus::open(&config.bus).map_err(finding);
    if let Err(wrong) = &bus {
        findings.add("bus", Err(wrong.clone()));
    }
    // At once, so that what does not answer is waited for only once.
    let checks = config.listeners.iter().map(async |(id, listener)| {
        let handler = check_handler(&listener.handler).await;
        let subscription = listener.subscription(id, &config.bus);
        let group = match &bus {
            Ok(bus) => Some(check_group(bus.as_ref(), &subscription).await),
            Err(_) => None,
        };
        (format!("listener {id}"), handler, group)
    });
    let mut is_reached = false;
    for (what, handler, group) in futures_util::future::join_all(checks).await {
        findings.add(&what, handler);
        is_reached |= matches!(group, Some(Ok(_)));
        group.into_iter().for_each(|group| findings.add(&what, group));
    }
    // A bus that let nobody in is not asked once more.
    let catalogs = match &bus {
        Ok(bus) if is_reached => timeout(ANSWER_DEADLINE, Catalogs::read(bus.as_ref())).await.ok(),
        _ => None,
    };
    if let Some(Ok(catalogs)) = catalogs {
        for (id, listener) in &config.listeners {
            let reach = catalogs.reach(listener, &config.bus.topic_prefix);
            findings.reach(&format!("listener {id}"), &reach);
        }
    }
    Ok(if findings.bad == 0 { Exit::Done } else { Exit::Refused })
}

/// Findings are printed as they come.
#[derive(Default)]
struct Findings {
    bad: usize,
}

impl Findings {
    /// What a listener's subscription fits. A pattern that fits nothing may do so later.
    #[expect(clippy::print_stdout, reason = "the findings are the result of this command")]
    fn reach(&self, what: &str, reach: &Reach) {
        if !reach.tables.is_empty() {
            println!("ok    {what}: gets {}", reach.names());
        }
        for Reason { message, remedy } in &reach.reasons {
            println!("warn  {what}: {message}; {remedy}");
        }
    }

    #[expect(clippy::print_stdout, reason = "the findings are the result of this command")]
    fn add(&mut self, what: &str, found: Result<String, String>) {
        match found {
            Ok(good) => println!("ok    {what}: {good}"),
            Err(bad) => {
                self.bad += 1;
                println!("wrong {what}: {bad}");
            }
        }
    }
}

async fn check_group(bus: &dyn Bus, subscription: &Subscription) -> Result<String, String> {
    let asked = bus.progress(&subscription.group, &subscription.topics);
    let progress = timeout(ANSWER_DEADLINE, asked)
        .await
        .map_err(|_| format!("the bus did not answer within {ANSWER_DEADLINE:?}; start it"))?
        .map_err(finding)?;
    if progress.iter().all(|at| at.committed.is_none()) {
        return Ok("the bus answers; it has never run, and begins as `start` says".to_owned());
    }
    let (records, partitions) = (records_behind(&progress), progress.len());
    Ok(format!("the bus answers; it is {records} records behind in {partitions} partitions"))
}

/// What is wrong with the bus, and what to do about it.
fn finding(error: event_bus::Error) -> String {
    let error = Error::from(error);
    format!("{error}; {}", error.remedy())
}

async fn check_handler(handler: &HandlerConfig) -> Result<String, String> {
    match handler {
        HandlerConfig::Print => Ok("prints".to_owned()),
        HandlerConfig::Program => Ok("is run by a program of its own".to_owned()),
        HandlerConfig::Exec(exec) => find_program(exec.command.first().map_or("", String::as_str)),
        HandlerConfig::Http(http) => {
            let url = http.first_stop();
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
            let port = url.port_or_known_default().unwrap_or(80);
            let connected = timeout(ANSWER_DEADLINE, TcpStream::connect((host, port))).await;
            match connected {
                Ok(Ok(_)) => Ok(format!("{host}:{port} takes connections")),
                Ok(Err(error)) => {
                    Err(format!("cannot connect to {host}:{port}: {error}; start it"))
                }
                Err(_) => Err(format!("{host}:{port} does not answer; see network and firewall")),
            }
        }
    }
}

fn find_program(name: &str) -> Result<String, String> {
    program::find(name).map(|path| format!("calls {}", path.display())).ok_or_else(|| {
        format!("{name:?} is not an executable file here or in PATH; install it or mend `exec`")
    })
}
