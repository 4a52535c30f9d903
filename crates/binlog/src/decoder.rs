//! The events of a connection in order: groups, positions, and the rows in them ("Rotate_event" in
//! the MySQL source documentation for the change of files; the other events have files of their
//! own).

mod groups;
mod mariadb_events;
mod walk;

use self::walk::Images;
use super::{
    definition::Definition,
    error::{Error, Fault, Setting, corrupt},
    event_type,
    format_description::FormatDescription,
    gtid_event::GtidEvent,
    header::EventHeader,
    heartbeat, mariadb,
    plan::TablePlan,
    position::FilePosition,
    reader::FieldReader,
    rows::{self, RowChange},
    savepoint::SavepointName,
    statement::LoggedStatement,
    tables::{CaptureFilter, RefusedTable, Tables},
    transaction::{Transaction, TransactionEnd},
    xa::XaOutcome,
};

/// An event as the server sent it.
#[derive(Clone, Copy, Debug)]
pub struct RawEvent<'a> {
    /// Its header.
    pub header: EventHeader,
    /// The bytes after the header, without the checksum, which was checked before.
    pub body: &'a [u8],
}

impl RawEvent<'_> {
    /// Whether the server says with this event that it has nothing else to send now.
    pub fn is_heartbeat(&self) -> bool {
        matches!(self.header.kind, event_type::HEARTBEAT | event_type::HEARTBEAT_V2)
    }

    /// Whether it is a table map or has rows.
    pub fn has_row_data(&self) -> bool {
        let kind = mariadb::plain_kind(self.header.kind).unwrap_or(self.header.kind);
        kind == event_type::TABLE_MAP || rows::action_of(kind).is_some()
    }
}

/// What an event meant, apart from its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing that a reader must act on.
    Nothing,
    /// A transaction began.
    Begun,
    /// A transaction, or a statement outside of one (DDL), ended.
    Ended(TransactionEnd),
    /// The server rolled a transaction back. Its rows, which the decoder gave out before, never
    /// were in the tables. MariaDB logs such a transaction where it also changed a temporary table.
    RolledBack(TransactionEnd),
    /// The transaction has a savepoint here. It replaces an earlier one of the same name.
    Savepoint(SavepointName),
    /// The rows after a savepoint, which the decoder gave out before, were rolled back.
    BackTo(SavepointName),
    /// The transaction has no end, because the server crashed while it wrote the transaction. Its
    /// rows, which the decoder gave out before, never were in the tables. The stream goes on in
    /// another file; [`Decoder::position`] says where.
    TornOff,
    /// A group of an XA transaction ended. Its rows, which the decoder gave out before, count only
    /// after the transaction's commit.
    Xa(XaOutcome, TransactionEnd),
    /// A statement changed rows and was logged as text, so these rows are not known. If the
    /// statement is the whole group of events, this has the group's end.
    Statement(Box<LoggedStatement>, Option<TransactionEnd>),
    /// The stream goes on in another file; [`Decoder::position`] says where.
    Rotated,
    /// The server has nothing new between transactions; [`Decoder::position`] is its position.
    Heartbeat,
}

impl Step {
    /// The end of a group of events, if this step is one.
    pub fn end(&self) -> Option<&TransactionEnd> {
        match self {
            Self::Ended(end)
            | Self::RolledBack(end)
            | Self::Xa(_, end)
            | Self::Statement(_, Some(end)) => Some(end),
            _ => None,
        }
    }
}

/// Turns events into row changes.
///
/// After an error, call [`Decoder::restart`] before the next event.
#[derive(Debug)]
pub struct Decoder {
    tables: Tables,
    position: FilePosition,
    group: EventGroup,
    transaction: Transaction,
    /// Row changes read in the transaction so far.
    rows: u64,
    /// Row changes that were given out, in all.
    given: u64,
    /// Where a compressed transaction begins, while its events are decoded: they have no position
    /// of their own.
    outer_pos: Option<u64>,
    /// Where the last event began.
    event_start: u64,
    images: Images,
    /// The plain event made from a compressed one of MariaDB.
    unpacked: Vec<u8>,
    /// Statements that may have changed the definition of a table.
    definitions: u64,
    /// The last of these statements.
    definition: Definition,
}

/// The part of a group of events that the stream has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventGroup {
    /// Between two groups: the next event begins one.
    Outside,
    /// After its GTID event.
    Named,
    /// After BEGIN.
    Body,
    /// After XA START.
    Xa,
}

const INCIDENT: Setting = Setting {
    problem: "the server reports an incident: changes may be missing from its binlog",
    variable: None,
    then: "start from a position after this one, and send the tables again with a full sync",
};

