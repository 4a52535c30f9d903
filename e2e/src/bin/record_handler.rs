//! A handler for `exec` that writes down what it was given, and fails, hangs or dies where its
//! options say so.
//!
//! Each call is one line of the file, `{"began":ms,"at":ms,"outcome":"done","events":[…]}`, written with one
//! `write` before the answer is given: what was answered is written. A line begins with a line
//! break, so that one cut off by `kill -9` spoils no other.

use std::{
    fs::OpenOptions,
    io::{BufRead, Write},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use clap::Parser;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

#[derive(Parser)]
struct Options {
    /// The file that calls are appended to.
    file: PathBuf,
    /// Write only how many events each call had.
    #[arg(long)]
    count: bool,
    /// Fail one call in so many.
    #[arg(long, default_value_t = 0)]
    fail_one_in: u32,
    /// Never answer one call in so many.
    #[arg(long, default_value_t = 0)]
    hang_one_in: u32,
    /// Exit without an answer in one call of so many.
    #[arg(long, default_value_t = 0)]
    die_one_in: u32,
    /// Work so many milliseconds for each call.
    #[arg(long, default_value_t = 0)]
    work_ms: u64,
    /// Fail every call while this file exists.
    #[arg(long)]
    fail_while: Option<PathBuf>,
    /// Of these calls, fail only those with an id that is divisible by this.
    #[arg(long, requires = "fail_while")]
    refused_ids: Option<i64>,
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy)]
enum Outcome {
    Done,
    Failed,
    Hung,
    Died,
}

impl Outcome {
    fn choose(options: &Options, batch: &str, random: &mut SmallRng) -> Self {
        let mut happens = |one_in: u32| one_in > 0 && random.random_ratio(1, one_in);
        let is_refused = || options.refused_ids.is_none_or(|by| holds_id(batch, by));
        if options.fail_while.as_ref().is_some_and(|file| file.exists()) && is_refused() {
            return Self::Failed;
        }
        match () {
            () if happens(options.hang_one_in) => Self::Hung,
            () if happens(options.die_one_in) => Self::Died,
            () if happens(options.fail_one_in) => Self::Failed,
            () => Self::Done,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Hung => "hung",
            Self::Died => "died",
        }
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut file = OpenOptions::new().create(true).append(true).open(&options.file)?;
    // Each process of a listener makes its own choices, the same ones in no two of them.
    let mut random = SmallRng::seed_from_u64(options.seed ^ u64::from(std::process::id()));
    let (mut batches, mut line) = (std::io::stdin().lock(), String::new());
    while batches.read_line(&mut line)? > 0 {
        // A line without its end is no batch: the listener was killed.
        let Some(batch) = line.strip_suffix('\n') else { break };
        let began = now_ms()?;
        let outcome = Outcome::choose(&options, batch, &mut random);
        std::thread::park_timeout(Duration::from_millis(options.work_ms));
        let call = CallLine { began, outcome, counts: options.count };
        file.write_all(call.text(batch)?.as_bytes())?;
        answer(outcome)?;
        line.clear();
    }
    Ok(())
}

/// Whether a batch has an event whose id is divisible by a number.
fn holds_id(batch: &str, by: i64) -> bool {
    // Inside a JSON string the quotes would be escaped.
    let ids = batch.split("\"PK\":{\"id\":").skip(1);
    let ids = ids.filter_map(|rest| rest.split(['}', ',']).next()?.parse::<i64>().ok());
    ids.into_iter().any(|id| id % by == 0)
}

/// What is written of a call.
struct CallLine {
    began: u128,
    outcome: Outcome,
    /// Only how many events it had.
    counts: bool,
}

impl CallLine {
    fn text(&self, batch: &str) -> Result<String> {
        let (began, at, name) = (self.began, now_ms()?, self.outcome.name());
        let line = format!("\n{{\"began\":{began},\"at\":{at},\"outcome\":\"{name}\"");
        if !self.counts {
            return Ok(format!("{line},\"events\":{batch}}}"));
        }
        let events = serde_json::from_str::<Vec<&serde_json::value::RawValue>>(batch)?.len();
        Ok(format!("{line},\"events\":[],\"count\":{events}}}"))
    }
}

fn now_ms() -> Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())
}

fn answer(outcome: Outcome) -> Result<()> {
    let mut answers = std::io::stdout().lock();
    match outcome {
        Outcome::Done => writeln!(answers, "true")?,
        Outcome::Failed => writeln!(answers, "false")?,
        Outcome::Died => std::process::exit(3),
        Outcome::Hung => loop {
            std::thread::park_timeout(Duration::from_secs(3600));
        },
    }
    Ok(answers.flush()?)
}
