//! The stream of raw binlog events: requested from a position, watched by heartbeats. Lengths and
//! CRC32 are checked before the events are parsed.

use std::time::Duration;

use binlog::{
    Checksum, EventHeader, FIRST_POS, GtidOrigin, GtidSet, RawEvent, TRANSACTION_PAYLOAD, Unpacker,
};
use bytes::Bytes;
use futures_util::FutureExt;
use mysql_async::Sid;
use mysql_common::packets::{BinlogDumpFlags, GnoInterval, Tag, binlog_request::BinlogRequest};

use source_table::Conn;

use super::{
    connect::{away, classify, classify_dump, silent},
    first_event::{MAX_SEARCH, Search, is_head},
    mariadb,
    pulse::Pulse,
    wire::{MAX_SILENCE, Wire, server_error},
};
use crate::{
    checkpoint::SourcePosition,
    config::SourceConfig,
    error::{Error, Result},
};

/// How often an idle server sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A binlog event; its checksum was verified and cut off.
#[derive(Debug)]
pub struct Event {
    header: EventHeader,
    body: Bytes,
}

impl Event {
    /// Header and body.
    pub fn raw(&self) -> RawEvent<'_> {
        RawEvent { header: self.header, body: &self.body }
    }
}

/// A running dump of the binlog. After its first error it cannot be used any more.
pub struct Stream {
    wire: Wire,
    checksum: Checksum,
    unpacker: Unpacker,
    /// The compressed transaction that the next events come from.
    packed: Option<Bytes>,
    config: SourceConfig,
    /// Whether the dump was requested only up to the current end, where the server ends it.
    until_end: bool,
    /// Set until the first event that the server had to search for.
    search: Option<Search>,
}

/// What a dump does at the end of the binlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// Wait for more.
    Wait,
    /// Stop there.
    Stop,
}

impl Stream {
    /// Requests the binlog from the server of `conn`, from a transaction boundary on.
    ///
    /// # Errors
    ///
    /// As [`connect`](super::connect()); refused without the privilege to replicate.
    pub async fn open(
        conn: Conn,
        config: &SourceConfig,
        position: &SourcePosition,
        at_end: AtEnd,
    ) -> Result<Self> {
        let opened = open_wire(conn, config, (position, at_end));
        let (wire, conn) = match tokio::time::timeout(MAX_SILENCE, opened).await {
            Ok(wire) => wire?,
            Err(_) => return Err(silent(config, format!("no answer within {MAX_SILENCE:?}"))),
        };
        let (checksum, until_end) = (Checksum::default(), at_end == AtEnd::Stop);
        let (unpacker, packed, config) = (Unpacker::default(), None, config.clone());
        let search = Some(Search::begin(conn));
        Ok(Self { wire, checksum, unpacker, packed, config, until_end, search })
    }

    /// Waits for the next event; `None` at the end of a dump that stops there. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Away when the connection breaks or stays silent; an error names a damaged event.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        // Bytes that have already arrived need no timer.
        if let Some(ready) = self.ready() {
            return ready;
        }
        let Some(is_silent) = self.search.as_ref().map(Search::silent) else {
            return self.receive().await;
        };
        let event = tokio::select! {
            biased;
            event = self.receive() => Some(event),
            () = is_silent.cancelled() => None,
        };
        event.unwrap_or_else(|| {
            let reason = "it was asked for its binlog, sent nothing, and does not answer any more";
            Err(silent(&self.config, reason.to_owned()))
        })
    }

    /// When the last bytes came.
    pub(crate) fn pulse(&self) -> Pulse {
        self.wire.pulse().clone()
    }

    /// The next event, if it has arrived already.
    pub fn ready(&mut self) -> Option<Result<Option<Event>>> {
        // Most events are already in the buffer, and need no future.
        self.buffered().transpose().or_else(|| self.receive().now_or_never())
    }

    /// The next event in the buffer; or the end of the dump.
    fn buffered(&mut self) -> Result<Option<Option<Event>>> {
        if let Some(event) = self.unpack()? {
            return Ok(Some(Some(event)));
        }
        let packet = self.wire.buffered().map_err(|error| classify(&self.config, error))?;
        packet.map(|packet| self.take(packet)).transpose()
    }

    /// Waits for the next packet, when the buffer is empty.
    async fn receive(&mut self) -> Result<Option<Event>> {
        let packet = self.wire.next().await.map_err(|error| classify(&self.config, error))?;
        self.take(packet)
    }

    /// Reads the content of a packet.
    fn take(&mut self, packet: Bytes) -> Result<Option<Event>> {
        const EVENT: u8 = 0;
        const END: u8 = 0xfe;
        const ERROR: u8 = 0xff;
        match packet.first() {
            Some(&EVENT) => self.event(packet.slice(1..)).map(Some),
            Some(&ERROR) => Err(classify_dump(&self.config, server_error(&packet))),
            Some(&END) if self.until_end => Ok(None),
            Some(&END) => Err(away(&self.config, "the server ended the stream".to_owned())),
            _ => Err(damaged("the packet is not from the binlog".to_owned())),
        }
    }

    /// The next event of a compressed transaction, while there is one.
    fn unpack(&mut self) -> Result<Option<Event>> {
        let Some(packed) = &self.packed else { return Ok(None) };
        let event = self.unpacker.next(packed).map_err(|fault| damaged(fault.to_string()))?;
        if event.is_none() {
            self.packed = None;
        }
        Ok(event.map(|(header, body)| Event { header, body: body.into() }))
    }

    /// The event of a packet, after a check of its length and checksum.
    fn event(&mut self, bytes: Bytes) -> Result<Event> {
        let header = EventHeader::read(&bytes).map_err(|fault| damaged(fault.to_string()))?;
        if header.size as usize != bytes.len() {
            return Err(damaged(format!("{} bytes of it arrived ({header:?})", bytes.len())));
        }
        let Some(length) = self.checksum.check(&header, &bytes) else {
            return Err(damaged(format!("its CRC32 is wrong ({header:?})")));
        };
        if self.search.is_some() && !is_head(header.kind) {
            self.search = None;
            self.wire.allow_silence(MAX_SILENCE);
        }
        let body = bytes.slice(EventHeader::LEN..length);
        if header.kind == TRANSACTION_PAYLOAD {
            self.unpacker.begin(&body).map_err(|fault| damaged(fault.to_string()))?;
            self.packed = Some(body.clone());
        }
        Ok(Event { header, body })
    }
}

