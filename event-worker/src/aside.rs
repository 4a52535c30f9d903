//! The commands for events that wait aside: `event-worker parked`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use event_worker::{Error, GroupChoice, Output, ParkedChoice, ParkedVerb};
use service::exit::Exit;

use crate::called::Called;

/// Which parked events.
#[derive(Args, Clone)]
struct ChoiceForm {
    /// The listener's id: NAME of [listeners.NAME].
    #[arg(short = 't', long = "id", value_name = "ID")]
    id: String,
    /// Only this queue, as `list` shows it.
    #[arg(long)]
    queue: Option<String>,
    /// Only events of this table: table or schema.table.
    #[arg(long)]
    table: Option<String>,
    /// Only events of this key, as `list` shows it.
    #[arg(long)]
    key: Option<String>,
    /// Only events with this text in their error.
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
}

/// What to do with events that wait aside.
#[derive(Subcommand)]
enum Verb {
    /// Shows which keys wait aside, since when, and why.
    List {
        #[command(flatten)]
        choice: ChoiceForm,
        /// Print JSON, with the names of the HTTP API.
        #[arg(long)]
        json: bool,
    },
    /// Shows the events, as the handler gets them: a JSON line each.
    Show(ChoiceForm),
    /// Calls the handler now, once for each key. What fails again stays parked.
    Retry(ChoiceForm),
    /// Gives the events again, in order, and unparks their keys.
    ///
    /// An event that fails again is tried as often as `park` says, and then parked again.
    Replay(ChoiceForm),
    /// Drops the events: the handler never gets them. They are kept in a file.
    Drop {
        #[command(flatten)]
        choice: ChoiceForm,
        /// Where to keep the events. Default: parked-ID-TIME.jsonl in this directory.
        #[arg(long, value_name = "FILE")]
        keep_in: Option<PathBuf>,
        /// Do not ask for a confirmation.
        #[arg(long)]
        yes: bool,
    },
}

impl From<ChoiceForm> for ParkedChoice {
    fn from(form: ChoiceForm) -> Self {
        let ChoiceForm { id: listener, queue, table, key, error } = form;
        Self { listener, queue, table, key, error }
    }
}

/// What is asked for, and of which event-worker.
#[derive(Args)]
pub(super) struct ParkedForm {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    called: Called,
}

impl ParkedForm {
    /// Carries out the command.
    pub(super) async fn carry_out(self, config: &Path) -> Result<Exit, Error> {
        carry_out((config, &self.called.choice()), self.verb).await
    }
}

async fn carry_out(asked: (&Path, &GroupChoice), verb: Verb) -> Result<Exit, Error> {
    match verb {
        Verb::List { choice, json } => {
            event_worker::list_parked(asked, &choice.into(), Output::json(json)).await?;
        }
        Verb::Show(choice) => event_worker::show_parked(asked, &choice.into()).await?,
        Verb::Retry(choice) => {
            return event_worker::steer_parked(asked, &choice.into(), ParkedVerb::Retry).await;
        }
        Verb::Replay(choice) => {
            return event_worker::steer_parked(asked, &choice.into(), ParkedVerb::Replay).await;
        }
        Verb::Drop { choice, keep_in, yes } => {
            return event_worker::drop_parked(asked, &choice.into(), (keep_in, yes)).await;
        }
    }
    Ok(Exit::Done)
}
