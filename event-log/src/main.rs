//! `event-log`: serves a log, and shows and forgets its groups.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};
use event_log::{Client, ClientConfig, Compress, Error, Log, Server, ServerConfig, StorageConfig};
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
    /// The groups of a log that is served.
    Groups {
        #[command(subcommand)]
        verb: GroupsVerb,
    },
}

#[derive(Subcommand)]
enum GroupsVerb {
    /// Shows how far each is, and how much is kept for it.
    List(Where),
    /// Forgets one that nobody is in: nothing is kept for it any more.
    Forget {
        /// Its name, as `list` shows it.
        group: String,
        #[command(flatten)]
        at: Where,
    },
}

/// Which stream of which log.
#[derive(Args)]
struct Where {
    /// The config file that the log is served with.
    #[arg(long, default_value = "config/event-log.toml")]
    config: PathBuf,
    /// Another address than that of the config, as host:port.
    #[arg(long)]
    address: Option<String>,
    /// The stream: `topicPrefix` in the config of dts.
    #[arg(long, default_value = "dbevents")]
    stream: String,
    /// Trust in the server's certificate (PEM), where it speaks TLS.
    #[arg(long)]
    ca_file: Option<PathBuf>,
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
    match carry_out(arguments.verb) {
        Ok(()) => Exit::Done.into(),
        Err(Failure::Config(mistakes)) => {
            error!("{mistakes}");
            Exit::Config.into()
        }
        Err(Failure::Log(problem)) => {
            error!("{problem}");
            exit_of(&problem).into()
        }
    }
}

/// Why a verb was not carried out.
enum Failure {
    Config(config::Mistakes),
    Log(Error),
}

impl From<config::Mistakes> for Failure {
    fn from(mistakes: config::Mistakes) -> Self {
        Self::Config(mistakes)
    }
}

impl From<Error> for Failure {
    fn from(problem: Error) -> Self {
        Self::Log(problem)
    }
}

#[tokio::main]
async fn carry_out(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Serve { config } => serve(read(&config)?).await?,
        Verb::Groups { verb: GroupsVerb::List(at) } => list(&at, &client(&at)?).await?,
        Verb::Groups { verb: GroupsVerb::Forget { group, at } } => {
            client(&at)?.remove_group(&at.stream, &group).await?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Config, config::Mistakes> {
    let file = config::File::open(path)?;
    let listen = ServerConfig::read(&file.root().section("listen"));
    let storage = StorageConfig::read(&file.root().section("storage"));
    file.finish(Config { listen, storage })
}

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

/// Where the log is served, as its config says, unless the command line says otherwise.
fn client(at: &Where) -> Result<Client, Failure> {
    let listen = match &at.address {
        Some(address) if !at.config.exists() => {
            ServerConfig { address: address.clone(), token: None, tls: None }
        }
        _ => read(&at.config)?.listen,
    };
    let config = ClientConfig {
        address: at.address.clone().unwrap_or(listen.address),
        token: listen.token,
        ca_file: at.ca_file.clone(),
        compress: Compress::Off,
    };
    Ok(Client::new(&config)?)
}

#[expect(clippy::print_stdout, reason = "the groups are the result of this command")]
async fn list(at: &Where, client: &Client) -> Result<(), Error> {
    let held = client.info(&at.stream).await?;
    println!("{:48} {:>10} {:>10}  MEMBER", "GROUP", "BEHIND", "KEEPS");
    for group in held.groups {
        let behind = held.next_offset.saturating_sub(group.committed.unwrap_or_default());
        let keeps = ByteSize::b(group.held_bytes).to_string();
        let member = if group.client.is_empty() { "none" } else { &group.client };
        println!("{:48} {behind:>10} {keeps:>10}  {member}", group.name);
    }
    Ok(())
}

fn exit_of(problem: &Error) -> Exit {
    match problem {
        Error::Held(_)
        | Error::Unusable { .. }
        | Error::Listen { .. }
        | Error::Refused(_)
        | Error::Unavailable(_)
        | Error::GroupActive { .. } => Exit::Refused,
        Error::Rejected(_) => Exit::Config,
        _ => Exit::Internal,
    }
}
