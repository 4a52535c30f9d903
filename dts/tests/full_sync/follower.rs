//! Follows a binlog, and knows the version of each row at each place.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use binlog::{Decoder, Gtid, GtidSet, Step, file_number};
use dts::{
    checkpoint::{Seq, Skip, SourcePosition},
    config::Config,
    error::Error,
    publish::Publisher,
    replica::{self, AtEnd, Server, Stream},
};
use e2e::processes::wait_until;
use event_bus::Batch;
use serde::Deserialize;
use tokio::task::JoinHandle;

/// How far something goes in the binlog.
pub(super) enum Reach {
    Place(String, u64),
    Gtids(GtidSet),
}

/// A change of a row, in the order of the binlog.
struct Passed {
    version: u64,
    gtid: Option<Gtid>,
    /// After its transaction.
    end: (Option<u64>, u64),
}

/// All changes that were read.
pub(super) struct History {
    position: SourcePosition,
    passed: Vec<Passed>,
    /// For each row, the indexes of its changes.
    of_row: HashMap<u32, Vec<usize>>,
}

/// Reads for ever.
pub(super) struct Follower {
    history: Arc<Mutex<History>>,
    task: JoinHandle<Result<()>>,
}

#[derive(Deserialize)]
struct Row {
    id: u32,
    v: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    data: Row,
}

impl History {
    /// The version of a row at a place, and whether the row changed on the way there after the
    /// first `passed` changes.
    pub(super) fn at(&self, id: u32, passed: usize, place: &Reach) -> (u64, bool) {
        let is_within = |index: &&usize| self.passed.get(**index).is_some_and(|at| at.is_in(place));
        let changes = self.of_row.get(&id).map(Vec::as_slice).unwrap_or_default();
        let last = changes.iter().rev().find(is_within);
        let version = last.and_then(|index| self.passed.get(*index)).map_or(0, |at| at.version);
        (version, last.is_some_and(|index| *index >= passed))
    }

    fn take(&mut self, rows: Vec<Row>, gtid: Option<Gtid>, end: &SourcePosition) {
        for Row { id, v } in rows {
            self.of_row.entry(id).or_default().push(self.passed.len());
            let end = (file_number(&end.file), end.pos);
            self.passed.push(Passed { version: v, gtid: gtid.clone(), end });
        }
        self.position = end.clone();
    }
}

impl Passed {
    fn is_in(&self, reach: &Reach) -> bool {
        match reach {
            Reach::Place(file, pos) => self.end <= (file_number(file), *pos),
            Reach::Gtids(set) => self.gtid.as_ref().is_some_and(|gtid| set.contains(gtid)),
        }
    }
}

impl Follower {
    pub(super) async fn start(config: &Config) -> Result<Self> {
        let mut conn = replica::connect(&config.source).await?;
        let server = Server::ask(&mut conn, &config.source).await?;
        let from =
            replica::resolve_start(&mut conn, &config.source, &server, &config.start).await?;
        let stream = Stream::open(conn, &config.source, &from, AtEnd::Wait).await?;
        let capture = Arc::clone(&config.capture);
        let mut decoder = Decoder::new(move |schema, table| capture.includes(schema, table));
        decoder.restart(&from.file, from.pos);
        let (topics, capture) = (config.bus.topics(), Arc::clone(&config.capture));
        let begun = (Skip::default(), Seq::default());
        let publisher = Publisher::new(topics, capture, server.uuid, begun);
        let history = History { position: from, passed: Vec::new(), of_row: HashMap::new() };
        let history = Arc::new(Mutex::new(history));
        let task = tokio::spawn(follow((stream, decoder), publisher, Arc::clone(&history)));
        Ok(Self { history, task })
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many changes were read.
    pub(super) fn passed(&self) -> usize {
        self.history().passed.len()
    }

    /// The place of the stream, and how many changes were read.
    pub(super) fn now(&self) -> (SourcePosition, usize) {
        let history = self.history();
        (history.position.clone(), history.passed.len())
    }

    /// Waits until the stream has come to a place.
    pub(super) async fn reach(&self, file: &str, pos: u64) -> Result<()> {
        let place = (file_number(file), pos);
        wait_until("the stream comes there", Duration::from_secs(60), async || {
            let history = self.history();
            (file_number(&history.position.file), history.position.pos) >= place
        })
        .await
        .with_context(|| format!("{file}:{pos}"))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    (mut stream, mut decoder): (Stream, Decoder),
    mut publisher: Publisher,
    history: Arc<Mutex<History>>,
) -> Result<()> {
    let mut batch = Batch::default();
    while let Some(event) = stream.next().await? {
        let step = decoder
            .decode::<Error>(&event.raw(), &mut |change| publisher.publish(change, &mut batch))?;
        let Step::Ended(end) = step else { continue };
        publisher.end_transaction(end.rows)?;
        let rows: serde_json::Result<Vec<Row>> = batch
            .records()
            .map(|record| Ok(serde_json::from_slice::<Event>(record.value)?.data))
            .collect();
        batch.clear();
        let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gtids = history.position.gtids.take();
        if let (Some(gtids), Some(gtid)) = (&mut gtids, &end.gtid) {
            gtids.add(gtid);
        }
        let position = SourcePosition { gtids, file: end.end.file.to_string(), pos: end.end.pos };
        history.take(rows?, end.gtid, &position);
    }
    Ok(())
}
