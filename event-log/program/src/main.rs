//! `event-log`: serves a log, and what there is to do with one.

mod verbs;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use service::{exit::Exit, logging};
use tracing::error;
use verbs::{
    Failure, agent, append, cat, export, groups, import, ls, mirror, promote, relay, serve, tail,
    verify,
};

/// A durable log on disk, served over the network.
#[derive(Parser)]
#[command(name = "event-log", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// The config file of the log, of the agent or of relays [default: config/event-log.toml,
    /// config/event-log-agent.toml, config/event-log-relay.toml].
    #[arg(long, short, global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve a log from its directory, until SIGTERM or SIGINT.
    Serve,
    /// Follow files, and append the lines that they get, until SIGTERM or SIGINT.
    Agent,
    /// Append the lines of standard input as records; ends when all are durable.
    Append(append::AppendArguments),
    /// Copy streams of another server, byte for byte, and serve the copies.
    Mirror(mirror::MirrorArguments),
    /// Give every record of a stream to a program or a service, in order, until SIGTERM or SIGINT.
    Relay(Box<relay::RelayArguments>),
    /// Make a copy a stream of its own, which takes appends, when its original is gone for good.
    Promote(promote::PromoteArguments),
    /// Show or forget groups of a log that is being served.
    Groups {
        #[command(subcommand)]
        verb: groups::GroupsVerb,
    },
    /// Show the streams in the directory of a log, and their days.
    Ls(ls::Ls),
    /// Print the records of a stream, from its files, as lines of JSON.
    Cat(cat::Cat),
    /// Print the last records of a stream, from its files, as lines of JSON.
    Tail(tail::Tail),
    /// Check every byte of the files of a log.
    Verify(verify::Verify),
    /// Write days of a stream to an archive.
    Export(export::Export),
    /// Make a stream from an archive.
    Import(import::Import),
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
        Err(failure) => {
            error!("{failure}");
            failure.exit().into()
        }
    }
}

#[tokio::main]
async fn carry_out(Arguments { verb, config }: Arguments) -> Result<(), Failure> {
    let default = match verb {
        Verb::Agent => "event-log-agent",
        Verb::Relay(_) => "event-log-relay",
        _ => "event-log",
    };
    let config = config.unwrap_or_else(|| format!("config/{default}.toml").into());
    match verb {
        Verb::Agent => agent::run(&config).await,
        Verb::Serve => serve::run(&config).await,
        Verb::Append(arguments) => append::run(arguments, &config).await,
        Verb::Mirror(arguments) => mirror::run(arguments, &config).await,
        Verb::Relay(arguments) => relay::run(*arguments, &config).await,
        Verb::Promote(arguments) => promote::run(arguments, &config).await,
        Verb::Groups { verb } => groups::run(verb, &config).await,
        Verb::Ls(wanted) => ls::run(&wanted, &config),
        Verb::Cat(wanted) => cat::run(&wanted, &config),
        Verb::Tail(wanted) => tail::run(&wanted, &config).await,
        Verb::Verify(wanted) => verify::run(&wanted, &config),
        Verb::Export(wanted) => export::run(&wanted, &config),
        Verb::Import(wanted) => import::run(&wanted, &config),
    }
}