impl Decoder {
    /// A decoder that hands out the changes of the tables for which `capture` returns true. It is
    /// called once for every new table map, with schema and table.
    pub fn new(capture: impl Fn(&str, &str) -> bool + Send + 'static) -> Self {
        let position = FilePosition { file: "".into(), pos: 4 };
        let start = position.clone();
        Self {
            tables: Tables::new(Box::new(capture) as CaptureFilter),
            position,
            group: EventGroup::Outside,
            transaction: Transaction { gtid: None, start, commit_micros: 0, server_id: 0 },
            rows: 0,
            given: 0,
            outer_pos: None,
            event_start: 4,
            images: Images::default(),
            unpacked: Vec::new(),
            definitions: 0,
            definition: Definition::default(),
        }
    }

    /// Prepares for a new connection that starts at this place, where a transaction begins. Forgets
    /// what the earlier connection said about tables.
    pub fn restart(&mut self, file: &str, pos: u64) {
        self.position = FilePosition { file: file.into(), pos };
        self.tables.forget();
        self.group = EventGroup::Outside;
        self.rows = 0;
        self.outer_pos = None;
    }

    /// The end of the last event that was decoded.
    pub fn position(&self) -> &FilePosition {
        &self.position
    }

    /// The transaction that is open, or the last one.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// The last statement that may have changed the definition of a table.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Where the last event began in its binlog file. For an event in a compressed transaction:
    /// where the compressed transaction began.
    pub fn event_start(&self) -> u64 {
        self.event_start
    }

    /// Row changes read in the open transaction.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Row changes of captured tables that were given out, in all.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Whether a transaction is open.
    pub fn is_in_group(&self) -> bool {
        self.group != EventGroup::Outside
    }

    /// Whether a transaction is open and its BEGIN was read. An XA transaction does not count.
    pub fn is_in_body(&self) -> bool {
        self.group == EventGroup::Body
    }

    /// Whether an XA transaction is open, before its end.
    pub fn is_in_xa(&self) -> bool {
        self.group == EventGroup::Xa
    }

    /// Between two groups: opens a transaction again that was read before, to decode its table maps
    /// and rows once more by [`Decoder::decode_again`].
    pub fn reopen(&mut self, transaction: Transaction) {
        self.transaction = transaction;
        self.rows = 0;
        self.group = EventGroup::Body;
    }

