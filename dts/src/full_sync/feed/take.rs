//! Takes rows from an answer of the server until there are enough of them.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use mysql_async::Row;
use tokio::time::Instant;

use super::{
    chunk::{Cut, Rows},
    yield_to_live::Live,
};
use source_table::{Description, RowWriter, TableResult};

/// An answer that is still being read.
pub(crate) type RowStream<'a> =
    Pin<Box<dyn Stream<Item = std::result::Result<Row, mysql_async::Error>> + Send + 'a>>;

/// The table that rows belong to, and how many rows are enough.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) described: &'a Description,
    /// The columns that order the records of a table without a primary key.
    pub(crate) key_columns: Option<&'a [String]>,
    pub(crate) cut: Cut,
    pub(crate) max_bytes: usize,
    pub(crate) live: &'a Live,
}

/// Takes enough rows and skips the rest of the answer. Returns whether there was no rest.
pub(crate) async fn take_page(
    mut stream: RowStream<'_>,
    how: How<'_>,
) -> TableResult<(Rows, bool)> {
    let (rows, is_all) = take_part(&mut stream, how).await?;
    let mut has_rest = false;
    while !is_all && let Some(row) = stream.next().await {
        row?;
        has_rest = true;
    }
    Ok((rows, !has_rest))
}

/// Takes enough rows, and returns whether the answer ended with them.
pub(crate) async fn take_part(
    stream: &mut RowStream<'_>,
    how: How<'_>,
) -> TableResult<(Rows, bool)> {
    let mut taker = Taker { rows: Rows::default(), writer: None, last: None };
    let (mut is_all, mut begun) = (false, Instant::now());
    while taker.rows.event_bytes() < how.max_bytes {
        let Some(row) = stream.next().await else {
            is_all = true;
            break;
        };
        if taker.take(row?, how)? == TakenRow::EndOfSegment {
            how.live.rest_after(begun.elapsed()).await;
            begun = Instant::now();
        }
    }
    Ok((taker.finish()?, is_all))
}

/// Whether a segment ends with a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TakenRow {
    Row,
    EndOfSegment,
}

/// Writes rows as JSON, and notes some of their keys.
struct Taker {
    rows: Rows,
    writer: Option<RowWriter>,
    last: Option<Row>,
}

impl Taker {
    fn take(&mut self, row: Row, how: How<'_>) -> TableResult<TakenRow> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(RowWriter::new(row.columns_ref(), how.described, how.key_columns)?),
        };
        let written = writer.write(&row, self.rows.buffer())?;
        self.rows.push(written);
        let ends = self.rows.is_segment_due(how.cut);
        if ends {
            self.rows.end_segment(writer.cursor(&row)?);
        }
        self.last = Some(row);
        Ok(if ends { TakenRow::EndOfSegment } else { TakenRow::Row })
    }

    fn finish(mut self) -> TableResult<Rows> {
        if self.rows.has_open_segment()
            && let (Some(writer), Some(row)) = (&self.writer, &self.last)
        {
            self.rows.end_segment(writer.cursor(row)?);
        }
        Ok(self.rows)
    }
}
