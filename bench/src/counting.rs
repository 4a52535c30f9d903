//! A handler that only counts. A handler cannot be faster, so the handler is not what is measured.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
};

use anyhow::{Context, Result};
use e2e::processes::read_growing;

/// Most batches of the benchmark are shorter.
const BATCH_BYTES: usize = 1 << 20;

/// The TOML of a listener with this handler. It begins now, and makes as many calls at once as the
/// machine has cores, with many events each.
pub(crate) fn listener(id: &str, counted: &Path) -> Result<String> {
    let me = std::env::current_exe()?.display().to_string();
    let command = [&me, "count-events", &counted.display().to_string()];
    let workers = std::thread::available_parallelism()?;
    Ok(format!(
        "[listeners.{id}]\nworkers = {workers}\nbatchSize = 1000\nstart = \"latest\"\n\
         handler = {{ exec = {command:?}, timeout = \"60s\" }}\n"
    ))
}

/// What the handler does: for each call it writes a line with the number of events. It reads
/// directly into the batch, because nothing comes after the line break of a batch before the
/// answer.
pub(crate) fn count_events(counted: &Path) -> Result<()> {
    let mut file: File = OpenOptions::new().create(true).append(true).open(counted)?;
    let (mut batches, mut answers) = (std::io::stdin().lock(), std::io::stdout().lock());
    // Inside a JSON string the quotes would be escaped.
    let id = memchr::memmem::Finder::new(b"{\"EvId\":\"");
    let (mut batch, mut length) = (vec![0; BATCH_BYTES], 0);
    loop {
        let read = batches.read(&mut batch[length..])?;
        if read == 0 {
            return Ok(());
        }
        length += read;
        if batch[..length].ends_with(b"\n") {
            let events = id.find_iter(&batch[..length]).count();
            file.write_all(format!("{events}\n").as_bytes())?;
            writeln!(answers, "true")?;
            answers.flush()?;
            length = 0;
        } else if length == batch.len() {
            batch.resize(2 * length, 0);
        }
    }
}

/// How many events all calls had so far.
pub(crate) fn counted(counted: &Path) -> Result<u64> {
    let text = read_growing(counted)?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| line.parse::<u64>().with_context(|| line.to_owned())).sum()
}
