//! The options of the verbs.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::{
    config::Start,
    import::{MaxwellRow, Tool},
};

/// Options of `status`.
#[derive(Args)]
pub struct StatusArguments {
    /// Print the whole status, as JSON (docs/running.md describes it).
    #[arg(long)]
    pub json: bool,
}

/// Options of `healthy`.
#[derive(Args)]
pub struct HealthyArguments {
    /// Check only whether dts answers, and not whether changes move.
    #[arg(long)]
    pub alive: bool,
}

/// Options of `check`.
#[derive(Args)]
pub struct CheckArguments {
    /// Print the report as JSON (docs/running.md describes it).
    #[arg(long)]
    pub json: bool,
}

/// What to do with the saved position. For each verb but `show`, `dts` must be stopped. These verbs
/// print the position before and after.
#[derive(Subcommand)]
pub enum PositionVerb {
    /// Show the position, as JSON.
    Show,
    /// Go on from another place of the server's binlog.
    Set(SetArguments),
    /// Forget the position: the next start begins as `start` in the config says.
    Reset(ResetArguments),
    /// Go on where another tool stopped.
    Import(ImportArguments),
    /// Go on where `dts` stopped on another bus.
    TakeOver(TakeOverArguments),
}

impl PositionVerb {
    /// A mistake in the command line, though each word is right.
    pub fn mistake(&self) -> Option<String> {
        match self {
            Self::Import(arguments) => arguments.mistake(),
            _ => None,
        }
    }
}

/// What to do with the topics that `dts` writes.
#[derive(Subcommand)]
pub enum TopicsVerb {
    /// Use topics as they are now, if they have more partitions, or were deleted or made again.
    /// `dts` must be stopped.
    Adopt(AdoptArguments),
}

/// Options of `adopt`.
#[derive(Args)]
pub struct AdoptArguments {
    /// Look and print; adopt nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// A place, in one of the forms that `start` has in the config.
#[derive(Args)]
#[command(group(ArgGroup::new("place").required(true).args(["word", "gtid", "time", "file"])))]
pub struct SetArguments {
    /// "earliest": all that the server still has; "latest": only what comes after now.
    #[arg(value_parser = parse_word)]
    word: Option<Start>,
    /// After these transactions: uuid:1-5,…
    #[arg(long, value_parser = parse_gtid)]
    gtid: Option<Start>,
    /// With the first transaction committed at or after this time: 2026-01-01T00:00:00Z.
    #[arg(long, value_parser = parse_time)]
    time: Option<Start>,
    /// At a place in this binlog file.
    #[arg(long, requires = "pos")]
    file: Option<String>,
    /// The place in the file, a boundary between two transactions.
    #[arg(long, requires = "file", value_parser = clap::value_parser!(u64).range(4..))]
    pos: Option<u64>,
    /// Look and print; save nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl SetArguments {
    /// The place that the arguments name.
    pub(super) fn start(&self) -> Start {
        let file = || Start::File(self.file.clone().unwrap_or_default(), self.pos.unwrap_or(4));
        let named = self.word.as_ref().or(self.gtid.as_ref()).or(self.time.as_ref());
        named.cloned().unwrap_or_else(file)
    }
}

/// Options of `reset`.
#[derive(Args)]
pub struct ResetArguments {
    /// Look and print; forget nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// The tool, and where it stored its position.
#[derive(Args)]
pub struct ImportArguments {
    /// The tool, which must be stopped.
    #[arg(long, value_enum)]
    from: From,
    /// debezium: its offset file, or lines of key, tab and value from the topic connect-offsets; -
    /// is standard input.
    #[arg(long, required_if_eq("from", "debezium"))]
    pub(super) offsets: Option<PathBuf>,
    /// debezium: which of several, by its topic.prefix.
    #[arg(long)]
    pub(super) server: Option<String>,
    /// maxwell: the schema of its tables [default: maxwell].
    #[arg(long)]
    schema: Option<String>,
    /// maxwell: its `client_id` [default: maxwell].
    #[arg(long)]
    client_id: Option<String>,
    /// canal: meta.dat of the instance, or the JSON of the node …/cursor; - is standard input.
    #[arg(long, required_if_eq("from", "canal"))]
    pub(super) meta: Option<PathBuf>,
    /// canal: which of several.
    #[arg(long)]
    pub(super) destination: Option<String>,
    /// Replace a position that dts has already saved.
    #[arg(long)]
    pub(super) replace: bool,
    /// Look and print; save nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Options of `take-over`.
#[derive(Args)]
pub struct TakeOverArguments {
    /// The config file that `dts` used with the other bus [default: the log that it noted].
    #[arg(long)]
    pub(super) from: Option<PathBuf>,
    /// Replace a position that dts has already saved on this bus.
    #[arg(long)]
    pub(super) replace: bool,
    /// Go on although listeners have not handled all that is on the other bus.
    #[arg(long)]
    pub(super) leave_unread: bool,
    /// Look and print; save nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    Debezium,
    Maxwell,
    Canal,
}

impl ImportArguments {
    pub(super) fn tool(&self) -> Tool {
        match self.from {
            From::Debezium => Tool::Debezium,
            From::Maxwell => Tool::Maxwell,
            From::Canal => Tool::Canal,
        }
    }

    pub(super) fn maxwell_row(&self) -> MaxwellRow {
        let or_maxwell = |name: &Option<String>| name.clone().unwrap_or("maxwell".to_owned());
        MaxwellRow { schema: or_maxwell(&self.schema), client_id: or_maxwell(&self.client_id) }
    }

    /// An option of another tool would be ignored without a word.
    fn mistake(&self) -> Option<String> {
        let given = [
            ("--offsets", Tool::Debezium, self.offsets.is_some()),
            ("--server", Tool::Debezium, self.server.is_some()),
            ("--schema", Tool::Maxwell, self.schema.is_some()),
            ("--client-id", Tool::Maxwell, self.client_id.is_some()),
            ("--meta", Tool::Canal, self.meta.is_some()),
            ("--destination", Tool::Canal, self.destination.is_some()),
        ];
        let wrong = given.iter().find(|(_, tool, is_given)| *is_given && *tool != self.tool());
        wrong
            .map(|(option, tool, _)| format!("{option} is only for --from {tool:?}").to_lowercase())
    }
}

fn parse_word(text: &str) -> Result<Start, String> {
    parse(&json!(text), "write earliest or latest")
}

fn parse_gtid(text: &str) -> Result<Start, String> {
    parse(&json!({ "gtid": text }), "write a GTID set: uuid:1-5:7,…")
}

fn parse_time(text: &str) -> Result<Start, String> {
    parse(&json!({ "time": text }), "write a time in UTC: 2026-01-01T00:00:00Z")
}

fn parse(value: &Value, form: &str) -> Result<Start, String> {
    Start::parse(value).ok_or_else(|| form.to_owned())
}
