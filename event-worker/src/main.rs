//! `event-worker`: runs listeners, each as a process of its own.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use event_worker::{
    Error, FullSyncPart, FullSyncWish, Output, ResetMode, ResetPart, ResetPlace, SkippedRecord,
    Steer, version,
};
use service::{exit::Exit, logging, shutdown};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, error_span, info, warn};

/// Runs listeners: batches of MySQL changes, handlers that are called until they succeed.
#[derive(Parser)]
#[command(name = "event-worker", version = version::FULL, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The config file.
    #[arg(long, short, global = true, default_value = "config/db_event_listener.toml")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Runs all listeners of the config, each as a process of its own, and the HTTP API.
    Run,
    /// Looks whether the config is right, the bus answers and the handlers are there.
    Check(Form),
    /// Runs one listener in this process, starts one anew, or sets it to another place.
    #[command(subcommand_negates_reqs = true)]
    Listener {
        #[command(subcommand)]
        verb: Option<ListenerVerb>,
        /// Its id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID", required = true)]
        id: Option<String>,
        /// The supervisor's socket: it says what to run.
        #[arg(long, hide = true)]
        supervisor: Option<PathBuf>,
    },
    /// Shows the listeners of the event-worker that runs with this config.
    Status(Form),
    /// Whether the event-worker that runs with this config is ready: for a health check. Exits with
    /// 0, or 69.
    Healthy {
        /// Whether this listener is: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID")]
        id: Option<String>,
        /// Only whether it answers, and not whether the bus does.
        #[arg(long, conflicts_with = "id")]
        alive: bool,
    },
    /// The places of listeners on the bus, also of those that no config has any more.
    Groups {
        #[command(subcommand)]
        verb: GroupsVerb,
    },
    /// Shows changes as they lie on the bus, as JSON lines. No listener notices.
    Tail {
        /// table or schema.table, with * and ? as wildcards; all without.
        table: Option<String>,
        /// Where to begin: earliest, latest, a time as 2026-01-31T12:00:00Z, or an offset.
        #[arg(long, value_name = "PLACE", default_value = "latest")]
        from: ResetPlace,
    },
    /// Calls the handler of a listener once, with the events on standard input: a JSON array, or a
    /// line each, as `tail` prints them. Says what its answer means; changes nothing.
    Try {
        /// Its id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID")]
        id: String,
    },
    /// Sends what tables hold to a listener, while the changes go on.
    FullSync {
        #[command(subcommand)]
        verb: FullSyncVerb,
    },
}

/// How the result is shown.
#[derive(Args)]
struct Form {
    /// Print it as JSON, with the names of the HTTP API.
    #[arg(long)]
    json: bool,
}

impl Form {
    fn output(&self) -> Output {
        Output::json(self.json)
    }
}

#[derive(Subcommand)]
enum GroupsVerb {
    /// Shows who they are, how far behind, and how much the bus keeps for them.
    List(Form),
    /// Forgets how far a listener is that was taken out of the config: nothing is kept for it any
    /// more. If it comes back, it begins as `start` says.
    #[command(override_usage = "event-worker groups forget [OPTIONS] -t <ID>")]
    Forget {
        /// Its id: NAME of [listeners.NAME], as it was.
        #[arg(short = 't', long = "id", value_name = "ID", required_unless_present = "word")]
        id: Option<String>,
        /// The id, as it was written before there was -t.
        #[arg(hide = true, conflicts_with = "id")]
        word: Option<String>,
    },
}

