//! `dts`: captures MySQL changes and publishes them.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};
use dts::{
    bus,
    check::{self, Finding, Severity},
    config::Config,
    ended::LastEnd,
    error::{Error, Result},
    http, pipeline,
    reload::Reloader,
    status::{Status, watch_room, watch_why},
    verbs::{self, CheckArguments, HealthyArguments, PositionVerb, StatusArguments, TopicsVerb},
    version,
};
use service::{exit::Exit, logging, say, shutdown};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info};

/// Captures MySQL changes from the binlog and publishes them.
#[derive(Parser)]
#[command(version = version::FULL)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// The config file.
    #[arg(long, short, global = true, default_value = "config/dts.toml")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Verb {
    /// Run until stopped.
    Run,
    /// Look at config and server, and say what to fix.
    Check(CheckArguments),
    /// Show the state of the dts that runs with this config.
    Status(StatusArguments),
    /// Whether the dts that runs with this config is ready: for a health check. Exits with 0, or
    /// 69.
    Healthy(HealthyArguments),
    /// Make the dts that runs with this config read changes of [capture] and [fullSync].
    Reload,
    /// The saved position.
    #[command(subcommand)]
    Position(PositionVerb),
    /// The topics of a Kafka bus.
    #[command(subcommand)]
    Topics(TopicsVerb),
}

fn main() -> ExitCode {
    service::memory::share_heaps();
    service::init::take_name();
    service::memory::limit_driver_buffers();
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Config.into() } else { Exit::Done.into() };
        }
    };
    logging::init();
    let Arguments { verb, config: file } = arguments;
    let opened = match &verb {
        Verb::Status(_) | Verb::Healthy(_) | Verb::Reload => Config::open_to_call(&file),
        _ => Config::open(&file),
    };
    let config = match opened {
        Ok(config) => config,
        Err(mistakes) => {
            error!("{mistakes}");
            return Exit::Config.into();
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(carry_out(&verb, &file, config));
            // If a client still asks brokers that are away, its thread cannot be stopped.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Error::Internal(format!("cannot start the runtime: {error}"))),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            error!("{error}");
            error.exit().into()
        }
    }
}

/// Reads the command line; reports mistakes in the way of its parser.
fn parse() -> Result<Arguments, clap::Error> {
    let arguments = Arguments::try_parse()?;
    let mistake = match &arguments.verb {
        Verb::Position(verb) => verb.mistake(),
        _ => None,
    };
    match mistake {
        Some(mistake) => Err(Arguments::command().error(ErrorKind::ArgumentConflict, mistake)),
        None => Ok(arguments),
    }
}

async fn carry_out(verb: &Verb, file: &Path, config: Config) -> Result<Exit> {
    match verb {
        Verb::Run => {
            LastEnd::forget(&config);
            let note = config.clone();
            Box::pin(run(file, config)).await.inspect_err(|error| LastEnd::note(&note, error))
        }
        Verb::Status(arguments) => print(verbs::status(arguments, &config).await?),
        Verb::Healthy(arguments) => print(verbs::healthy(arguments, &config).await?),
        Verb::Reload => print(verbs::reload(&config).await?),
        Verb::Check(arguments) => Ok(check(&config, arguments).await),
        Verb::Position(verb) => print(verbs::carry_out(verb, config.beside()).await?),
        Verb::Topics(TopicsVerb::Adopt(arguments)) => {
            print(verbs::adopt(arguments, &config).await?)
        }
    }
}

/// Takes the ports and the log first, then runs the pipeline until it is stopped.
async fn run(file: &Path, config: Config) -> Result<Exit> {
    info!(version = version::VERSION, commit = version::COMMIT, "dts starts");
    let stop = shutdown::on_signal().map_err(|error| Error::Internal(error.to_string()))?;
    let status = Arc::new(Status::new(&config.name));
    let reloader = Arc::new(Reloader::new(file.to_owned(), config.clone()));
    let services = CancellationToken::new();
    let reloads = reloader.on_hangup(services.clone())?;
    let server =
        http::HttpServer::bind(&config.listen, Arc::clone(&status), Arc::clone(&reloader)).await?;
    let tasks = TaskTracker::new();
    let bus = bus::host(&config.bus, &services, &tasks).await?;
    tasks.spawn(server.serve(services.clone()));
    tasks.spawn(watch_room(Arc::clone(&bus), Arc::clone(&status), services.clone()));
    tasks.spawn(watch_why(Arc::clone(&status), services.clone()));
    info!(name = config.name, listen = %config.listen.address, "dts started");
    tasks.spawn(reloads);
    let result = pipeline::run(reloader.config(), &bus, &status, &stop).await;
    services.cancel();
    tasks.close();
    tasks.wait().await;
    result.map(|()| {
        info!("dts stopped");
        Exit::Done
    })
}

async fn check(config: &Config, arguments: &CheckArguments) -> Exit {
    let report = check::check(config).await;
    if arguments.json {
        say!("{:#}", report.to_json());
    } else {
        for host in &report.hosts {
            print_host(host);
        }
        report.bus.iter().chain(&report.local).for_each(print_finding);
        if report.is_good() {
            say!("ok: dts can run");
        }
    }
    if report.is_good() { Exit::Done } else { Exit::Refused }
}

fn print_host(host: &check::Host) {
    match &host.server {
        Some(check::Facts { product, version, uuid, .. }) => {
            say!("server: {product} {version} at {} ({uuid})", host.address);
        }
        None => say!("server: {}", host.address),
    }
    for grant in &host.grants {
        say!("needs:  {grant}");
    }
    host.findings.iter().for_each(print_finding);
}

fn print_finding(finding: &Finding) {
    let word = match finding.severity {
        Severity::Stop => "STOP",
        Severity::Warn => "warn",
        Severity::Note => "note",
    };
    say!("{word}: {}\n      {}", finding.problem(), finding.remedy);
}

fn print(said: impl std::fmt::Display) -> Result<Exit> {
    say!("{said}");
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_named_before_or_after_each_verb() {
        Arguments::command().debug_assert();
        for verb in ["run", "check --json", "status", "reload", "position show", "topics adopt"] {
            for line in [format!("dts -c FILE {verb}"), format!("dts {verb} --config FILE")] {
                let parsed = Arguments::try_parse_from(line.split(' ')).unwrap();
                assert_eq!(parsed.config, Path::new("FILE"), "{line}");
            }
            let parsed = Arguments::try_parse_from(format!("dts {verb}").split(' ')).unwrap();
            assert_eq!(parsed.config, Path::new("config/dts.toml"));
        }
    }
}
