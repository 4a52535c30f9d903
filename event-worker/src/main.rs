//! The program `event-worker`: its commands and their arguments.

mod aside;
mod past;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use event_worker::{
    BackgroundFiles, Error, FullSyncPart, FullSyncWish, GroupChoice, Output, ResetMode, ResetPart,
    ResetPlace, Run, SkippedRecord, Steer, TailRange, version,
};
use service::{exit::Exit, logging, shutdown};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, error_span, info, warn};

use self::past::{RehearseForm, ReplayForm};

/// Runs listeners: gives MySQL changes to handlers in batches, until the handlers succeed.
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
    /// Runs all listeners of the config, or some groups of them, each in a process of its own, and
    /// the HTTP API.
    Run(RunForm),
    /// Checks that the config is right, the bus answers and the handlers are there.
    Check {
        #[command(flatten)]
        form: Form,
        /// Check only the listeners of this group. May be given several times.
        #[arg(short, long = "group", value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Runs one listener in this process, or resets, restarts or retries one, or skips a record.
    #[command(subcommand_negates_reqs = true)]
    Listener {
        #[command(subcommand)]
        verb: Option<ListenerVerb>,
        /// The listener's id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID", required = true)]
        id: Option<String>,
        /// The socket of the supervisor, which says what to run.
        #[arg(long, hide = true)]
        supervisor: Option<PathBuf>,
        #[command(flatten)]
        called: Called,
    },
    /// Shows the listeners of the running event-worker of this config.
    Status {
        #[command(flatten)]
        form: Form,
        #[command(flatten)]
        called: Called,
    },
    /// Shows which environment runs each listener and why, and the nodes of all environments.
    Versions {
        #[command(flatten)]
        form: Form,
        #[command(flatten)]
        called: Called,
    },
    /// Asks whether the running event-worker of this config is ready, for a health check. Exits
    /// with 0 if so, else with 69.
    Healthy {
        /// Ask only about this listener: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID")]
        id: Option<String>,
        /// Ask only whether event-worker answers, not whether the bus does.
        #[arg(long, conflicts_with = "id")]
        alive: bool,
        #[command(flatten)]
        called: Called,
    },
    /// Shows or forgets how far listeners are on the bus, also those removed from the config.
    Groups {
        #[command(subcommand)]
        verb: GroupsVerb,
    },
    /// Shows the changes on the bus as JSON lines. This does not affect any listener.
    Tail {
        /// table or schema.table, with * and ? as wildcards. Default: all tables.
        table: Option<String>,
        /// Where to begin: earliest, latest, a time like 2026-01-31T12:00:00Z, or an offset.
        #[arg(long, value_name = "PLACE", default_value = "latest")]
        from: ResetPlace,
        /// End after so many changes.
        #[arg(long, value_name = "NUMBER")]
        count: Option<u64>,
        /// End when all is shown that was on the bus when the command began.
        #[arg(long)]
        until_end: bool,
    },
    /// Calls the handler of a listener once, and says what its answer means. The events come from
    /// standard input, as a JSON array or one per line, as `tail` prints them. Nothing on the bus
    /// changes.
    Try {
        /// The listener's id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID")]
        id: String,
    },
    /// Shows, tries, replays or drops the events that a listener has set aside or parked.
    Parked(aside::ParkedForm),
    /// Runs another handler on the live events of a listener, and compares how it does.
    ///
    /// The handler really gets the events: see that it works on a target of its own. Nothing is
    /// committed, and the running listener notices nothing. Exits with 0 if no call failed, with 69
    /// if one did.
    Rehearse(RehearseForm),
    /// Gives past events once more to a listener, beside its live ones.
    #[command(subcommand_negates_reqs = true)]
    Replay(ReplayForm),
    /// Sends all rows of tables to a listener. Changes continue to come meanwhile.
    FullSync {
        #[command(subcommand)]
        verb: FullSyncVerb,
        #[command(flatten)]
        called: Called,
    },
}

/// What to run, and where.
#[derive(Args)]
struct RunForm {
    /// Run only the listeners of this group: `group` in [listeners.ID]. May be given several times.
    /// Default: all listeners.
    #[arg(short, long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Run in the background. Returns when the program is up, or shows why it does not start.
    #[arg(short, long)]
    detach: bool,
    /// The file for the pid, with -d. Default: `pidFile` of [supervisor].
    #[arg(long, value_name = "FILE", requires = "detach")]
    pid_file: Option<PathBuf>,
    /// The file for the log, with -d. Default: `logFile` of [supervisor].
    #[arg(long, value_name = "FILE", requires = "detach")]
    log_file: Option<PathBuf>,
    /// This is the program in the background, with the file for its pid.
    #[arg(long, hide = true)]
    in_background: Option<PathBuf>,
}

/// Which running event-worker of the config is asked.
#[derive(Args)]
struct Called {
    /// Ask the event-worker that runs this group of listeners. Default: with -t the one that runs
    /// the listener, else the one at [listen].
    #[arg(short, long = "group", value_name = "GROUP", global = true)]
    groups: Vec<String>,
}

