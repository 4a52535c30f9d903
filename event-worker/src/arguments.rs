//! The commands of the program `event-worker`, and their arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use event_worker::{ResetPlace, version};

use crate::{
    aside,
    called::{Called, Form},
    past::{RehearseForm, ReplayForm},
};

/// Runs listeners: gives MySQL changes to handlers in batches, until the handlers succeed.
#[derive(Parser)]
#[command(name = "event-worker", version = version::FULL, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The config file.
    #[arg(long, short, global = true, default_value = "config/db_event_listener.toml")]
    pub(crate) config: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum Command {
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
pub(crate) struct RunForm {
    /// Run only the listeners of this group: `group` in [listeners.ID]. May be given several times.
    /// Default: all listeners.
    #[arg(short, long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// Run in the background. Returns when the program is up, or shows why it does not start.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// The file for the pid, with -d. Default: `pidFile` of [supervisor].
    #[arg(long, value_name = "FILE", requires = "detach")]
    pub(crate) pid_file: Option<PathBuf>,
    /// The file for the log, with -d. Default: `logFile` of [supervisor].
    #[arg(long, value_name = "FILE", requires = "detach")]
    pub(crate) log_file: Option<PathBuf>,
    /// This is the program in the background, with the file for its pid.
    #[arg(long, hide = true)]
    pub(crate) in_background: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum GroupsVerb {
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
pub(crate) enum FullSyncVerb {
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
pub(crate) enum ListenerVerb {
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
