//! `event-log append`: the lines of standard input as records, for shell pipes.

mod input;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use bytesize::ByteSize;
use clap::Args;
use event_log::{
    AppLog, Error, LineForm, LineType, Reporter, ReporterConfig, SpoolConfig, WhenFull,
    proto::NewRecord,
};
use service::shutdown;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    Failure,
    connect::{Where, client},
};
use input::{Input, LineBuffer};

/// What was read has this long to come to the server after SIGTERM.
const MAX_STOPPING: Duration = Duration::from_secs(10);
/// A line that is being put into the spool has this long for it.
const MAX_SPOOLING: Duration = Duration::from_secs(1);

/// What is appended, and how.
#[derive(Args)]
pub(crate) struct AppendArguments {
    #[command(flatten)]
    at: Where,
    /// The topic of the records.
    #[arg(long, default_value = "")]
    topic: String,
    /// The key of the records.
    #[arg(long, default_value = "")]
    key: String,
    /// Each line is a JSON value; a line that is none ends the program with its number.
    #[arg(long)]
    json: bool,
    /// The type of the records: a number from 1000 on, or `app` for app logs (1101). With `app` a
    /// line is the message, or, with --json, the whole app log. Default: 1000, with --json 1201.
    #[arg(long = "type", value_name = "N|app", value_parser = parse_type)]
    kind: Option<RecordType>,
    /// `env` of app logs that do not say it.
    #[arg(long, default_value = "")]
    env: String,
    /// `system` of app logs that do not say it.
    #[arg(long, default_value = "")]
    system: String,
    /// `level` of app logs that do not say it.
    #[arg(long, default_value = "info")]
    level: String,
    /// The name by which the stream knows this pipe, so that each line is there once. Pipes that
    /// run at the same time need a name each. Default: append.HOST
    #[arg(long)]
    producer: Option<String>,
    /// A directory of this pipe alone, where lines wait on disk: lines that a killed program left
    /// there are sent by the next one. Without it they wait in memory.
    #[arg(long)]
    spool: Option<PathBuf>,
    /// The most that may wait; when it is full, nothing is read.
    #[arg(long, default_value = "64MiB")]
    spool_bytes: ByteSize,
}

#[derive(Clone, Copy)]
enum RecordType {
    Number(u32),
    App,
}

fn parse_type(text: &str) -> Result<RecordType, String> {
    match text.parse() {
        _ if text == "app" => Ok(RecordType::App),
        Ok(number) if number >= event_log::FIRST_DATA_TYPE => Ok(RecordType::Number(number)),
        _ => Err("write a number from 1000 on, or app".to_owned()),
    }
}

/// Appends all lines, and ends when the server has them durably.
pub(crate) async fn run(arguments: AppendArguments, config: &Path) -> Result<(), Failure> {
    let stop = shutdown::on_signal().map_err(|error| Error::Unavailable(error.to_string()))?;
    let client = client(config, &arguments.at)?;
    let producer = arguments.producer.clone();
    let reporter = ReporterConfig {
        stream: arguments.at.stream.clone(),
        producer: producer.unwrap_or_else(|| format!("append.{}", super::host())),
        spool: SpoolConfig {
            directory: arguments.spool.clone(),
            max_bytes: arguments.spool_bytes.as_u64(),
            when_full: WhenFull::Block,
        },
    };
    let reporter = Reporter::open(client, reporter).await?;
    let form = arguments.form();
    let mut appending = Appending { reporter, form, line: 0, marks: VecDeque::new(), durable: 0 };
    let ended = appending.all_lines(&stop).await;
    let ended = appending.end(ended, &stop).await;
    appending.reporter.close().await;
    ended.map_err(Failure::from)
}

impl AppendArguments {
    fn form(&self) -> LineForm {
        let line = match (self.kind, self.json) {
            (None, false) => LineType::TEXT,
            (None, true) => LineType::JSON,
            (Some(RecordType::Number(kind)), false) => LineType::Bytes(kind),
            (Some(RecordType::Number(kind)), true) => LineType::Json(kind),
            (Some(RecordType::App), false) => LineType::AppMessage,
            (Some(RecordType::App), true) => LineType::AppLog,
        };
        let (env, system) = (self.env.clone(), self.system.clone());
        let app = AppLog { env, system, level: self.level.clone(), ..AppLog::default() };
        LineForm { line, topic: self.topic.clone(), key: self.key.clone().into(), app }
    }
}

/// Why no more lines are read.
enum Ended {
    /// All lines were reported.
    AllRead,
    /// A stop was asked for.
    Stopped,
    /// A line is not what it should be. All before it were reported.
    WrongLine(String),
    /// The reporter takes no more.
    Failed(Error),
}

/// Lines on their way.
struct Appending {
    reporter: Reporter,
    form: LineForm,
    /// How many lines were reported.
    line: u64,
    /// Which lines the spool has below which places, as far as the server does not have them.
    marks: VecDeque<Mark>,
    /// The server has the lines up to this one.
    durable: u64,
}