#[derive(Subcommand)]
enum FullSyncVerb {
    /// Has a table sent to a listener.
    #[command(override_usage = "event-worker full-sync start [OPTIONS] -t <ID> [TABLE]")]
    Start {
        /// The listener's id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID", required_unless_present = "table")]
        id: Option<String>,
        /// table or schema.table, with * and ? as wildcards; all that it subscribes to, without.
        table: Option<String>,
        /// The table, where the first word is the listener, as it was before there was -t.
        #[arg(hide = true, conflicts_with = "id")]
        word: Option<String>,
        /// The column that --from and --to are about: the table's key.
        #[arg(long, value_name = "COLUMN", requires = "table")]
        pk: Option<String>,
        /// The first key to send.
        #[arg(long, value_name = "KEY", requires = "table", allow_hyphen_values = true)]
        from: Option<String>,
        /// The last key to send.
        #[arg(long, value_name = "KEY", requires = "table", allow_hyphen_values = true)]
        to: Option<String>,
        #[command(flatten)]
        form: Form,
    },
    /// Shows all that dts keeps, also those that have ended.
    List(Form),
    /// Lets one stand still.
    Pause { id: String },
    /// Lets one go on.
    Resume { id: String },
    /// Ends one where it is.
    Cancel { id: String },
    /// Shows how one goes on, or all that have not ended, until they have.
    Watch { id: Option<String> },
}

#[derive(Subcommand)]
enum ListenerVerb {
    /// Lets a listener go on at another place of the bus, and says from where to where.
    ///
    /// The event-worker that runs it stops it for that and starts it again. From an earlier place
    /// on all is handled again; what a later place leaves out is not handled.
    Reset {
        /// Its id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID")]
        id: String,
        /// earliest, latest, a time as 2026-01-31T12:00:00Z, or an offset.
        #[arg(long, value_name = "PLACE")]
        to: ResetPlace,
        /// Only this topic, by its full name; all, without. A log has one place for all topics.
        #[arg(long)]
        topic: Option<String>,
        /// Only this partition; all, without.
        #[arg(long)]
        partition: Option<u32>,
        /// Only shows what would be set.
        #[arg(long)]
        dry_run: bool,
    },
    /// Lets a listener go on behind the record at which it stands, which is not handled.
    ///
    /// For a record that is not an event, or an event that the handler can never do. The
    /// listener's error in `status` and API says which it is.
    Skip {
        /// Its id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID")]
        id: String,
        /// The record's topic; on an event log its stream.
        #[arg(long)]
        topic: String,
        /// The number of its partition.
        #[arg(long, value_name = "NUMBER")]
        partition: u32,
        /// Its offset.
        #[arg(long)]
        offset: u64,
        /// Only shows what would be set.
        #[arg(long)]
        dry_run: bool,
    },
    /// Has the event-worker that runs a listener start it anew: its handlers too, with their new
    /// code.
    Restart {
        /// Its id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID")]
        id: String,
    },
    /// Lets a listener try again now what waits after a failure, and not when `retry` says so.
    Retry {
        /// Its id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID")]
        id: String,
    },
}

fn main() -> ExitCode {
    service::memory::share_heaps();
    service::init::take_name();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help on standard output, or a mistake on standard error: nothing to do if that fails.
            let _ = error.print();
            return if error.use_stderr() { Exit::Config } else { Exit::Done }.into();
        }
    };
    logging::init();
    if let Some(code) = service::init::run_if_first() {
        return code;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "cannot start");
            return Exit::Internal.into();
        }
    };
    let ended = runtime.block_on(carry_out(arguments));
    // A write to a full pipe cannot be called back, so nobody waits for it.
    runtime.shutdown_background();
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            error!("{error}; {}", error.remedy());
            error.exit().into()
        }
    }
}

async fn carry_out(Arguments { command, config }: Arguments) -> Result<Exit, Error> {
    match command {
        Command::Run => {
            info!(version = version::VERSION, commit = version::COMMIT, "event-worker starts");
            event_worker::supervise(&config, stop_on_signal()?).await?;
        }
        Command::Listener { verb: Some(verb), .. } => change(&config, verb).await?,
        Command::Listener { id, supervisor, .. } => {
            listen(&config, &id.unwrap_or_default(), supervisor).await?;
        }
        Command::Check(form) => return event_worker::check(&config, form.output()).await,
        Command::Tail { table, from } => {
            event_worker::tail(&config, table.as_deref(), &from, stop_on_signal()?).await?;
        }
        Command::Try { id } => {
            return event_worker::try_handler(&config, &id, std::io::stdin().lock()).await;
        }
        Command::Status(form) => event_worker::show_status(&config, form.output()).await?,
        Command::Healthy { id, alive } => {
            event_worker::healthy(&config, id.as_deref(), alive).await?;
        }
        Command::Groups { verb: GroupsVerb::List(form) } => {
            event_worker::list_groups(&config, form.output()).await?;
        }
        Command::Groups { verb: GroupsVerb::Forget { id, word } } => {
            let listener = id.unwrap_or_else(|| old_form("groups forget", word));
            event_worker::forget_group(&config, &listener).await?;
        }
        Command::FullSync { verb } => return full_sync(&config, verb).await,
    }
    Ok(Exit::Done)
}

