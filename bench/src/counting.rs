//! The handler that only counts: as quick as a handler can be, so that it is not what is measured.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
};

use anyhow::{Context, Result};
use e2e::processes::read_growing;

/// What the handler reads at once.
const BUFFER_BYTES: usize = 256 << 10;

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
    let mut batches = BufReader::with_capacity(BUFFER_BYTES, std::io::stdin());
    // In a string of JSON the quotes would be escaped.
    let id = memchr::memmem::Finder::new(b"{\"EvId\":\"");
    let mut batch = Vec::new();
    while batches.read_until(b'\n', &mut batch)? > 0 {
        let events = id.find_iter(&batch).count();
        file.write_all(format!("{events}\n").as_bytes())?;
        writeln!(answers, "true")?;
        answers.flush()?;
        batch.clear();
    }
    Ok(())
}

/// How many events all calls had so far.
pub(crate) fn counted(counted: &Path) -> Result<u64> {
    let text = read_growing(counted)?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| line.parse::<u64>().with_context(|| line.to_owned())).sum()
}