impl Called {
    fn choice(self) -> GroupChoice {
        GroupChoice::new(self.groups)
    }
}

/// How to show the result.
#[derive(Args)]
struct Form {
    /// Print the result as JSON, with the names of the HTTP API.
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
    /// Shows each listener's group: how far it is behind, and how much the bus keeps for it.
    List(Form),
    /// Forgets how far a listener is that was removed from the config. The bus then keeps nothing
    /// for that listener. If the listener comes back, it begins as `start` says.
    #[command(override_usage = "event-worker groups forget [OPTIONS] -t <ID>")]
    Forget {
        /// The listener's id: NAME of [listeners.NAME], as it was in the config.
        #[arg(short = 't', long = "id", value_name = "ID", required_unless_present = "word")]
        id: Option<String>,
        /// The id in the old form, without -t.
        #[arg(hide = true, conflicts_with = "id")]
        word: Option<String>,
        /// Only show what would be forgotten.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Subcommand)]
enum FullSyncVerb {
    /// Sends all rows of a table to a listener.
    #[command(override_usage = "event-worker full-sync start [OPTIONS] -t <ID> [TABLE]")]
    Start {
        /// The listener's id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID", required_unless_present = "table")]
        id: Option<String>,
        /// table or schema.table, with * and ? as wildcards. Default: all tables of the listener.
        table: Option<String>,
        /// The table in the old form, in which the first word is the listener.
        #[arg(hide = true, conflicts_with = "id")]
        word: Option<String>,
        /// The key column of the table, for --from and --to.
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
    /// Shows all full syncs that dts knows, also those that have ended.
    List(Form),
    /// Pauses a full sync.
    Pause { id: String },
    /// Resumes a paused full sync.
    Resume { id: String },
    /// Cancels a full sync: no more rows are sent.
    Cancel { id: String },
    /// Shows the progress of one full sync, or of all that run, until they have ended.
    Watch { id: Option<String> },
}

#[derive(Subcommand)]
enum ListenerVerb {
    /// Sets a listener to another place on the bus, and prints the old and the new place.
    ///
    /// The event-worker that runs the listener stops it, sets the place, and starts it again. After
    /// an earlier place all events are handled again. Events before a later place are not handled.
    Reset {
        /// The listener's id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID")]
        id: String,
        /// earliest, latest, a time like 2026-01-31T12:00:00Z, or an offset.
        #[arg(long, value_name = "PLACE")]
        to: ResetPlace,
        /// Only this topic, by its full name. Default: all. An event log has only one place.
        #[arg(long)]
        topic: Option<String>,
        /// Only this partition. Default: all.
        #[arg(long)]
        partition: Option<u32>,
        /// Only show what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Skips the record at which a listener waits: the record is not handled.
    ///
    /// For a record that is not an event, or an event that the handler can never do. The error of
    /// the listener, in `status` and in the API, names the record.
    Skip {
        /// The listener's id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID")]
        id: String,
        /// The topic of the record; on an event log, its stream.
        #[arg(long)]
        topic: String,
        /// The partition of the record.
        #[arg(long, value_name = "NUMBER")]
        partition: u32,
        /// The offset of the record.
        #[arg(long)]
        offset: u64,
        /// Only show what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Restarts a listener of the running event-worker, and its handlers, with their new code.
    Restart {
        /// The listener's id: NAME of [listeners.NAME].
        #[arg(short = 't', long = "id", value_name = "ID")]
        id: String,
    },
    /// Makes a listener retry failed events now, without waiting as `retry` in the config says.
    Retry {
        /// The listener's id: NAME of [listeners.NAME].
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
            // Prints help on standard output, or a mistake on standard error. If that fails, we can
            // do nothing.
            let _ = error.print();
            return if error.use_stderr() { Exit::Config } else { Exit::Done }.into();
        }
    };
    logging::init();
    if let Some(code) = service::init::run_if_first() {
        return code;
    }
    if let Command::Run(form @ RunForm { detach: true, .. }) = arguments.command {
        return ended(detach(&arguments.config, form));
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "cannot start");
            return Exit::Internal.into();
        }
    };
    let outcome = runtime.block_on(carry_out(arguments));
    // A write to a full pipe cannot be cancelled, so we do not wait for it.
    runtime.shutdown_background();
    ended(outcome)
}

fn ended(outcome: Result<Exit, Error>) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            error!("{error}; {}", error.remedy());
            error.exit().into()
        }
    }
}

fn detach(config: &Path, form: RunForm) -> Result<Exit, Error> {
    let files = BackgroundFiles { pid: form.pid_file, log: form.log_file };
    event_worker::start_in_background(config, &GroupChoice::new(form.groups), files)?;
    Ok(Exit::Done)
}

