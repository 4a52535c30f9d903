//! `event-log`: serves a log.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use event_log::{Error, Log, Server, ServerConfig, StorageConfig};
use service::{config, exit::Exit, logging, shutdown};
use tracing::{error, info};

/// A durable log on disk, with a network face.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serves the log in a directory until SIGTERM or SIGINT.
    Serve {
        /// The config file.
        #[arg(long, default_value = "config/event-log.toml")]
        config: PathBuf,
    },
}

struct Config {
    listen: ServerConfig,
    storage: StorageConfig,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(problem) => {
            let _ = problem.print();
            return if problem.use_stderr() { Exit::Config } else { Exit::Done }.into();
        }
    };
    logging::init();
    let Verb::Serve { config } = arguments.verb;
    let config = match read(&config) {
        Ok(config) => config,
        Err(mistakes) => {
            error!("{mistakes}");
            return Exit::Config.into();
        }
    };
    match serve(config) {
        Ok(()) => Exit::Done.into(),
        Err(problem) => {
            error!("{problem}");
            exit_of(&problem).into()
        }
    }
}

fn read(path: &std::path::Path) -> Result<Config, config::Mistakes> {
    let file = config::File::open(path)?;
    let listen = ServerConfig::read(&file.root().section("listen"));
    let storage = StorageConfig::read(&file.root().section("storage"));
    file.finish(Config { listen, storage })
}

#[tokio::main]
async fn serve(config: Config) -> Result<(), Error> {
    let stop = shutdown::on_signal().map_err(|source| Error::Io {
        action: "cannot register for signals of",
        path: PathBuf::from("this process"),
        source,
    })?;
    let log = Log::open(config.storage)?;
    let server = Server::bind(log, config.listen).await?;
    server.serve(stop).await?;
    info!("stopped");
    Ok(())
}

fn exit_of(problem: &Error) -> Exit {
    match problem {
        Error::Held(_) | Error::Unusable { .. } | Error::Listen { .. } | Error::Refused(_) => {
            Exit::Refused
        }
        Error::Rejected(_) => Exit::Config,
        _ => Exit::Internal,
    }
}
