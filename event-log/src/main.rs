//! `event-log`: serves a log, and shows and forgets its groups.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};
use event_log::{
    Client, ClientConfig, Compress, Error, HttpServer, Log, Server, ServerConfig, ServerTokens,
    StorageConfig, proto::InfoResponse,
};
use serde_json::json;
use service::{Listen, config, exit::Exit, logging, say, shutdown};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info};

/// A durable log on disk, served over the network.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// The config file of the log.
    #[arg(long, short, global = true, default_value = "config/event-log.toml")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve a log from its directory, until SIGTERM or SIGINT.
    Serve,
    /// Show or forget groups of a log that is being served.
    Groups {
        #[command(subcommand)]
        verb: GroupsVerb,
    },
}

#[derive(Subcommand)]
enum GroupsVerb {
    /// Show how far each group is, and how much is kept for it.
    List {
        #[command(flatten)]
        at: Where,
        /// Print JSON, with the names that the HTTP API of dts uses.
        #[arg(long)]
        json: bool,
    },
    /// Forget a group that has no member: nothing is kept for it any more.
    Forget {
        /// The name of the group, as `list` shows it.
        group: String,
        #[command(flatten)]
        at: Where,
        /// Only show what would be forgotten.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which stream of which log.
#[derive(Args)]
struct Where {
    /// The address of the log, as host:port, instead of that in the config.
    #[arg(long)]
    address: Option<String>,
    /// The stream; its name is `topicPrefix` in the config of dts.
    #[arg(long, default_value = "dbevents")]
    stream: String,
    /// The certificate to trust (PEM), where the server uses TLS.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// The certificate to show (PEM), where the server asks for one.
    #[arg(long, requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, requires = "cert_file")]
    key_file: Option<PathBuf>,
}

struct Config {
    listen: ServerConfig,
    http: Listen,
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
    match carry_out(arguments) {
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
async fn carry_out(Arguments { verb, config }: Arguments) -> Result<(), Failure> {
    match verb {
        Verb::Serve => serve(read(&config)?, &config).await?,
        Verb::Groups { verb: GroupsVerb::List { at, json } } => {
            let held = client(&config, &at)?.info(&at.stream).await?;
            if json { print_json(&held) } else { print(held) }
        }
        Verb::Groups { verb: GroupsVerb::Forget { group, at, dry_run: true } } => {
            show_forgotten(client(&config, &at)?.info(&at.stream).await?, &group)?;
        }
        Verb::Groups { verb: GroupsVerb::Forget { group, at, dry_run: false } } => {
            client(&config, &at)?.remove_group(&at.stream, &group).await?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Config, config::Mistakes> {
    let file = config::File::open(path)?;
    let listen = ServerConfig::read(file.root());
    let http = Listen::read(&file.root().section("http"), 19289);
    let storage = StorageConfig::read(&file.root().section("storage"));
    file.finish(Config { listen, http, storage })
}

async fn serve(config: Config, path: &Path) -> Result<(), Error> {
    let no_signals = |source| Error::Io {
        action: "cannot register for signals of",
        path: PathBuf::from("this process"),
        source,
    };
    let stop = shutdown::on_signal().map_err(no_signals)?;
    let hangup = signal(SignalKind::hangup()).map_err(no_signals)?;
    let log = Log::open(config.storage)?;
    let http = HttpServer::bind(&config.http, log.clone()).await?;
    let server = Server::bind(log, config.listen).await?;
    let tokens = server.tokens();
    let http = http.serve(stop.clone());
    let serve = async {
        let served = server.serve(stop.clone()).await;
        stop.cancel();
        served
    };
    tokio::select! {
        (served, ()) = async { tokio::join!(serve, http) } => served?,
        () = reload(tokens, hangup, path) => {}
    }
    info!("stopped");
    Ok(())
}

/// Takes the tokens and rights of the config anew at each SIGHUP, without end.
async fn reload(tokens: ServerTokens, mut hangup: Signal, path: &Path) {
    while hangup.recv().await.is_some() {
        match read(path) {
            Ok(config) => {
                tokens.replace(&config.listen);
                info!("the tokens and rights of the config count now; the rest needs a restart");
            }
            Err(mistakes) => error!("the config is as before: {mistakes}"),
        }
    }
    // The signal is gone, and the server goes on.
    std::future::pending::<()>().await;
}

/// A client of the address on the command line, else of the one in the config.
fn client(config: &Path, at: &Where) -> Result<Client, Failure> {
    let listen = match &at.address {
        Some(address) if !config.exists() => {
            let (address, clients) = (address.clone(), Vec::new());
            ServerConfig { address, token: None, tls: None, clients }
        }
        _ => read(config)?.listen,
    };
    let config = ClientConfig {
        address: at.address.clone().unwrap_or(listen.address),
        token: listen.token,
        ca_file: at.ca_file.clone(),
        identity: at.cert_file.clone().zip(at.key_file.clone()),
        compress: Compress::Off,
    };
    Ok(Client::new(&config)?)
}

fn print(held: InfoResponse) {
    say!("{:48} {:>10} {:>10}  MEMBER", "GROUP", "BEHIND", "KEEPS");
    for group in held.groups {
        let behind = behind(held.next_offset, group.committed);
        let keeps = ByteSize::b(group.held_bytes).to_string();
        let member = if group.client.is_empty() { "none" } else { &group.client };
        say!("{:48} {behind:>10} {keeps:>10}  {member}", group.name);
    }
}

/// Says what would be forgotten.
fn show_forgotten(mut held: InfoResponse, group: &str) -> Result<(), Error> {
    held.groups.retain(|known| known.name == group);
    let Some(known) = held.groups.first() else {
        return Err(Error::Rejected(format!("there is no group {group}")));
    };
    let is_free = known.client.is_empty();
    print(held);
    say!("{}", if is_free { "would be forgotten" } else { "would be refused: it has a member" });
    say!("nothing is changed");
    Ok(())
}

fn print_json(held: &InfoResponse) {
    let groups = held.groups.iter().map(|group| {
        let members: Vec<&str> =
            Some(&*group.client).filter(|client| !client.is_empty()).into_iter().collect();
        json!({
            "name": group.name,
            "lag": { "records": behind(held.next_offset, group.committed) },
            "heldBytes": group.held_bytes,
            "members": members,
        })
    });
    say!("{:#}", json!({ "groups": groups.collect::<Vec<_>>() }));
}

fn behind(next_offset: u64, committed: Option<u64>) -> u64 {
    next_offset.saturating_sub(committed.unwrap_or_default())
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