async fn carry_out(Arguments { command, config }: Arguments) -> Result<Exit, Error> {
    match command {
        Command::Run(RunForm { groups, in_background, .. }) => {
            info!(version = version::VERSION, commit = version::COMMIT, "event-worker starts");
            let groups = GroupChoice::new(groups);
            let run = Run { file: config, groups, pid_file: in_background };
            event_worker::supervise(run, stop_on_signal()?).await?;
        }
        Command::Listener { verb: Some(verb), called, .. } => {
            change((&config, &called.choice()), verb).await?;
        }
        Command::Listener { id, supervisor, .. } => {
            Box::pin(listen(&config, &id.unwrap_or_default(), supervisor)).await?;
        }
        Command::Check { form, groups } => {
            return event_worker::check(&config, &GroupChoice::new(groups), form.output()).await;
        }
        Command::Tail { table, from, count, until_end } => {
            let range = TailRange { from, count, until_end };
            event_worker::tail(&config, table.as_deref(), range, stop_on_signal()?).await?;
        }
        Command::Try { id } => {
            return event_worker::try_handler(&config, &id, std::io::stdin().lock()).await;
        }
        Command::Status { form, called } => {
            event_worker::show_status(&config, &called.choice(), form.output()).await?;
        }
        Command::Versions { form, called } => {
            event_worker::show_versions(&config, &called.choice(), form.output()).await?;
        }
        Command::Healthy { id, alive, called } => {
            event_worker::healthy(&config, &called.choice(), id.as_deref(), alive).await?;
        }
        Command::Groups { verb: GroupsVerb::List(form) } => {
            event_worker::list_groups(&config, form.output()).await?;
        }
        Command::Groups { verb: GroupsVerb::Forget { id, word, dry_run } } => {
            let listener = id.unwrap_or_else(|| old_form("groups forget", word));
            event_worker::forget_group(&config, &listener, mode(dry_run)).await?;
        }
        Command::Parked(form) => return form.carry_out(&config).await,
        Command::Rehearse(form) => return form.rehearse(&config, stop_on_signal()?).await,
        Command::Replay(form) => return form.replay(&config).await,
        Command::FullSync { verb, called } => {
            return full_sync((&config, &called.choice()), verb).await;
        }
    }
    Ok(Exit::Done)
}

async fn full_sync(
    (config, groups): (&Path, &GroupChoice),
    verb: FullSyncVerb,
) -> Result<Exit, Error> {
    let (id, wish) = match verb {
        FullSyncVerb::Start { id, table, word, pk, from, to, form } => {
            let (listener, table) = match id {
                Some(id) => (id, table),
                None => (old_form("full-sync start", table), word),
            };
            let part = FullSyncPart { table, key_column: pk, from, to };
            let asked = (config, groups);
            event_worker::start_full_sync(asked, &listener, part, form.output()).await?;
            return Ok(Exit::Done);
        }
        FullSyncVerb::List(form) => {
            event_worker::list_full_syncs(config, groups, form.output()).await?;
            return Ok(Exit::Done);
        }
        FullSyncVerb::Watch { id } => {
            return event_worker::watch_full_syncs(config, groups, id.as_deref()).await;
        }
        FullSyncVerb::Pause { id } => (id, FullSyncWish::Pause),
        FullSyncVerb::Resume { id } => (id, FullSyncWish::Resume),
        FullSyncVerb::Cancel { id } => (id, FullSyncWish::Cancel),
    };
    event_worker::wish_full_sync(config, groups, &id, wish).await?;
    Ok(Exit::Done)
}

/// The id of a listener in the old form, without -t: the first word of the command.
fn old_form(command: &str, word: Option<String>) -> String {
    let id = word.unwrap_or_default();
    warn!("a listener without -t is the old form; write event-worker {command} -t {id} instead");
    id
}

async fn listen(config: &Path, id: &str, supervisor: Option<PathBuf>) -> Result<(), Error> {
    let stop = stop_on_signal()?;
    let span = error_span!("listener", id);
    match supervisor {
        Some(socket) => {
            Box::pin(event_worker::run_supervised(&socket, id, stop).instrument(span)).await
        }
        None => event_worker::run_alone(config, id, stop).instrument(span).await,
    }
}

async fn change((config, groups): (&Path, &GroupChoice), verb: ListenerVerb) -> Result<(), Error> {
    let (id, steer) = match verb {
        ListenerVerb::Reset { id, to, topic, partition, dry_run } => {
            let part = ResetPart { topic, partition };
            let (asked, mode) = ((config, groups), mode(dry_run));
            return event_worker::reset_listener(asked, &id, (to, part), mode).await;
        }
        ListenerVerb::Skip { id, topic, partition, offset, dry_run } => {
            let record = SkippedRecord { topic, partition, offset };
            let (asked, mode) = ((config, groups), mode(dry_run));
            return event_worker::skip_record(asked, &id, record, mode).await;
        }
        ListenerVerb::Restart { id } => (id, Steer::Restart),
        ListenerVerb::Retry { id } => (id, Steer::Retry),
    };
    event_worker::steer_listener(config, groups, &id, steer).await
}

fn mode(dry_run: bool) -> ResetMode {
    if dry_run { ResetMode::DryRun } else { ResetMode::Set }
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
            Command::FullSync { verb: FullSyncVerb::Start { id, table, word, .. }, .. } => {
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