/// The last of some lines, and the place after it; lines before it have the places before that.
struct Mark {
    line: u64,
    place: u64,
    lines: u64,
}

impl Appending {
    async fn all_lines(&mut self, stop: &CancellationToken) -> Ended {
        let (mut input, mut buffer) = (Input::start(), LineBuffer::default());
        loop {
            let chunk = tokio::select! {
                chunk = input.next() => chunk,
                refusal = self.reporter.refused() => return Ended::Failed(refusal),
                () = stop.cancelled() => return Ended::Stopped,
            };
            let is_last = match chunk {
                Ok(chunk) if !chunk.is_empty() => {
                    buffer.add(&chunk);
                    false
                }
                Ok(_) => true,
                Err(problem) => {
                    let line = self.line + 1;
                    return Ended::WrongLine(format!("cannot read line {line}: {problem}"));
                }
            };
            let (records, wrong) = self.records(&mut buffer, is_last);
            let mut reporting = pin!(self.report(records));
            let reported = tokio::select! {
                reported = &mut reporting => Ok(reported),
                // What is in the spool already must be counted; a full spool is not waited for.
                () = stop.cancelled() => timeout(MAX_SPOOLING, reporting).await,
            };
            match reported {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Ended::Failed(error),
                Err(_too_long) => return Ended::Stopped,
            }
            match wrong {
                Some(wrong) => return Ended::WrongLine(wrong),
                None if is_last => return Ended::AllRead,
                None => {}
            }
        }
    }

    /// The records of the lines in the buffer, and what is wrong with the line after them.
    fn records(&self, buffer: &mut LineBuffer, is_last: bool) -> (Vec<NewRecord>, Option<String>) {
        let mut records: Vec<NewRecord> = Vec::new();
        loop {
            let line = self.line + records.len() as u64 + 1;
            match buffer.next_line(is_last) {
                Ok(None) => return (records, None),
                Ok(Some(text)) => match self.form.record(&text) {
                    Ok(record) => records.push(record),
                    Err(problem) => return (records, Some(format!("line {line} {problem}"))),
                },
                Err(problem) => return (records, Some(format!("line {line} {problem}"))),
            }
        }
    }

    async fn report(&mut self, records: Vec<NewRecord>) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let place = self.reporter.report_all(&records).await?;
        let lines = records.len() as u64;
        self.line += lines;
        self.marks.push_back(Mark { line: self.line, place, lines });
        self.look();
        Ok(())
    }

    /// Finds out which lines the server has.
    fn look(&mut self) {
        let acknowledged = self.reporter.acknowledged();
        while let Some(mark) = self.marks.front() {
            let missing = mark.place.saturating_sub(acknowledged).min(mark.lines);
            self.durable = self.durable.max(mark.line - missing);
            if missing > 0 {
                return;
            }
            self.marks.pop_front();
        }
    }

    /// Waits until the server has what was reported, and says how it ended.
    async fn end(&mut self, ended: Ended, stop: &CancellationToken) -> Result<(), Error> {
        let flushed = match &ended {
            Ended::Failed(_) => Ok(()),
            _ => tokio::select! {
                flushed = self.reporter.flush() => flushed,
                () = async { stop.cancelled().await; tokio::time::sleep(MAX_STOPPING).await } => {
                    Err(Error::Unavailable(self.reporter.state().to_string()))
                }
            },
        };
        self.look();
        let durable = self.durable_lines();
        let failed = |error: Error| match error {
            Error::Refused(reason) => Error::Refused(format!("{reason}; {durable}")),
            Error::Unavailable(reason) => Error::Unavailable(format!("{reason}; {durable}")),
            Error::Rejected(reason) => Error::Rejected(format!("{reason}; {durable}")),
            other => other,
        };
        match (ended, flushed) {
            (Ended::Failed(error), _) => Err(failed(error)),
            (Ended::WrongLine(problem), Ok(())) => {
                Err(Error::Rejected(format!("{problem}; {durable}")))
            }
            (Ended::WrongLine(problem), Err(error)) => {
                Err(failed(Error::Unavailable(format!("{problem}; {error}"))))
            }
            (Ended::AllRead | Ended::Stopped, Err(error)) => Err(failed(error)),
            (Ended::AllRead, Ok(())) => {
                info!(lines = self.durable, "all lines are durable at the server");
                Ok(())
            }
            (Ended::Stopped, Ok(())) => {
                info!("stopped; {durable}");
                Ok(())
            }
        }
    }

    /// What a user can rely on.
    fn durable_lines(&self) -> String {
        let held = match (self.durable < self.line, self.reporter.keeps_what_waits()) {
            (true, true) => {
                let last = self.line;
                format!(", those up to line {last} are in the spool and sent by the next run")
            }
            (true, false) | (false, _) => String::new(),
        };
        match self.durable {
            0 => format!("no line is durable at the server{held}"),
            1 => format!("line 1 is durable at the server{held}"),
            last => format!("lines 1 to {last} are durable at the server{held}"),
        }
    }
}