/// Makes a second connection to the same server, as a replica. Returns the first one, too.
async fn open_wire(
    mut conn: Conn,
    config: &SourceConfig,
    (position, at_end): (&SourcePosition, AtEnd),
) -> Result<(Wire, Conn)> {
    let is_mariadb = mariadb::is_at(&conn);
    let more = if is_mariadb { mariadb::dump_settings(position) } else { String::new() };
    let heartbeat = HEARTBEAT.as_nanos();
    let settings = format!(
        "SET @master_heartbeat_period = {heartbeat}, @source_heartbeat_period = {heartbeat}, \
         @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32', \
         SESSION net_write_timeout = 3600{more}"
    );
    let refused = |error| classify(config, error);
    let address = (config.host.as_str(), config.port);
    let mut wire = Wire::connect(address, config).await.map_err(refused)?;
    let identity = identity(&conn);
    let expected: Option<String> = conn.query_first(identity).await.map_err(refused)?;
    if Some(wire.text(identity).await.map_err(refused)?) != expected {
        let reason = "two connections reached two servers (a proxy, or a name that changes?)";
        return Err(away(config, reason.to_owned()));
    }
    wire.execute(&settings).await.map_err(refused)?;
    let mut request = request(config, position, at_end)?;
    if is_mariadb && position.gtids.is_some() {
        // The settings say where the dump begins.
        request = request.with_use_gtid(false).with_filename(b"").with_pos(FIRST_POS);
    }
    wire.dump(&request).await.map_err(|error| classify_dump(config, error))?;
    wire.allow_silence(MAX_SEARCH);
    Ok((wire, conn))
}

/// The statement that asks which server this is.
fn identity(conn: &Conn) -> &'static str {
    if mariadb::is_at(conn) {
        "SELECT CONCAT(@@hostname, ' ', @@port, ' ', @@server_id)"
    } else {
        "SELECT @@server_uuid"
    }
}

fn request<'a>(
    config: &SourceConfig,
    position: &'a SourcePosition,
    at_end: AtEnd,
) -> Result<BinlogRequest<'a>> {
    let mut request = BinlogRequest::new(config.server_id);
    if at_end == AtEnd::Stop {
        request = request.with_flags(BinlogDumpFlags::BINLOG_DUMP_NON_BLOCK);
    }
    Ok(match &position.gtids {
        Some(gtids) => request.with_use_gtid(true).with_sids(sids(gtids)?),
        None => request.with_filename(position.file.as_bytes()).with_pos(position.pos),
    })
}

fn damaged(reason: String) -> Error {
    Error::Damaged { file: String::new(), pos: 0, reason }
}

fn sids(gtids: &GtidSet) -> Result<Vec<Sid<'static>>> {
    gtids.intervals().map(|(origin, intervals)| sid(origin, intervals)).collect()
}

fn sid(origin: &GtidOrigin, intervals: &[(u64, u64)]) -> Result<Sid<'static>> {
    let mut sid = Sid::new(origin.uuid);
    if !origin.tag.is_empty() {
        let tag = Tag::new(origin.tag.clone());
        sid = sid.with_tag(tag.map_err(|error| Error::Internal(error.to_string()))?);
    }
    Ok(intervals.iter().fold(sid, |sid, (first, last)| {
        sid.with_interval(GnoInterval::new(*first, last.saturating_add(1)))
    }))
}
