//! The arguments of `event-worker replay` and `rehearse`.

use std::{path::Path, time::Duration};

use clap::{Args, Subcommand};
use event_worker::{
    Error, GroupChoice, Rehearsal, RehearsedHandler, ReplayBound, ReplayWish, ResetPlace,
    WantedEvents,
};
use service::exit::Exit;
use tokio_util::sync::CancellationToken;

use crate::called::{Called, Form};

/// What is rehearsed.
#[derive(Args)]
pub(super) struct RehearseForm {
    /// The listener's id: NAME of [listeners.NAME].
    #[arg(short = 't', long = "id", value_name = "ID")]
    id: String,
    /// The handler to try: 'exec PROGRAM ARGUMENT …', 'http URL' or print.
    #[arg(long, value_name = "HANDLER")]
    with: RehearsedHandler,
    /// Where to begin: earliest, latest, a time like 2026-01-31T12:00:00Z, or an offset.
    #[arg(long, value_name = "PLACE", default_value = "latest")]
    from: ResetPlace,
    /// End after so long, for example 10m. Default: at Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    lasts: Option<Duration>,
    /// End when so many events are done.
    #[arg(long, value_name = "NUMBER")]
    events: Option<u64>,
    #[command(flatten)]
    called: Called,
}

/// Which events come once more, or what becomes of a replay.
#[derive(Args)]
pub(super) struct ReplayForm {
    #[command(subcommand)]
    verb: Option<ReplayVerb>,
    /// The listener's id: NAME of [listeners.NAME].
    #[arg(short = 't', long = "id", value_name = "ID", required = true)]
    id: Option<String>,
    /// Where to begin: earliest, a time like 2026-01-31T12:00:00Z, an offset, or seq:NUMBER for the
    /// first event with this Seq or a higher one.
    #[arg(long, value_name = "PLACE", required = true)]
    from: Option<ReplayBound>,
    /// Where to end, in the same words: this event does not come. Default: where the listener is
    /// now.
    #[arg(long, value_name = "PLACE")]
    to: Option<ReplayBound>,
    /// Only this table: table or schema.table, with * and ? as wildcards.
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Only events of this key: PK of the event as a JSON object, or the value of its only column.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
    /// Also give events of keys that have newer events, so that these keys go backwards.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    called: Called,
}

#[derive(Subcommand)]
enum ReplayVerb {
    /// Shows all replays, also those that ended during the last week.
    List(Form),
    /// Pauses a replay.
    Pause { id: String },
    /// Resumes a paused replay.
    Resume { id: String },
    /// Cancels a replay: no more past events come.
    Cancel { id: String },
    /// Shows the progress of a replay until it has ended.
    Watch { id: String },
}

impl RehearseForm {
    pub(super) async fn rehearse(
        self,
        config: &Path,
        stop: CancellationToken,
    ) -> Result<Exit, Error> {
        let Self { id, with, from, lasts, events, called } = self;
        let rehearsal = Rehearsal { with, from, lasts, events };
        event_worker::rehearse((config, &called.choice()), &id, rehearsal, stop).await
    }
}

impl ReplayForm {
    pub(super) async fn replay(self, config: &Path) -> Result<Exit, Error> {
        let Self { verb, id, from, to, table, key, force, form, called } = self;
        let groups = called.choice();
        match (verb, id.zip(from)) {
            (Some(verb), _) => verb.carry_out((config, &groups)).await,
            (None, Some((id, from))) => {
                let wanted = WantedEvents { from, to, table, key, force };
                event_worker::start_replay((config, &groups), &id, &wanted, form.output()).await?;
                Ok(Exit::Done)
            }
            // The parser asks for both.
            (None, None) => Ok(Exit::Config),
        }
    }
}

impl ReplayVerb {
    async fn carry_out(self, (config, groups): (&Path, &GroupChoice)) -> Result<Exit, Error> {
        let (id, wish) = match self {
            Self::List(form) => {
                event_worker::list_replays(config, groups, form.output()).await?;
                return Ok(Exit::Done);
            }
            Self::Watch { id } => return event_worker::watch_replay(config, groups, &id).await,
            Self::Pause { id } => (id, ReplayWish::Pause),
            Self::Resume { id } => (id, ReplayWish::Resume),
            Self::Cancel { id } => (id, ReplayWish::Cancel),
        };
        event_worker::wish_replay((config, groups), &id, wish).await?;
        Ok(Exit::Done)
    }
}
