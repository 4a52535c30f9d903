//! Walks over the transactions of binlog files, to find a place in them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use binlog::{Decoder, FIRST_POS, Fault, GTID_LIST, GtidSet, Step, read_gtid_list};
use mysql_common::binlog::consts::EventType;

use super::{
    connect,
    server::Server,
    stream::{AtEnd, Stream},
};
use crate::{
    checkpoint::SourcePosition,
    config::SourceConfig,
    error::{Error, Result},
};

/// A walk from the beginning of a binlog file to the end of the last one.
pub(super) struct Scan {
    config: SourceConfig,
    stream: Stream,
    decoder: Decoder,
    place: SourcePosition,
    created: SystemTime,
}

impl Scan {
    /// Begins before the file's first transaction.
    pub(super) async fn open(config: &SourceConfig, server: &Server, file: &str) -> Result<Self> {
        let conn = connect(config).await?;
        let place = SourcePosition { gtids: None, file: file.to_owned(), pos: FIRST_POS };
        let stream = Stream::open(conn, config, &place, AtEnd::Stop).await?;
        let mut decoder = Decoder::new(|_, _| false);
        decoder.restart(file, FIRST_POS);
        let config = config.clone();
        let mut scan = Self { config, stream, decoder, place, created: UNIX_EPOCH };
        let previous = scan.read_head().await?;
        scan.place.gtids = server.gtid_executed.is_some().then_some(previous);
        Ok(scan)
    }

    /// The walk's place: between two transactions.
    pub(super) fn place(&self) -> &SourcePosition {
        &self.place
    }

    /// When the file was begun.
    pub(super) fn created(&self) -> SystemTime {
        self.created
    }

    /// Goes to the end of the next transaction and returns when it was committed; `None` at the end
    /// of the binlog.
    pub(super) async fn next(&mut self) -> Result<Option<SystemTime>> {
        while let Some(step) = self.step().await? {
            let Some(end) = step.end() else { continue };
            return Ok(Some(UNIX_EPOCH + Duration::from_micros(end.commit_micros)));
        }
        Ok(None)
    }

    /// Goes to the end of the next event; `None` at the end of the binlog. Rows are not read, and
    /// errors that would stop the stream are skipped: the walk looks for places after them.
    pub(super) async fn step(&mut self) -> Result<Option<Step>> {
        let event = match self.stream.next().await {
            Err(Error::Torn { .. }) => return self.go_on_in_next_file().await,
            event => event.map_err(|error| self.with_place(error))?,
        };
        let Some(event) = event else { return Ok(None) };
        let raw = event.raw();
        if raw.has_row_data() {
            self.decoder.skip(&raw.header);
            return Ok(Some(Step::Nothing));
        }
        let step = match self.decoder.decode(&raw, &mut |_| Ok::<_, Error>(())) {
            Err(Error::Event(error)) if !matches!(error.fault(), Fault::Corrupt(_)) => {
                self.decoder.skip(&raw.header);
                Step::Nothing
            }
            step => step?,
        };
        if let Some(end) = step.end() {
            if let (Some(gtid), Some(gtids)) = (&end.gtid, &mut self.place.gtids) {
                gtids.add(gtid);
            }
            self.follow_decoder();
        }
        Ok(Some(step))
    }

    /// The current file ends in the middle of an event, because the server crashed there. The walk
    /// goes on in the next file.
    async fn go_on_in_next_file(&mut self) -> Result<Option<Step>> {
        let file = self.decoder.position().file.to_string();
        let mut conn = connect(&self.config).await?;
        let files = Server::binlog_files(&mut conn, &self.config).await?;
        let mut later = files.iter().skip_while(|(name, _)| *name != file).skip(1);
        let Some((next, _)) = later.next() else { return Ok(None) };
        let start = SourcePosition { gtids: None, file: next.clone(), pos: FIRST_POS };
        self.stream = Stream::open(conn, &self.config, &start, AtEnd::Stop).await?;
        Ok(Some(Step::Nothing))
    }

    /// Adds the decoder's place to an error of the stream, which does not know its place.
    fn with_place(&self, error: Error) -> Error {
        match error {
            Error::Damaged { reason, .. } => {
                let (file, pos) = self.event_end();
                Error::Damaged { file: file.to_owned(), pos, reason }
            }
            other => other,
        }
    }

    /// The end of the last event, also inside a transaction.
    pub(super) fn event_end(&self) -> (&str, u64) {
        let position = self.decoder.position();
        (&position.file, position.pos)
    }

    /// Reads the events that begin every file; one of them lists all transactions before it.
    async fn read_head(&mut self) -> Result<GtidSet> {
        while let Some(event) = self.stream.next().await? {
            let raw = event.raw();
            self.decoder.decode(&raw, &mut |_| Ok::<_, Error>(()))?;
            if raw.header.kind == EventType::FORMAT_DESCRIPTION_EVENT as u8
                && raw.header.timestamp > 0
            {
                self.created = UNIX_EPOCH + Duration::from_secs(raw.header.timestamp.into());
            }
            if raw.header.kind == EventType::PREVIOUS_GTIDS_EVENT as u8 {
                self.follow_decoder();
                return GtidSet::decode(raw.body).ok_or_else(|| {
                    Error::Internal(format!("{}: its list of GTIDs is damaged", self.place.file))
                });
            }
            if raw.header.kind == GTID_LIST && raw.header.has_position() {
                self.follow_decoder();
                let list = read_gtid_list(raw.body).map_err(|fault| {
                    Error::Internal(format!("{}: its list of GTIDs: {fault}", self.place.file))
                });
                return list.map(GtidSet::from_iter);
            }
        }
        Err(Error::Internal(format!("{} has no list of previous GTIDs", self.place.file)))
    }

    fn follow_decoder(&mut self) {
        let position = self.decoder.position();
        self.place.pos = position.pos;
        self.place.file = position.file.to_string();
    }
}

/// When a binlog file was begun, by the server's clock. Our own stream is not disturbed: a reader
/// with the id 0 is nobody's replica, and the server does not cut off another reader for it.
///
/// # Errors
///
/// As [`connect`](super::connect()).
pub(crate) async fn file_created(config: &SourceConfig, file: &str) -> Result<Option<SystemTime>> {
    let nobody = SourceConfig { server_id: 0, ..config.clone() };
    let start = SourcePosition { gtids: None, file: file.to_owned(), pos: FIRST_POS };
    let conn = connect(&nobody).await?;
    let mut stream = Stream::open(conn, &nobody, &start, AtEnd::Stop).await?;
    while let Some(event) = stream.next().await? {
        let header = event.raw().header;
        if header.kind == EventType::FORMAT_DESCRIPTION_EVENT as u8 && header.timestamp > 0 {
            return Ok(Some(UNIX_EPOCH + Duration::from_secs(header.timestamp.into())));
        }
    }
    Ok(None)
}
