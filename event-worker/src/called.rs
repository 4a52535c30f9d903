//! Arguments that many commands have: which event-worker is asked, and how its answer is shown.

use clap::Args;
use event_worker::{GroupChoice, Output};

/// Which running event-worker of the config is asked.
#[derive(Args)]
pub(crate) struct Called {
    /// Ask the event-worker that runs this group of listeners. Default: with -t the one that runs
    /// the listener, else the one at [listen].
    #[arg(short, long = "group", value_name = "GROUP", global = true)]
    pub(crate) groups: Vec<String>,
}

impl Called {
    pub(crate) fn choice(self) -> GroupChoice {
        GroupChoice::new(self.groups)
    }
}

/// How to show the result.
#[derive(Args)]
pub(crate) struct Form {
    /// Print the result as JSON, with the names of the HTTP API.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Form {
    pub(crate) fn output(&self) -> Output {
        Output::json(self.json)
    }
}
