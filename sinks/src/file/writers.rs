//! The files that are being written, one for each name, and who finishes those that are due.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::File,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant, SystemTime},
};

use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::{
    Place,
    folder::{Found, ids_in},
    line::{Line, Lines},
    part::{FileError, Part},
};
use crate::{
    figures::{Answered, Counts, Written},
    target::TargetFinding,
};

/// So many files are open at the most: before one more, that of the longest rest is finished.
const MAX_OPEN: usize = 128;

/// So many changes are known again: more than are on their way to a sink at one time.
const MAX_RECENT: usize = 65_536;

/// How often is looked whether a file is old enough.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Writers {
    place: Place,
    counts: Arc<Counts>,
    open: Mutex<Open>,
    recent: Mutex<Recent>,
}

/// The files that are open, by the names that they are made for.
#[derive(Default)]
struct Open {
    /// Whether the directory was looked through for files that were not finished.
    is_looked_through: bool,
    writers: HashMap<String, Arc<Mutex<Writer>>>,
}

/// What is written for one name.
struct Writer {
    part: Option<Part>,
    used: Instant,
}

/// The last changes that were written. After a failure some of a batch are, and after a crash the
/// last ones come again.
#[derive(Default)]
struct Recent {
    ids: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl Writers {
    pub(super) fn new(place: Place, counts: Arc<Counts>) -> Self {
        Self { place, counts, open: Mutex::default(), recent: Mutex::default() }
    }

    /// Writes the lines of changes that are not written yet, and syncs.
    pub(super) fn write(&self, lines: Lines) -> Result<(), FileError> {
        // Reads what was written before a crash, too.
        drop(self.open()?);
        for (name, mut lines) in lines.0 {
            let given = lines.len();
            lines.retain(|line| !locked(&self.recent).has(line));
            let repeated = (given - lines.len()) as u64;
            self.counts.wrote(Written { conflicts: repeated, ..Written::default() });
            if lines.is_empty() {
                continue;
            }
            let writer = self.writer(&name)?;
            let mut writer = locked(&writer);
            writer.used = Instant::now();
            for group in lines.chunk_by(|one, next| one.header == next.header) {
                self.append(&name, &mut writer, group)?;
            }
        }
        Ok(())
    }

    /// Writes lines of one header.
    fn append(&self, name: &str, writer: &mut Writer, lines: &[Line]) -> Result<(), FileError> {
        let began = Instant::now();
        let text: String = lines.iter().map(|line| line.text.as_str()).collect();
        self.part(name, writer, &lines[0].header)?.append(text.as_bytes())?;
        self.counts.answered(Answered { bytes: text.len(), took: began.elapsed() });
        self.counts.wrote(Written { rows: lines.len() as u64, ..Written::default() });
        let mut recent = locked(&self.recent);
        lines.iter().filter_map(|line| line.ev_id.as_deref()).for_each(|id| recent.note(id));
        Ok(())
    }

    /// The file to write to: another one if the one before is due, or has another header.
    fn part<'w>(
        &self,
        name: &str,
        writer: &'w mut Writer,
        header: &str,
    ) -> Result<&'w mut Part, FileError> {
        if let Some(part) = &writer.part
            && (part.is_due(&self.place, SystemTime::now()) || part.header != header)
        {
            part.finish(&self.place)?;
            writer.part = None;
        }
        let part = match writer.part.take() {
            Some(part) => part,
            None => Part::make(&self.place, name, header)?,
        };
        Ok(writer.part.insert(part))
    }

    fn writer(&self, name: &str) -> Result<Arc<Mutex<Writer>>, FileError> {
        let mut open = self.open()?;
        if let Some(writer) = open.writers.get(name) {
            return Ok(Arc::clone(writer));
        }
        if open.writers.len() >= MAX_OPEN {
            // Nobody else gets a writer now: one that only we have is not in use.
            let idle = open.writers.iter().filter(|(_, writer)| Arc::strong_count(writer) == 1);
            let oldest = idle.min_by_key(|(_, writer)| locked(writer).used);
            if let Some((name, writer)) = oldest {
                if let Some(part) = &locked(writer).part {
                    part.finish(&self.place)?;
                }
                let name = name.clone();
                open.writers.remove(&name);
            }
        }
        let writer = Arc::new(Mutex::new(Writer { part: None, used: Instant::now() }));
        open.writers.insert(name.to_owned(), Arc::clone(&writer));
        Ok(writer)
    }

    /// The files that are open. The first time, those are opened that were left unfinished.
    fn open(&self) -> Result<MutexGuard<'_, Open>, FileError> {
        let mut open = locked(&self.open);
        if !open.is_looked_through {
            let found = Found::look_through(&self.place)?;
            for path in found.finished {
                self.note_changes_in(&path);
            }
            for path in found.unfinished {
                self.take_up(&path, &mut open.writers)?;
            }
            if !open.writers.is_empty() {
                info!(files = open.writers.len(), "goes on with files that were not finished");
            }
            open.is_looked_through = true;
        }
        Ok(open)
    }

    fn take_up(
        &self,
        path: &Path,
        writers: &mut HashMap<String, Arc<Mutex<Writer>>>,
    ) -> Result<(), FileError> {
        let Some((part, whole)) = Part::open(path, &self.place, MAX_RECENT)? else {
            // Of a process that ends just now, perhaps: what it wrote is not written again.
            self.note_changes_in(path);
            return Ok(());
        };
        let Some(name) = part.name(&self.place) else { return Ok(()) };
        let mut recent = locked(&self.recent);
        whole.ev_ids.iter().for_each(|id| recent.note(id));
        let writer = Arc::new(Mutex::new(Writer { part: Some(part), used: Instant::now() }));
        // Of several of one name one goes on.
        let earlier = writers.insert(name, writer);
        match earlier.as_deref().map(locked).as_deref() {
            Some(Writer { part: Some(part), .. }) => part.finish(&self.place),
            _ => Ok(()),
        }
    }

    fn note_changes_in(&self, path: &Path) {
        // A file that cannot be read is not ours any more.
        let whole = ids_in(path, &self.place, MAX_RECENT).unwrap_or_default();
        let mut recent = locked(&self.recent);
        whole.ev_ids.iter().for_each(|id| recent.note(id));
    }

    /// Finishes the files that are due.
    fn finish_due(&self) {
        let writers: Vec<_> = locked(&self.open).writers.values().cloned().collect();
        for writer in writers {
            // One that is just written to is looked at the next time.
            let Ok(mut writer) = writer.try_lock() else { continue };
            let Some(part) = &writer.part else { continue };
            if !part.is_due(&self.place, SystemTime::now()) {
                continue;
            }
            match part.finish(&self.place) {
                Ok(()) => writer.part = None,
                Err(wrong) => warn!(error = %wrong, "a file is not finished yet: tries again"),
            }
        }
    }

    /// Whether files can be made; none is.
    pub(super) fn look(&self) -> TargetFinding {
        let directory = &self.place.directory;
        // A path without a folder is below the current one.
        let above = directory.ancestors().map(|above| match above.as_os_str().is_empty() {
            true => Path::new("."),
            false => above,
        });
        let there = above.into_iter().find(|above| above.exists()).unwrap_or(Path::new("/"));
        let shown = there.display();
        if !there.is_dir() {
            let what = format!("{shown} is no folder");
            return TargetFinding::wrong(what, format!("remove {shown}, or correct `directory`"));
        }
        let probe = there.join(format!(".dbevent-check-{}", std::process::id()));
        let made = File::create_new(&probe).and_then(|_| std::fs::remove_file(&probe));
        match made {
            Ok(()) => TargetFinding::good(format!("files can be made in {shown}")),
            Err(error) => TargetFinding::wrong(
                format!("no file can be made in {shown}: {error}"),
                format!("let the user of event-worker write there: chown USER {shown}"),
            ),
        }
    }
}

impl Recent {
    fn has(&self, line: &Line) -> bool {
        line.ev_id.as_ref().is_some_and(|id| self.ids.contains(&**id))
    }

    fn note(&mut self, id: &str) {
        if self.order.len() == MAX_RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        let id: Arc<str> = id.into();
        self.order.push_back(Arc::clone(&id));
        self.ids.insert(id);
    }
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finishes files that are due though nothing is written to them. It ends when it is dropped.
#[derive(Default)]
pub(super) struct Closer(Mutex<Option<JoinHandle<()>>>);

impl Closer {
    /// Begins, if it has not begun.
    pub(super) fn begin(&self, writers: &Arc<Writers>) {
        let mut task = locked(&self.0);
        if task.is_none() {
            *task = Some(tokio::spawn(finish_due(Arc::downgrade(writers))));
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        if let Some(task) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

async fn finish_due(writers: Weak<Writers>) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(writers) = writers.upgrade() else { return };
        // A panic in it was said already.
        let _ = tokio::task::spawn_blocking(move || writers.finish_due()).await;
    }
}
