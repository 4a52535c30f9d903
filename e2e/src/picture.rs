//! What a listener knows of a table whose rows have versions: from a full sync and from changes.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    io::BufRead,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use mysql_async::{Conn, prelude::Queryable};
use serde::Deserialize;

use crate::recording::{Call, Event, Outcome};

/// The rows of one table, as its events made them one after the other.
///
/// Each row has an `id` and a version `v`, which only grows, also when the row is deleted and comes
/// again.
#[derive(Debug, Default)]
pub struct Picture {
    rows: BTreeMap<i64, Row>,
    versions: Versions,
    seen: HashSet<u64>,
    /// Events of a full sync, repeats left out.
    pub synced: u64,
    /// Events of changes, repeats left out.
    pub live: u64,
    /// Events that came once more, after a batch was cut off.
    pub repeated: u64,
}

/// What is demanded of the versions of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// None comes after a newer one.
    #[default]
    OnlyGrow,
    /// The source has lost the newest, and goes on from older ones.
    MayGoBack,
}

#[derive(Clone, Debug)]
struct Row {
    seq: Option<u64>,
    /// When the handler was last given it, in milliseconds since 1970.
    handled_ms: u64,
    version: i64,
    is_there: bool,
    text: String,
    last: String,
}

#[derive(Deserialize)]
struct Data {
    id: i64,
    v: i64,
    t: String,
}

impl Picture {
    /// Reads what a handler was given of one table, in the order of the bus for each key.
    ///
    /// # Errors
    ///
    /// When a row goes back to an older version, or the file cannot be read.
    pub fn read(recorded: &Path, table: &str) -> Result<Self> {
        Self::read_by(recorded, table, Versions::OnlyGrow)
    }

    /// The same, where other things may be demanded of the versions.
    ///
    /// # Errors
    ///
    /// As [`Picture::read`].
    pub fn read_by(recorded: &Path, table: &str, versions: Versions) -> Result<Self> {
        let mut picture = Self { versions, ..Self::default() };
        let file = std::fs::File::open(recorded)?;
        for line in std::io::BufReader::new(file).lines() {
            // One that a kill cut off was not answered.
            let Ok(call) = serde_json::from_str::<Call>(&line?) else { continue };
            if call.outcome == Outcome::Done {
                for event in call.events.iter().filter(|event| event.table_name == table) {
                    picture.take(call.at, event)?;
                }
            }
        }
        Ok(picture)
    }

    fn take(&mut self, handled_ms: u64, event: &Event) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        (event.ev_id.as_str(), event.bus.offset).hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            self.repeated += 1;
            return Ok(());
        }
        let Data { id, v, t } = serde_json::from_str(event.data.get())
            .with_context(|| format!("{}: {}", event.ev_id, event.data))?;
        match event.origin.as_str() {
            "full_sync" => self.synced += 1,
            _ => self.live += 1,
        }
        let is_there = event.action != "delete";
        if let Some(known) = self.rows.get(&id) {
            let grows = (v, !is_there) >= (known.version, !known.is_there);
            let numbers = (known.seq, event.seq);
            ensure!(numbers.0 < numbers.1, "row {id} goes from Seq {numbers:?}: {}", event.ev_id);
            ensure!(
                grows || self.versions == Versions::MayGoBack,
                "row {id} goes back from version {} ({}) to {v} ({} {})",
                known.version,
                known.last,
                event.action,
                event.ev_id
            );
        }
        let last = format!("{} {}", event.action, event.ev_id);
        self.rows
            .insert(id, Row { seq: event.seq, handled_ms, version: v, is_there, text: t, last });
        Ok(())
    }

    /// That it is the table, row for row. Gives how many rows that are.
    ///
    /// # Errors
    ///
    /// Names the first row that differs.
    pub async fn check(&self, server: &mut Conn, table: &str) -> Result<usize> {
        let query = format!("SELECT id, v, t FROM {table} ORDER BY id");
        let expected: Vec<(i64, i64, String)> = server.query(query).await?;
        let mut known = self.rows.iter().filter(|(_, row)| row.is_there);
        for (id, version, text) in &expected {
            let found = known.next();
            let is_right = found.is_some_and(|(found, row)| {
                (found, row.version, &row.text) == (id, *version, text)
            });
            ensure!(is_right, "{table} has row {id} at version {version}, known is {found:?}");
        }
        let more = known.next();
        ensure!(more.is_none(), "{table} has no such row: {more:?}");
        Ok(expected.len())
    }

    /// Removes the rows that no event was handled of since a moment, as a listener does that stamps
    /// its rows. Gives their ids.
    pub fn forget_older_than(&mut self, ms: u64) -> Vec<i64> {
        let is_old = |row: &Row| row.is_there && row.handled_ms < ms;
        let old = self.rows.iter().filter(|(_, row)| is_old(row)).map(|(id, _)| *id).collect();
        self.rows.retain(|_, row| !is_old(row));
        old
    }

    /// Whether it has so many rows, of whatever version.
    pub fn len(&self) -> usize {
        self.rows.values().filter(|row| row.is_there).count()
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
