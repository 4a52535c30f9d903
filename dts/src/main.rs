//! `dts`: captures MySQL changes and publishes them.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};
use dts::{
    binlog::Severity,
    bus, check,
    config::Config,
    error::{Error, Result},
    http, pipeline,
    position::{POSITION_KEY, Saved},
    status::Status,
};
use service::{exit::Exit, logging, shutdown};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info};

/// Captures MySQL changes from the binlog and publishes them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run until stopped.
    Run(ConfigArgument),
    /// Look at config and server, and say what to mend.
    Check(ConfigArgument),
    /// The saved position.
    #[command(subcommand)]
    Position(PositionVerb),
}

#[derive(Subcommand)]
enum PositionVerb {
    /// Show it, as JSON.
    Show(ConfigArgument),
}

#[derive(clap::Args)]
struct ConfigArgument {
    /// The config file.
    #[arg(long, default_value = "config/dts.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Config.into() } else { Exit::Done.into() };
        }
    };
    logging::init();
    let (Verb::Run(path) | Verb::Check(path) | Verb::Position(PositionVerb::Show(path))) =
        &arguments.verb;
    let config = match Config::open(&path.config) {
        Ok(config) => config,
        Err(mistakes) => {
            error!("{mistakes}");
            return Exit::Config.into();
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(carry_out(&arguments.verb, config)),
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

async fn carry_out(verb: &Verb, config: Config) -> Result<Exit> {
    match verb {
        Verb::Run(_) => run(config).await,
        Verb::Check(_) => Ok(check(&config).await),
        Verb::Position(PositionVerb::Show(_)) => show_position(&config).await,
    }
}

/// Takes its ports and its log first, then runs the pipeline until it is stopped.
async fn run(config: Config) -> Result<Exit> {
    let stop = shutdown::on_signal().map_err(|error| Error::Internal(error.to_string()))?;
    let status = Arc::new(Status::new(&config.name));
    let server =
        http::Server::bind(config.listen, config.token.clone(), Arc::clone(&status)).await?;
    let services = CancellationToken::new();
    let tasks = TaskTracker::new();
    let bus = bus::host(&config.bus, &services, &tasks).await?;
    tasks.spawn(server.serve(services.clone()));
    info!(name = config.name, listen = %config.listen, "dts started");
    let result = pipeline::run(&config, &*bus, &status, &stop).await;
    services.cancel();
    tasks.close();
    tasks.wait().await;
    result.map(|()| {
        info!("dts stopped");
        Exit::Done
    })
}

#[expect(clippy::print_stdout, reason = "the report is what the verb is for")]
async fn check(config: &Config) -> Exit {
    let report = check::check(config).await;
    if let Some(server) = &report.server {
        println!("server: {server}");
    }
    for finding in &report.findings {
        let word = if finding.severity == Severity::Stop { "STOP" } else { "warn" };
        println!("{word}: {}\n      {}", finding.problem, finding.remedy);
    }
    if report.is_good() {
        println!("ok: dts can run");
        return Exit::Done;
    }
    Exit::Refused
}

#[expect(clippy::print_stdout, reason = "the position is what the verb is for")]
async fn show_position(config: &Config) -> Result<Exit> {
    let checkpoint = bus::read_checkpoint(&config.bus, &config.name).await?;
    match checkpoint.get(POSITION_KEY) {
        Some(bytes) => println!("{}", Saved::from_bytes(bytes)?.to_json()),
        None => println!("null"),
    }
    Ok(Exit::Done)
}
