//! Reads the rows of one task over a connection of its own. Each chunk is between its two marks.

use std::sync::Arc;

use full_sync::Task;
use futures_util::StreamExt;
use mysql_async::Params;
use service::clock::now_ms;
use source_table::{
    self as table, BEGIN_SNAPSHOT, Bounds, Cursor, Description, TableError, TableResult,
};
use tokio::time::Instant;
use tracing::info;

use super::{
    chunk::{Chunk, ChunkKind, Cut, Rows},
    context::{FeedContext, ReadPiece},
    size::Size,
    take::{How, RowStream, take_page, take_part},
};
use crate::{
    checkpoint::{BinlogPlace, SourcePosition},
    error::{Error, Result},
    full_sync::{source::TableSource, tasks::place, watermark::Marks},
    replica::Conn,
};

/// Reads the table of a task.
pub(crate) struct TableReader {
    of: ReadTask,
    link: Option<SourceLink>,
    is_connected: bool,
    size: Option<Size>,
    whole: Option<Whole>,
}

/// The task that is read for.
struct ReadTask {
    common: Arc<FeedContext>,
    task: Task,
}

/// A connection to the source.
struct SourceLink {
    conn: Conn,
    marks: Marks,
}

/// One read of a whole table: its answer, partly taken.
struct Whole {
    rows: RowStream<'static>,
    described: Description,
    high: BinlogPlace,
    taken: u64,
}

impl TableReader {
    pub(crate) fn new(common: &Arc<FeedContext>, task: Task) -> Self {
        let of = ReadTask { common: Arc::clone(common), task };
        Self { of, link: None, is_connected: false, size: None, whole: None }
    }

    /// Whether the one read of a whole table has begun and not ended.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    /// After an error: whether there is a connection on which the server answered.
    pub(crate) fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// After an error: stops a read of a whole table, which cannot go on later. Returns whether
    /// there was one.
    pub(crate) fn break_off(&mut self) -> bool {
        self.link = None;
        self.whole.take().is_some()
    }

    /// Reads a piece, so that it shows all that the stream had read at `asked`.
    pub(crate) async fn read(
        &mut self,
        asked: &SourcePosition,
        piece: &ReadPiece,
    ) -> Result<Chunk> {
        if self.whole.is_some() {
            return self.read_part().await;
        }
        let mut link = match self.link.take() {
            Some(link) => link,
            None => {
                self.is_connected = false;
                let mut conn = self.of.common.source.connect().await?;
                let marks = Marks::choose(&mut conn, &self.of.common.source).await?;
                self.is_connected = true;
                SourceLink { conn, marks }
            }
        };
        let described = self.of.describe(&mut link.conn).await?;
        if described.key.is_none() {
            self.begin_whole(link, described, asked).await?;
            return self.read_part().await;
        }
        let chunk = self.read_page(&mut link, &described, (asked, piece)).await?;
        self.link = Some(link);
        Ok(chunk)
    }

    async fn read_page(
        &mut self,
        SourceLink { conn, marks }: &mut SourceLink,
        described: &Description,
        (asked, piece): (&SourcePosition, &ReadPiece),
    ) -> Result<Chunk> {
        let source = &self.of.common.source;
        let mut bounds = self.of.bounds(conn, described).await?;
        let (after, cut, kind) = match piece {
            ReadPiece::After(after) => (after.as_ref(), Cut::ByBytes, ChunkKind::Page),
            ReadPiece::Again(stretch) => {
                bounds.last = Some(stretch.up_to.clone());
                (stretch.after.as_ref(), Cut::EachRow, ChunkKind::Again)
            }
        };
        self.of.check_keys(conn, described, (after, &bounds)).await?;
        let row_bytes = described.average_row_bytes;
        let size = self.size.get_or_insert_with(|| Size::new(&self.of.common.config, row_bytes));
        let limit = self.of.common.live.limit(size.rows());
        let query = described.page_query(after, &bounds, limit);
        let query = query.map_err(|error| self.of.key_error(error))?;
        let names = (described.schema.as_str(), described.table.as_str());
        marks.low((conn, source), asked, names).await?;
        let begun = Instant::now();
        let how = how(&self.of.common, described, cut);
        let (rows, is_all) = match page(conn, query, how).await {
            Ok(taken) => taken,
            Err(TableError::Server(error)) if TableSource::took_too_long(&error) => {
                size.was_too_large();
                let is_ordered = described.key.as_ref().is_some_and(|key| key.is_ordered);
                if size.is_in_vain(is_ordered) {
                    return Err(too_slow(described));
                }
                info!(
                    task = self.of.task.id,
                    rows = size.rows(),
                    "reading takes long: the next chunk is smaller"
                );
                return Err(source.away(error.to_string()));
            }
            Err(error) => return Err(source.reading(error)),
        };
        size.read((rows.len() as u64, rows.event_bytes() as u64), begun.elapsed());
        let high = marks.high(conn, source).await?;
        marks.release(conn, source).await?;
        let is_last = is_all && (rows.len() as u64) < limit;
        Ok(self.of.chunk((rows, described), high, (kind, is_last)))
    }