    /// Decodes an event of the transaction that was opened again. The event is at `pos`, and this
    /// many rows of the transaction come before it.
    ///
    /// # Errors
    ///
    /// As [`Decoder::decode`].
    pub fn decode_again<E: From<Error>>(
        &mut self,
        (event, pos, rows): (&RawEvent<'_>, u64, u64),
        row: &mut impl FnMut(&RowChange<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let header = EventHeader { log_pos: 0, ..event.header };
        self.outer_pos = Some(pos);
        self.rows = rows;
        self.decode(&RawEvent { header, ..*event }, row).map(drop)
    }

    /// Closes the transaction that was opened again.
    pub fn close_again(&mut self) {
        self.group = EventGroup::Outside;
        self.outer_pos = None;
    }

    /// Whether the last decoded event, a table map or rows, is of a captured table.
    pub fn captures(&self, event: &RawEvent<'_>) -> bool {
        self.tables.captures(event.body)
    }

    /// The captured table of the last decoded event, a table map or rows.
    pub fn table_of(&self, event: &RawEvent<'_>) -> Option<&TablePlan> {
        self.tables.plan_of(event.body)
    }

    /// Decodes the next event and calls `row` for each row change of a captured table in it.
    ///
    /// # Errors
    ///
    /// [`Error`], converted, when the event is not understood; and whatever `row` returns.
    pub fn decode<E: From<Error>>(
        &mut self,
        event: &RawEvent<'_>,
        row: &mut impl FnMut(&RowChange<'_>) -> Result<(), E>,
    ) -> Result<Step, E> {
        if let Some(plain) = mariadb::plain_kind(event.header.kind) {
            return self.decode_compressed(event, plain, row);
        }
        let (start, end) = self.position.bounds(&event.header);
        let start = self.outer_pos.filter(|_| event.header.log_pos == 0).unwrap_or(start);
        self.event_start = start;
        let step = match rows::action_of(event.header.kind) {
            Some(_) => {
                self.decode_rows(event, start, row)?;
                Step::Nothing
            }
            None => self.follow(event, start, end).map_err(|refused| self.error(refused, start))?,
        };
        if event.header.kind != event_type::ROTATE && !event.is_heartbeat() {
            self.go_over(event.header.has_position().then_some(end));
        }
        Ok(step)
    }

    /// Skips an event without decoding it.
    pub fn skip(&mut self, header: &EventHeader) {
        let (_, end) = self.position.bounds(header);
        self.go_over(header.has_position().then_some(end));
    }

    fn go_over(&mut self, end: Option<u64>) {
        self.position.pos = end.unwrap_or(self.position.pos);
    }

    /// Decodes every event other than rows.
    fn follow(&mut self, event: &RawEvent<'_>, start: u64, end: u64) -> Result<Step, RefusedTable> {
        let header = &event.header;
        match header.kind {
            event_type::TABLE_MAP => self.tables.announce(event.body).map(|()| Step::Nothing),
            event_type::GTID => Ok(self.name_group(header, GtidEvent::read(event.body)?, start)?),
            event_type::ANONYMOUS_GTID => {
                let anonymous = GtidEvent { gtid: None, ..GtidEvent::read(event.body)? };
                Ok(self.name_group(header, anonymous, start)?)
            }
            event_type::GTID_TAGGED => {
                Ok(self.name_group(header, GtidEvent::read_tagged(event.body)?, start)?)
            }
            mariadb::event_type::GTID => Ok(self.name_mariadb_group(event, start)?),
            event_type::TRANSACTION_PAYLOAD => Ok(self.open_payload(start)?),
            event_type::QUERY => Ok(self.query(event, start, end)?),
            event_type::EXECUTE_LOAD_QUERY => Ok(self.load(event.body)?),
            event_type::XA_PREPARE if self.group == EventGroup::Xa => {
                let outcome = XaOutcome::read(event.body)?;
                Ok(Step::Xa(outcome, self.end_group(end)))
            }
            event_type::XA_PREPARE => Err(corrupt("an XA PREPARE without its XA START").into()),
            event_type::XID if self.group == EventGroup::Body => {
                Ok(Step::Ended(self.end_group(end)))
            }
            event_type::XID => Err(corrupt("a commit outside of a transaction").into()),
            event_type::ROTATE => Ok(self.rotate(event.body)?),
            event_type::FORMAT_DESCRIPTION => {
                FormatDescription::read(event.body)?;
                Ok(if self.interrupt_group() { Step::TornOff } else { Step::Nothing })
            }
            event_type::HEARTBEAT | event_type::HEARTBEAT_V2 => Ok(self.heartbeat(event)?),
            event_type::STOP
            | event_type::INTVAR
            | event_type::RAND
            | event_type::USER_VAR
            | event_type::APPEND_BLOCK..=event_type::DELETE_FILE
            | event_type::BEGIN_LOAD_QUERY
            | event_type::ROWS_QUERY
            | event_type::PREVIOUS_GTIDS
            | event_type::TRANSACTION_CONTEXT
            | event_type::VIEW_CHANGE
            | mariadb::event_type::ANNOTATE_ROWS
            | mariadb::event_type::BINLOG_CHECKPOINT
            | mariadb::event_type::GTID_LIST
            | mariadb::event_type::START_ENCRYPTION => Ok(Step::Nothing),
            event_type::INCIDENT => Err(Fault::Setting(&INCIDENT).into()),
            _ if header.is_ignorable() => Ok(Step::Nothing),
            other => Err(Fault::NotHandled(format!("the event type {other} is")).into()),
        }
    }

    fn rotate(&mut self, body: &[u8]) -> Result<Step, Fault> {
        let is_torn = self.interrupt_group();
        let mut reader = FieldReader::new(body);
        let pos = reader.u64()?;
        let file = file_name(reader.rest())?;
        if *self.position.file != *file {
            self.position.file = file.into();
        }
        self.position.pos = pos;
        Ok(if is_torn { Step::TornOff } else { Step::Rotated })
    }

    fn heartbeat(&mut self, event: &RawEvent<'_>) -> Result<Step, Fault> {
        let (file, pos) = match event.header.kind {
            event_type::HEARTBEAT => (event.body, None),
            _ => heartbeat::read_v2(event.body)?,
        };
        if self.group != EventGroup::Outside || self.position.file.as_bytes() != file {
            return Ok(Step::Nothing);
        }
        match pos {
            Some(pos) => self.position.pos = self.position.pos.max(pos),
            None => self.position.advance_to(event.header.log_pos),
        }
        Ok(Step::Heartbeat)
    }

    #[cold]
    fn error(&self, refused: RefusedTable, start: u64) -> Error {
        let mut error = Error::new(refused.fault, &self.position.file, start);
        if let Some((schema, table)) = refused.table {
            error = error.of_table(&schema, &table);
        }
        if let Some(column) = refused.column {
            error = error.of_column(&column);
        }
        error
    }
}

/// The name of a binlog file: never empty, without a folder, and text.
fn file_name(bytes: &[u8]) -> Result<&str, Fault> {
    const MAX_BYTES: usize = 512;
    let plain = |byte: &u8| *byte > b' ' && *byte != b'/' && *byte != 0x7f;
    match std::str::from_utf8(bytes) {
        Ok(name) if matches!(bytes.len(), 1..=MAX_BYTES) && bytes.iter().all(plain) => Ok(name),
        _ => Err(corrupt("the next binlog file has no proper name")),
    }
}
