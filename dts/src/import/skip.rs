//! The part of a transaction that another tool has sent, counted in our records.

use std::sync::Arc;

use binlog::{Decoder, Step, TRANSACTION_PAYLOAD, TransactionEnd};
use event_bus::Batch;
use tracing::warn;

use super::Sent;
use crate::{
    checkpoint::{Saved, Seq, Skip},
    config::Config,
    error::{Error, Result},
    publish::Publisher,
    replica::{self, AtEnd, Stream},
};

/// Records are only counted here; at most this many bytes of them are kept.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Reads the transaction that begins at a position, up to where the tool had sent it, and returns
/// the position with that number of records to skip.
///
/// # Errors
///
/// Refused, when the transaction is shorter than the part that was sent.
pub(super) async fn skip_sent(config: &Config, saved: Saved, sent: Sent) -> Result<Saved> {
    let conn = replica::connect(&config.source).await?;
    let mut stream = Stream::open(conn, &config.source, &saved.position, AtEnd::Stop).await?;
    let mut reading = SentReading::new(config, &saved, sent);
    while let Some(event) = stream.next().await? {
        match reading.take(&event)? {
            SentPart::Before => {}
            SentPart::Inside => return Ok(Saved { skip: reading.skip(), ..saved }),
            SentPart::Ended(end) => return whole(saved, &end),
        }
    }
    Err(shorter(sent, "that transaction is not there"))
}

/// The whole transaction was sent: returns the position after it, with nothing to skip.
fn whole(mut saved: Saved, end: &TransactionEnd) -> Result<Saved> {
    let position = &mut saved.position;
    (position.file, position.pos) = (end.end.file.to_string(), end.end.pos);
    if let (Some(gtid), Some(gtids)) = (&end.gtid, &mut position.gtids) {
        gtids.add(gtid);
    }
    Ok(saved)
}

fn shorter(sent: Sent, found: &str) -> Error {
    Error::refused(
        format!(
            "the tool had sent {} events of a transaction and {} rows of the next event; on this \
             server {found}",
            sent.events, sent.rows
        ),
        "set source.hosts to the server that the tool read from; or start the tool once more, and \
         stop it when nothing is written",
    )
}

/// The result of an event.
enum SentPart {
    /// More was sent after this event.
    Before,
    /// This was the last event that was sent, or sent in part.
    Inside,
    /// This event ended the transaction, and was sent.
    Ended(TransactionEnd),
}

struct SentReading {
    decoder: Decoder,
    publisher: Publisher,
    batch: Batch,
    sent: Sent,
    /// The number of the next event, from BEGIN on; `None` before the transaction.
    next: Option<u64>,
    /// Whether the transaction is compressed: then the tool counts it as one event.
    is_packed: bool,
    /// Whether some of its rows were rolled back.
    has_taken_back: bool,
}

impl SentReading {
    fn new(config: &Config, saved: &Saved, sent: Sent) -> Self {
        let capture = Arc::clone(&config.capture);
        let mut decoder = Decoder::new(move |schema, table| capture.includes(schema, table));
        decoder.restart(&saved.position.file, saved.position.pos);
        let publisher = Publisher::new(
            config.bus.topics(),
            Arc::clone(&config.capture),
            saved.server_uuid.clone(),
            (Skip::default(), Seq::default()),
        );
        let (batch, next) = (Batch::default(), None);
        Self { decoder, publisher, batch, sent, next, is_packed: false, has_taken_back: false }
    }

    fn take(&mut self, event: &replica::Event) -> Result<SentPart> {
        self.is_packed |= event.raw().header.kind == TRANSACTION_PAYLOAD;
        if self.is_packed {
            return self.take_packed(event);
        }
        let Self { decoder, publisher, batch, sent, next, .. } = self;
        let is_last = *next == Some(sent.events);
        // Without a row count, the whole event was sent.
        let limit = if is_last && sent.rows > 0 { sent.rows } else { u64::MAX };
        let mut rows = 0;
        let step = decoder.decode(&event.raw(), &mut |change| {
            rows += 1;
            if rows <= limit { publisher.publish(change, batch) } else { Ok(()) }
        })?;
        if batch.bytes() > MAX_BATCH_BYTES {
            batch.clear();
        }
        let step = match step {
            Step::Statement(_, Some(end)) => Step::Ended(end),
            step => step,
        };
        match (step, *next) {
            (Step::Xa(..), _) => Err(in_xa()),
            (Step::Ended(end) | Step::RolledBack(end), Some(at)) if at == sent.events => {
                Ok(SentPart::Ended(end))
            }
            (Step::Ended(_) | Step::RolledBack(_) | Step::TornOff, at) => {
                let at = at.unwrap_or_default() + 1;
                Err(shorter(*sent, &format!("that transaction has {at} events")))
            }
            // In a table that is not captured, no rows are counted.
            _ if is_last && rows > 0 && rows < sent.rows => {
                Err(shorter(*sent, &format!("that event has {rows} rows")))
            }
            _ if is_last && self.has_taken_back => Err(Error::refused(
                "the tool stopped inside a transaction, and the server rolled back a part of that",
                "start the tool once more, and stop it when nothing is written",
            )),
            _ if is_last => Ok(SentPart::Inside),
            (Step::BackTo(_), at) => {
                self.has_taken_back = true;
                *next = at.map(|at| at + 1);
                Ok(SentPart::Before)
            }
            (Step::Begun, _) => {
                *next = Some(0);
                Ok(SentPart::Before)
            }
            (_, at) => {
                *next = at.map(|at| at + 1);
                Ok(SentPart::Before)
            }
        }
    }

    /// Reads an event of a compressed transaction, up to its end. The tool does not say in which of
    /// the inner events it was, only how many rows of that event it had sent. So at least this many
    /// rows of the whole transaction were sent.
    fn take_packed(&mut self, event: &replica::Event) -> Result<SentPart> {
        let Self { decoder, publisher, batch, sent, .. } = self;
        let step = decoder.decode(&event.raw(), &mut |change| {
            if change.row < sent.rows { publisher.publish(change, batch) } else { Ok(()) }
        })?;
        if batch.bytes() > MAX_BATCH_BYTES {
            batch.clear();
        }
        match step {
            Step::Xa(..) => Err(in_xa()),
            Step::Ended(end) if sent.events > 0 || sent.rows == end.rows => {
                Ok(SentPart::Ended(end))
            }
            Step::Ended(end) if sent.rows > end.rows => {
                Err(shorter(*sent, &format!("that event has {} rows", end.rows)))
            }
            Step::Ended(_) => {
                let rows = sent.rows;
                warn!(
                    rows,
                    "the tool stopped inside a compressed transaction, and does not store at which \
                     event: all rows after the first ones, as many as this count, come again"
                );
                Ok(SentPart::Inside)
            }
            _ => Ok(SentPart::Before),
        }
    }

    fn skip(&self) -> Skip {
        self.publisher.open_transaction()
    }
}

fn in_xa() -> Error {
    Error::refused(
        "the tool stopped inside an XA transaction, which dts publishes at its commit only",
        "start the tool once more, and stop it when nothing is written",
    )
}
