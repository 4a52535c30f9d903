//! The stream of raw binlog events: requested from a position, watched by heartbeats, checked
//! by length and CRC32 before anybody parses them.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::{FutureExt, StreamExt};
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, Sid, prelude::Queryable};
use mysql_common::{
    binlog::consts::{BinlogChecksumAlg, EventType},
    packets::{GnoInterval, Tag},
};

use super::connect::{away, classify, classify_dump};
use crate::{
    config::SourceConfig,
    decode::{EventHeader, RawEvent},
    error::{Error, Result},
    gtid::{GtidSet, Origin},
    position::Position,
};

/// How often an idle server sends a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// With no event for this long, while we wait for one, the connection is dead.
const MAX_SILENCE: Duration = Duration::from_secs(15);

/// `BINLOG_IN_USE`, set in the file that is being written and cleared later: not in the CRC.
const FLAG_IN_USE: u16 = 1;

/// A binlog event as it came, its checksum verified and cut off.
#[derive(Debug)]
pub struct Event(mysql_async::binlog::events::Event);

impl Event {
    /// Header and body.
    pub fn raw(&self) -> RawEvent<'_> {
        let header = self.0.header();
        RawEvent {
            header: EventHeader {
                timestamp: header.timestamp(),
                kind: header.event_type_raw(),
                server_id: header.server_id(),
                size: header.event_size(),
                log_pos: header.log_pos(),
                flags: header.flags_raw(),
            },
            body: self.0.data(),
        }
    }

    /// Compares the checksum that came with the event, if one did.
    fn has_right_checksum(&self) -> bool {
        let raw = self.raw();
        let Some(sent) = self.0.checksum() else { return true };
        let algorithm = self.0.footer().get_checksum_alg();
        if !matches!(algorithm, Ok(Some(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32))) {
            return true;
        }
        let mut header = raw.header;
        let mut hasher = crc32fast::Hasher::new();
        let describes_format = header.kind == EventType::FORMAT_DESCRIPTION_EVENT as u8;
        if describes_format {
            header.flags &= !FLAG_IN_USE;
        }
        hasher.update(&header.write());
        hasher.update(raw.body);
        if describes_format {
            hasher.update(&[BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32 as u8]);
        }
        hasher.finalize() == u32::from_le_bytes(sent)
    }
}

/// A running dump of the binlog. After its first error it is of no more use.
pub struct Stream {
    inner: BinlogStream,
    config: SourceConfig,
    /// Where the server ends a dump that was asked for only up to now.
    until_end: bool,
}

/// Whether a dump goes on when it has reached the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// Wait for more.
    Wait,
    /// Stop there.
    Stop,
}

impl Stream {
    /// Asks the server for its binlog from a transaction boundary on.
    ///
    /// # Errors
    ///
    /// As [`connect`](super::connect()); refused without the right to replicate.
    pub async fn open(
        mut conn: Conn,
        config: &SourceConfig,
        position: &Position,
        at_end: AtEnd,
    ) -> Result<Self> {
        let nanos = HEARTBEAT.as_nanos();
        conn.query_drop(format!(
            "SET @master_heartbeat_period = {nanos}, @source_heartbeat_period = {nanos}, \
             SESSION net_write_timeout = 3600"
        ))
        .await
        .map_err(|error| classify(config, error))?;
        let mut request = BinlogStreamRequest::new(config.server_id);
        if at_end == AtEnd::Stop {
            request = request.with_non_blocking();
        }
        request = match &position.gtids {
            Some(gtids) => request.with_gtid().with_gtid_set(sids(gtids)?),
            None => request.with_filename(position.file.as_bytes()).with_pos(position.pos),
        };
        let inner = conn.get_binlog_stream(request).await;
        let inner = inner.map_err(|error| classify_dump(config, error))?;
        Ok(Self { inner, config: config.clone(), until_end: at_end == AtEnd::Stop })
    }

    /// Waits for the next event; `None` at the end of a dump that stops there. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Away when the connection breaks or stays silent; an event that is damaged is named.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        // What has arrived already needs no timer.
        if let Some(ready) = self.ready() {
            return ready;
        }
        match tokio::time::timeout(MAX_SILENCE, self.poll_inner()).await {
            Ok(event) => event,
            Err(_) => Err(away(
                &self.config,
                format!("no event and no heartbeat for {} s", MAX_SILENCE.as_secs()),
            )),
        }
    }

    /// The next event, if it has arrived already.
    pub fn ready(&mut self) -> Option<Result<Option<Event>>> {
        self.poll_inner().now_or_never()
    }

    async fn poll_inner(&mut self) -> Result<Option<Event>> {
        // The client's own parsing panics on some damaged packets.
        let next = AssertUnwindSafe(self.inner.next()).catch_unwind().await;
        let Ok(next) = next else {
            return Err(damaged("its framing cannot be read".to_owned()));
        };
        match next {
            Some(Ok(event)) => {
                let event = Event(event);
                if !event.has_right_checksum() {
                    let header = event.raw().header;
                    return Err(damaged(format!("its CRC32 is wrong ({header:?})")));
                }
                Ok(Some(event))
            }
            Some(Err(error)) => Err(classify(&self.config, error)),
            None if self.until_end => Ok(None),
            None => Err(away(&self.config, "the server ended the stream".to_owned())),
        }
    }
}

fn damaged(reason: String) -> Error {
    Error::Damaged { file: String::new(), pos: 0, reason }
}

fn sids(gtids: &GtidSet) -> Result<Vec<Sid<'static>>> {
    gtids.intervals().map(|(origin, intervals)| sid(origin, intervals)).collect()
}

fn sid(origin: &Origin, intervals: &[(u64, u64)]) -> Result<Sid<'static>> {
    let mut sid = Sid::new(origin.uuid);
    if !origin.tag.is_empty() {
        let tag = Tag::new(origin.tag.clone());
        sid = sid.with_tag(tag.map_err(|error| Error::Internal(error.to_string()))?);
    }
    Ok(intervals.iter().fold(sid, |sid, (first, last)| {
        sid.with_interval(GnoInterval::new(*first, last.saturating_add(1)))
    }))
}
