//! The files of a log as the source.
//!
//! Nothing is written in the directory of the log. Its retention does not wait for a relay.

use std::{path::PathBuf, sync::Arc, time::Duration};

use event_log::{
    Error as LogError, Record, Start,
    files::{FileReader, stream_directory},
};
use service::Backoff;
use tracing::{info, warn};

use super::{AWAY, Chunk, Done, Saved, Trouble};
use crate::{
    Error,
    config::{Directory, OnGone, RelayConfig},
    place::{Mark, Place, PlaceFile},
    sieve::Sieve,
};

const READ_BYTES: usize = 1 << 20;
/// So often the files are looked at for more.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) struct FileSource {
    stream: PathBuf,
    /// Where to begin without a place.
    start: Start,
    on_gone: OnGone,
    file: Arc<PlaceFile>,
    place: Option<Place>,
    sieve: Sieve,
    reader: Option<FileReader>,
    trouble: Trouble,
}

/// Whether a log still has a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    Same,
    /// It was deleted, so it had been acknowledged.
    Deleted,
    Other,
}

impl FileSource {
    pub(super) fn open(config: &RelayConfig, directory: &Directory) -> Result<Self, Error> {
        let sieve = Sieve::new(config)?;
        let stream = stream_directory(&directory.log, &config.stream)?;
        let names = (&*config.name, &*config.stream);
        let (file, place) = PlaceFile::open(&directory.state, names)?;
        let (start, on_gone) = (config.start, config.on_gone);
        let (file, trouble) = (Arc::new(file), Trouble::default());
        Ok(Self { stream, start, on_gone, file, place, sieve, reader: None, trouble })
    }

    pub(super) async fn next(&mut self) -> Result<Chunk, Error> {
        loop {
            let (records, next, at_end) = match self.read().await {
                Ok(read) => read,
                Err(Error::Log(LogError::OffsetGone { offset, first })) => {
                    self.gone(offset, first)?;
                    continue;
                }
                Err(Error::Log(error @ LogError::TakenBack { .. })) => {
                    warn!("{error}");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(last) = records.last() {
                let through = Done { next, mark: Some(Mark::of(last)) };
                let mut records = records;
                records.retain(|record| self.sieve.passes(record));
                return Ok(Chunk { records, through });
            }
            if at_end {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
    }

    /// Reads on a thread that may wait for the disk. After an error the reader is opened again.
    async fn read(&mut self) -> Result<(Vec<Record>, u64, bool), Error> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.open_reader().await?,
        };
        let (reader, chunk) = on_thread(move || {
            let mut reader = reader;
            let chunk = reader.read(READ_BYTES);
            (reader, chunk)
        })
        .await?;
        let chunk = chunk?;
        self.reader = Some(reader);
        Ok((chunk.records, chunk.next_offset, chunk.at_end))
    }

    /// A reader at the place, after what was done is still there.
    async fn open_reader(&mut self) -> Result<FileReader, Error> {
        self.verify().await?;
        let start = self.place.as_ref().map_or(self.start, |place| Start::Offset(place.next));
        let stream = self.stream.clone();
        let reader = on_thread(move || FileReader::open(&stream, start)).await??;
        if self.place.is_none() && start == Start::Latest {
            return self.begin_at_end(reader).await;
        }
        info!(stream = %self.stream.display(), from = ?start, "relays");
        Ok(reader)
    }

    /// Keeps where the end was: what comes from now on is given, also after a crash.
    async fn begin_at_end(&mut self, mut reader: FileReader) -> Result<FileReader, Error> {
        let (reader, chunk) = on_thread(move || {
            let chunk = reader.read(1);
            (reader, chunk)
        })
        .await?;
        let chunk = chunk?;
        let next = chunk.records.first().map_or(chunk.next_offset, |record| record.offset);
        self.place = Some(Place::at(next));
        self.write().await?;
        info!(stream = %self.stream.display(), offset = next, "relays what comes from now on");
        match chunk.records.is_empty() {
            true => Ok(reader),
            false => {
                let stream = self.stream.clone();
                Ok(on_thread(move || FileReader::open(&stream, Start::Offset(next))).await??)
            }
        }
    }

    /// Goes back to before what the log took back, if it did.
    async fn verify(&mut self) -> Result<(), Error> {
        let Some(place) = &mut self.place else { return Ok(()) };
        let before = place.next;
        while let Some(mark) = place.last() {
            let stream = self.stream.clone();
            if on_thread(move || has(&stream, mark)).await?? != Has::Other {
                break;
            }
            if !place.go_back() {
                let problem = format!(
                    "{} has other records than those that were relayed until offset {}",
                    self.stream.display(),
                    mark.offset
                );
                let remedy = "this is another log: give the relay another name or another file \
                              with --state; or move the file away to begin anew";
                return Err(self.file.wrong(problem, remedy));
            }
        }
        if place.next < before {
            warn!(
                from = place.next,
                before,
                "the log has taken back records that were given before they were acknowledged: \
                 goes on before them"
            );
        }
        Ok(())
    }

    /// The next records are not there any more.
    fn gone(&mut self, offset: u64, first: u64) -> Result<(), Error> {
        if self.on_gone == OnGone::Stop {
            return Err(Error::Gone { offset, first });
        }
        warn!(offset, first, "records were deleted before this relay had them");
        self.place = Some(Place::at(first));
        Ok(())
    }

    pub(super) async fn save(&mut self, done: Done) -> Result<Saved, Error> {
        self.place.get_or_insert_default().go_on(done.next, done.mark);
        let mut backoff = Backoff::new(AWAY);
        loop {
            match self.write().await {
                Ok(()) => {
                    self.trouble.is_over("the place can be saved again");
                    return Ok(Saved::Yes);
                }
                Err(error @ Error::Io { .. }) => {
                    self.trouble.is(&error, "the place cannot be saved, so the relay waits");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn write(&self) -> Result<(), Error> {
        let Some(place) = self.place.clone() else { return Ok(()) };
        let file = Arc::clone(&self.file);
        on_thread(move || file.save(&place)).await?
    }
}

/// Whether the log has this record.
fn has(stream: &std::path::Path, mark: Mark) -> Result<Has, Error> {
    let read =
        FileReader::open(stream, Start::Offset(mark.offset)).and_then(|mut reader| reader.read(1));
    match read {
        Ok(chunk) => {
            let is_same = chunk.records.first().map(Mark::of) == Some(mark);
            Ok(if is_same { Has::Same } else { Has::Other })
        }
        Err(LogError::OffsetGone { .. }) => Ok(Has::Deleted),
        // It is past the end.
        Err(LogError::Rejected(_) | LogError::TakenBack { .. }) => Ok(Has::Other),
        Err(error) => Err(error.into()),
    }
}

async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.map_err(|error| LogError::Failed(error.to_string()).into())
}