    /// Begins the one read of a table that has no key.
    async fn begin_whole(
        &mut self,
        SourceLink { mut conn, marks }: SourceLink,
        described: Description,
        asked: &SourcePosition,
    ) -> Result<()> {
        let source = &self.of.common.source;
        check_whole(&described, marks)?;
        // A range belongs to a key that the table had.
        self.of.bounds(&mut conn, &described).await?;
        let max_rows = self.of.common.config.max_keyless_rows;
        if described.estimated_rows > max_rows {
            return Err(too_many_rows(&described));
        }
        source.unlimit(&mut conn).await?;
        let names = (described.schema.as_str(), described.table.as_str());
        marks.low((&mut conn, source), asked, names).await?;
        if marks != Marks::Snapshot {
            conn.query_drop(BEGIN_SNAPSHOT).await.map_err(|error| source.error(error))?;
        }
        let high = marks.high(&mut conn, source).await?;
        let query = described.page_query(None, &Bounds::default(), max_rows.saturating_add(1));
        let (sql, params) = query.map_err(|error| source.reading(error))?;
        let rows = conn.into_stream(sql, params).await;
        let rows = rows.map_err(|error| source.error(error))?.boxed();
        self.whole = Some(Whole { rows, described, high, taken: 0 });
        Ok(())
    }

    /// The next part of the one read.
    async fn read_part(&mut self) -> Result<Chunk> {
        let Some(Whole { rows, described, high, taken }) = &mut self.whole else {
            return Err(Error::Internal("no read of the whole table is open".to_owned()));
        };
        let how = how(&self.of.common, described, Cut::ByBytes);
        let part = take_part(rows, how).await;
        let (rows, is_all) = part.map_err(|error| self.of.common.source.reading(error))?;
        *taken += rows.len() as u64;
        if *taken > self.of.common.config.max_keyless_rows {
            return Err(too_many_rows(described));
        }
        let chunk = self.of.chunk((rows, described), high.clone(), (ChunkKind::Part, is_all));
        if is_all {
            self.whole = None;
        }
        Ok(chunk)
    }
}

impl ReadTask {
    /// The table as it is now.
    async fn describe(&self, conn: &mut Conn) -> Result<Description> {
        let Task { schema, table, .. } = &self.task;
        let place = place::TablePlace::read(self.task.cursor.as_ref()).map_err(|error| {
            Error::Internal(format!("cannot read the full sync's place: {error}"))
        })?;
        let described = table::describe_by(conn, (schema, table), place.by.as_deref()).await;
        described.map_err(|error| self.common.source.reading(error))?.ok_or_else(|| {
            Error::refused(
                format!("{schema}.{table} does not exist any more: it was dropped or renamed"),
                "ask for a full sync of the table that exists now",
            )
        })
    }

    /// The first and last key that were asked for.
    async fn bounds(&self, conn: &mut Conn, described: &Description) -> Result<Bounds> {
        let mut bounds = Bounds::default();
        let ends = [(&self.task.from, &mut bounds.first), (&self.task.to, &mut bounds.last)];
        for (text, bound) in ends {
            if let Some(text) = text {
                let found = described.bound(conn, text).await;
                *bound = Some(found.map_err(|error| self.common.source.reading(error))?);
            }
        }
        Ok(bounds)
    }

    /// Checks that the server reads these keys exactly. The server cuts bytes that their character
    /// set does not allow, and then a page after such a key would miss rows.
    async fn check_keys(
        &self,
        conn: &mut Conn,
        described: &Description,
        (after, bounds): (Option<&Cursor>, &Bounds),
    ) -> Result<()> {
        for cursor in after.into_iter().chain(&bounds.first).chain(&bounds.last) {
            let checked = described.check(conn, cursor).await;
            checked.map_err(|error| self.key_error(error))?;
        }
        Ok(())
    }

    /// A place in another key cannot be used, and describing the table again does not help.
    fn key_error(&self, error: TableError) -> Error {
        match error {
            TableError::Altered(reason) => {
                Error::refused(reason, "ask for the full sync again: its key was altered")
            }
            error => self.common.source.reading(error),
        }
    }

    fn chunk(
        &self,
        (rows, described): (Rows, &Description),
        high: BinlogPlace,
        (kind, is_last): (ChunkKind, bool),
    ) -> Chunk {
        let server_id = self.common.source.server.variable("server_id");
        Chunk {
            rows,
            high,
            at_ms: now_ms(),
            server_id: server_id.and_then(|id| id.parse().ok()).unwrap_or_default(),
            kind,
            shape: described.shape(),
            is_last,
        }
    }
}

fn how<'a>(common: &'a FeedContext, described: &'a Description, cut: Cut) -> How<'a> {
    let key_columns = common.capture.key_columns(&described.schema, &described.table);
    How { described, key_columns, cut, max_bytes: common.config.chunk_bytes, live: &common.live }
}

async fn page(
    conn: &mut Conn,
    (sql, params): (String, Params),
    how: How<'_>,
) -> TableResult<(Rows, bool)> {
    let rows = conn.exec_stream(sql, params).await?;
    take_page(rows.boxed(), how).await
}

/// Refuses a table without a key that cannot be read at one moment.
pub(crate) fn check_whole(described: &Description, marks: Marks) -> Result<()> {
    match marks {
        Marks::Lock(why) => Err(not_at_one_moment(described, why.remedy())),
        _ if !described.is_transactional => {
            Err(not_at_one_moment(described, "change its engine to InnoDB"))
        }
        _ => Ok(()),
    }
}

fn not_at_one_moment(described: &Description, remedy: &str) -> Error {
    Error::refused(
        format!(
            "{} has no key, so it must be read in one piece, which needs a lock here",
            described.name()
        ),
        format!("give the table a primary key; or {remedy}"),
    )
}

fn too_many_rows(described: &Description) -> Error {
    Error::refused(
        format!("{} has no key, and more than fullSync.maxKeylessRows rows", described.name()),
        "give the table a primary key, or raise fullSync.maxKeylessRows in dts.toml",
    )
}

fn too_slow(described: &Description) -> Error {
    let key = described.key.as_ref().map_or("", |key| key.index.as_str());
    Error::refused(
        format!(
            "the server reads {} too slowly by the key {key}, even a few rows at a time",
            described.name()
        ),
        "give the table a primary key, or a unique key over whole columns that are NOT NULL",
    )
}