async fn full_sync(config: &Path, verb: FullSyncVerb) -> Result<Exit, Error> {
    let (id, wish) = match verb {
        FullSyncVerb::Start { id, table, word, pk, from, to, form } => {
            let (listener, table) = match id {
                Some(id) => (id, table),
                None => (old_form("full-sync start", table), word),
            };
            let part = FullSyncPart { table, key_column: pk, from, to };
            event_worker::start_full_sync(config, &listener, part, form.output()).await?;
            return Ok(Exit::Done);
        }
        FullSyncVerb::List(form) => {
            event_worker::list_full_syncs(config, form.output()).await?;
            return Ok(Exit::Done);
        }
        FullSyncVerb::Watch { id } => {
            return event_worker::watch_full_syncs(config, id.as_deref()).await;
        }
        FullSyncVerb::Pause { id } => (id, FullSyncWish::Pause),
        FullSyncVerb::Resume { id } => (id, FullSyncWish::Resume),
        FullSyncVerb::Cancel { id } => (id, FullSyncWish::Cancel),
    };
    event_worker::wish_full_sync(config, &id, wish).await?;
    Ok(Exit::Done)
}

/// A listener that is named as it was before there was -t: by the first word of the command.
fn old_form(command: &str, word: Option<String>) -> String {
    let id = word.unwrap_or_default();
    warn!("a listener without -t is the old form; write event-worker {command} -t {id} instead");
    id
}

async fn listen(config: &Path, id: &str, supervisor: Option<PathBuf>) -> Result<(), Error> {
    let stop = stop_on_signal()?;
    let span = error_span!("listener", id);
    match supervisor {
        Some(socket) => event_worker::run_supervised(&socket, id, stop).instrument(span).await,
        None => event_worker::run_alone(config, id, stop).instrument(span).await,
    }
}

async fn change(config: &Path, verb: ListenerVerb) -> Result<(), Error> {
    let mode = |dry_run| if dry_run { ResetMode::DryRun } else { ResetMode::Set };
    let (id, steer) = match verb {
        ListenerVerb::Reset { id, to, topic, partition, dry_run } => {
            let part = ResetPart { topic, partition };
            return event_worker::reset_listener(config, &id, (to, part), mode(dry_run)).await;
        }
        ListenerVerb::Skip { id, topic, partition, offset, dry_run } => {
            let record = SkippedRecord { topic, partition, offset };
            return event_worker::skip_record(config, &id, record, mode(dry_run)).await;
        }
        ListenerVerb::Restart { id } => (id, Steer::Restart),
        ListenerVerb::Retry { id } => (id, Steer::Retry),
    };
    event_worker::steer_listener(config, &id, steer).await
}

fn stop_on_signal() -> Result<CancellationToken, Error> {
    shutdown::on_signal()
        .map_err(|source| Error::Io { what: "cannot register for signals".to_owned(), source })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_listener_is_named_by_a_flag_and_the_old_form_is_taken() {
        Arguments::command().debug_assert();
        let start = |line: &str| match Arguments::try_parse_from(line.split(' ')).unwrap().command {
            Command::FullSync { verb: FullSyncVerb::Start { id, table, word, .. } } => {
                [id, table, word].map(Option::unwrap_or_default)
            }
            _ => panic!("{line}"),
        };
        assert_eq!(start("event-worker full-sync start -t a"), ["a", "", ""]);
        assert_eq!(start("event-worker full-sync start x --id a --json"), ["a", "x", ""]);
        assert_eq!(start("event-worker full-sync start a x"), ["", "a", "x"]);
        for line in
            ["full-sync start", "full-sync start -t a x y", "groups forget", "groups forget a -t b"]
        {
            let line = format!("event-worker {line}");
            assert!(Arguments::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
