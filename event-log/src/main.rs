//! `event-log`: serves a log, and what there is to do with one.

mod verbs;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use service::{exit::Exit, logging};
use tracing::error;
use verbs::{Failure, append, groups, serve};

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
    /// Append the lines of standard input as records; ends when all are durable.
    Append(append::AppendArguments),
    /// Show or forget groups of a log that is being served.
    Groups {
        #[command(subcommand)]
        verb: groups::GroupsVerb,
    },
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
    match verb {
        Verb::Serve => serve::run(&config).await,
        Verb::Append(arguments) => append::run(arguments, &config).await,
        Verb::Groups { verb } => groups::run(verb, &config).await,
    }
}
