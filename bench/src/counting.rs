//! The handler that only counts: as quick as a handler can be, so that it is not what is measured.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, Write},
    path::Path,
};

use anyhow::{Context, Result};
use e2e::processes::read_growing;
use serde::de::IgnoredAny;

/// The TOML of a listener with it: from now on, as many calls at once as the machine has cores,
/// with many events each.
pub(crate) fn listener(id: &str, counted: &Path) -> Result<String> {
    let me = std::env::current_exe()?.display().to_string();
    let command = [&me, "count-events", &counted.display().to_string()];
    let workers = std::thread::available_parallelism()?;
    Ok(format!(
        "[listeners.{id}]\nworkers = {workers}\nbatchSize = 1000\nstart = \"latest\"\n\
         handler = {{ exec = {command:?}, timeout = \"60s\" }}\n"
    ))
}

/// What the handler does: for each call a line of the file says how many events it had.
pub(crate) fn count_events(counted: &Path) -> Result<()> {
    let mut file: File = OpenOptions::new().create(true).append(true).open(counted)?;
    let mut answers = std::io::stdout().lock();
    for batch in std::io::stdin().lock().lines() {
        let events = serde_json::from_str::<Vec<IgnoredAny>>(&batch?)?;
        file.write_all(format!("{}\n", events.len()).as_bytes())?;
        writeln!(answers, "true")?;
        answers.flush()?;
    }
    Ok(())
}

/// How many events all calls had so far.
pub(crate) fn counted(counted: &Path) -> Result<u64> {
    let text = read_growing(counted)?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| line.parse::<u64>().with_context(|| line.to_owned())).sum()
}
