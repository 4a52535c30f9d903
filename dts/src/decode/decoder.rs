//! The events of a connection in order: groups, positions, and the rows in them.

use std::sync::Arc;

use change_event::Action;

use super::{
    error::{Error, Fault, corrupt},
    header::EventHeader,
    image::{self, Image, Span},
    reader::Reader,
    rows::{self, RowChange, RowsHead},
    statement::{self, Statement},
    tables::{Capture, Mapped, Refused, Tables},
    transaction::{FormatDescription, GtidEvent, Position, Transaction, TransactionEnd},
};

/// An event as the server sent it.
#[derive(Clone, Copy, Debug)]
pub struct RawEvent<'a> {
    /// Its header.
    pub header: EventHeader,
    /// What follows the header, without the checksum, which was compared already.
    pub body: &'a [u8],
}

/// What an event meant, apart from its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing that a reader acts on.
    Nothing,
    /// A transaction began.
    Begun,
    /// A transaction, or a statement outside of one (DDL), ended.
    Ended(TransactionEnd),
    /// The stream goes on in another file; [`Decoder::position`] says where.
    Rotated,
    /// The server has nothing new between transactions; [`Decoder::position`] is its position.
    Heartbeat,
}

/// Turns events into row changes.
///
/// After an error it must be given a new beginning with [`Decoder::restart`].
#[derive(Debug)]
pub struct Decoder {
    tables: Tables,
    position: Position,
    group: Group,
    transaction: Transaction,
    /// Row changes read in the transaction so far.
    rows: u64,
    first: Vec<Span>,
    second: Vec<Span>,
}

/// Where in a group of events the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Between two groups: what comes next begins one.
    Outside,
    /// After its GTID event.
    Named,
    /// After BEGIN.
    Body,
}

/// Raw event types (`Log_event_type` in the server's source), but for the rows events.
mod kind {
    pub(super) const QUERY: u8 = 2;
    pub(super) const STOP: u8 = 3;
    pub(super) const ROTATE: u8 = 4;
    pub(super) const INTVAR: u8 = 5;
    pub(super) const APPEND_BLOCK: u8 = 9;
    pub(super) const DELETE_FILE: u8 = 11;
    pub(super) const RAND: u8 = 13;
    pub(super) const USER_VAR: u8 = 14;
    pub(super) const FORMAT_DESCRIPTION: u8 = 15;
    pub(super) const XID: u8 = 16;
    pub(super) const BEGIN_LOAD_QUERY: u8 = 17;
    pub(super) const EXECUTE_LOAD_QUERY: u8 = 18;
    pub(super) const TABLE_MAP: u8 = 19;
    pub(super) const INCIDENT: u8 = 26;
    pub(super) const HEARTBEAT: u8 = 27;
    pub(super) const ROWS_QUERY: u8 = 29;
    pub(super) const GTID: u8 = 33;
    pub(super) const ANONYMOUS_GTID: u8 = 34;
    pub(super) const PREVIOUS_GTIDS: u8 = 35;
    pub(super) const TRANSACTION_CONTEXT: u8 = 36;
    pub(super) const VIEW_CHANGE: u8 = 37;
    pub(super) const XA_PREPARE: u8 = 38;
    pub(super) const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub(super) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(super) const HEARTBEAT_V2: u8 = 41;
    pub(super) const GTID_TAGGED: u8 = 42;
    pub(super) const MARIADB_FIRST: u8 = 160;
    pub(super) const MARIADB_LAST: u8 = 171;
}

const NOT_FULL_IMAGE: &str = "the server did not log every column of the row; run on it \
     SET PERSIST binlog_row_image = FULL, and start from a position after that";

const INCIDENT: &str = "the server reports an incident: changes may be missing from its binlog. \
     Start from a position after this one, and send the tables anew with a full sync";

impl Decoder {
    /// A decoder that hands out the changes of the tables for which `capture` says so. It is asked
    /// once for every new table map, by schema and table.
    pub fn new(capture: impl Fn(&str, &str) -> bool + Send + 'static) -> Self {
        let position = Position { file: "".into(), pos: 4 };
        let start = position.clone();
        Self {
            tables: Tables::new(Box::new(capture) as Capture),
            position,
            group: Group::Outside,
            transaction: Transaction { gtid: None, start, commit_micros: 0, server_id: 0 },
            rows: 0,
            first: Vec::new(),
            second: Vec::new(),
        }
    }

    /// Begins anew with a connection that starts at this place, where a transaction begins.
    /// Forgets what the connection before said about tables.
    pub fn restart(&mut self, file: &str, pos: u64) {
        self.position = Position { file: file.into(), pos };
        self.tables.forget();
        self.group = Group::Outside;
        self.rows = 0;
    }

    /// The end of the last event that was decoded.
    pub fn position(&self) -> &Position {
        &self.position
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
        let (start, end) = self.position.bounds(&event.header);
        let step = match rows::action_of(event.header.kind) {
            Some(_) => {
                self.decode_rows(event, start, row)?;
                Step::Nothing
            }
            None => self.follow(event, start, end).map_err(|refused| self.error(refused, start))?,
        };
        if step != Step::Rotated && event.header.has_position() && !is_heartbeat(event) {
            self.position.pos = end;
        }
        Ok(step)
    }

    /// Every event but rows.
    fn follow(&mut self, event: &RawEvent<'_>, start: u64, end: u64) -> Result<Step, Refused> {
        let header = &event.header;
        match header.kind {
            kind::TABLE_MAP => self.tables.announce(event.body).map(|()| Step::Nothing),
            kind::GTID => Ok(self.name_group(header, GtidEvent::read(event.body)?, start)?),
            kind::ANONYMOUS_GTID => {
                let anonymous = GtidEvent { gtid: None, ..GtidEvent::read(event.body)? };
                Ok(self.name_group(header, anonymous, start)?)
            }
            kind::QUERY => Ok(self.statement(event, start, end)?),
            kind::XID if self.group == Group::Body => Ok(self.end_group(end)),
            kind::XID => Err(corrupt("a commit outside of a transaction").into()),
            kind::ROTATE => Ok(self.rotate(event.body)?),
            kind::FORMAT_DESCRIPTION => {
                FormatDescription::read(event.body)?;
                Ok(self.interrupt_group().map(|()| Step::Nothing)?)
            }
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => Ok(self.heartbeat(event)?),
            kind::STOP
            | kind::INTVAR
            | kind::RAND
            | kind::USER_VAR
            | kind::ROWS_QUERY
            | kind::PREVIOUS_GTIDS
            | kind::TRANSACTION_CONTEXT
            | kind::VIEW_CHANGE => Ok(Step::Nothing),
            kind::INCIDENT => Err(Fault::Setting(INCIDENT).into()),
            other if let Some(what) = not_handled(other) => {
                Err(Fault::NotHandled(what.to_owned()).into())
            }
            _ if header.is_ignorable() => Ok(Step::Nothing),
            other => Err(Fault::NotHandled(format!("the event type {other} is")).into()),
        }
    }

    fn name_group(
        &mut self,
        header: &EventHeader,
        named: GtidEvent,
        start: u64,
    ) -> Result<Step, Fault> {
        if self.group != Group::Outside {
            return Err(corrupt("a transaction begins before the last one ended"));
        }
        self.begin_group(header, start);
        self.group = Group::Named;
        self.transaction.gtid = named.gtid;
        if let Some(micros) = named.commit_micros {
            self.transaction.commit_micros = micros;
        }
        Ok(Step::Begun)
    }

    fn begin_group(&mut self, header: &EventHeader, start: u64) {
        self.rows = 0;
        self.transaction = Transaction {
            gtid: None,
            start: Position { file: Arc::clone(&self.position.file), pos: start },
            commit_micros: u64::from(header.timestamp).saturating_mul(1_000_000),
            server_id: header.server_id,
        };
    }

    fn end_group(&mut self, end: u64) -> Step {
        self.group = Group::Outside;
        Step::Ended(TransactionEnd {
            gtid: self.transaction.gtid.take(),
            end: Position { file: Arc::clone(&self.position.file), pos: end },
            commit_micros: self.transaction.commit_micros,
            rows: self.rows,
        })
    }

    /// The stream begins anew: a group that is open will never be finished.
    fn interrupt_group(&mut self) -> Result<(), Fault> {
        if self.group == Group::Body && self.rows > 0 {
            let what = "the transaction breaks off after rows of it were read";
            return Err(Fault::Group(what.to_owned()));
        }
        self.group = Group::Outside;
        Ok(())
    }

    fn statement(&mut self, event: &RawEvent<'_>, start: u64, end: u64) -> Result<Step, Fault> {
        let statement = Statement::of(statement::text(event.body)?);
        let was_outside = self.group == Group::Outside;
        if was_outside {
            self.begin_group(&event.header, start);
        }
        match statement {
            Statement::Begin if self.group != Group::Body => {
                self.group = Group::Body;
                Ok(if was_outside { Step::Begun } else { Step::Nothing })
            }
            Statement::Begin => Err(corrupt("a transaction begins before the last one ended")),
            Statement::Rollback | Statement::RollbackTo if self.rows > 0 => {
                let what = "the transaction takes back rows that were read already (it changed a \
                            table that has no transactions)";
                Err(Fault::Group(what.to_owned()))
            }
            Statement::Xa => Err(Fault::NotHandled("an XA transaction is".to_owned())),
            Statement::Rows => Err(Fault::NotHandled(
                "a statement that changes rows and is logged as text (a session has \
                 binlog_format other than ROW) is"
                    .to_owned(),
            )),
            Statement::Savepoint | Statement::RollbackTo | Statement::Definition
                if self.group == Group::Body =>
            {
                Ok(Step::Nothing)
            }
            _ => Ok(self.end_group(end)),
        }
    }

    fn rotate(&mut self, body: &[u8]) -> Result<Step, Fault> {
        self.interrupt_group()?;
        let mut reader = Reader::new(body);
        let pos = reader.u64()?;
        let file = file_name(reader.rest())?;
        if *self.position.file != *file {
            self.position.file = file.into();
        }
        self.position.pos = pos;
        Ok(Step::Rotated)
    }

    fn heartbeat(&mut self, event: &RawEvent<'_>) -> Result<Step, Fault> {
        let (file, pos) = match event.header.kind {
            kind::HEARTBEAT => (event.body, None),
            _ => read_heartbeat_v2(event.body)?,
        };
        if self.group != Group::Outside || self.position.file.as_bytes() != file {
            return Ok(Step::Nothing);
        }
        match pos {
            Some(pos) => self.position.pos = self.position.pos.max(pos),
            None => self.position.advance_to(event.header.log_pos),
        }
        Ok(Step::Heartbeat)
    }

    fn decode_rows<E: From<Error>>(
        &mut self,
        event: &RawEvent<'_>,
        start: u64,
        row: &mut impl FnMut(&RowChange<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let head = self.rows_head(event).map_err(|fault| self.error(fault.into(), start))?;
        let Some(head) = head else { return Ok(()) };
        self.walk(&head, start, row)?;
        if head.ends_statement {
            self.tables.end_statement();
        }
        Ok(())
    }

    /// The head of a rows event; `None` for one without rows.
    fn rows_head<'a>(&mut self, event: &RawEvent<'a>) -> Result<Option<RowsHead<'a>>, Fault> {
        let Some((action, version)) = rows::action_of(event.header.kind) else { return Ok(None) };
        if self.group != Group::Body {
            return Err(corrupt("rows outside of a transaction"));
        }
        let head = RowsHead::read(event.body, action, version)?;
        if head.is_dummy() {
            self.tables.end_statement();
            return Ok(None);
        }
        Ok(Some(head))
    }

    /// Goes over the rows of an event.
    fn walk<E: From<Error>>(
        &mut self,
        head: &RowsHead<'_>,
        event_pos: u64,
        row: &mut impl FnMut(&RowChange<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { tables, position, transaction, rows, first, second, .. } = self;
        let refuse = |fault, mapped| refused_rows(fault, mapped, position, event_pos);
        let mapped = tables.get(head.table_id).map_err(|fault| refuse(fault, None))?;
        check(mapped, head).map_err(|fault| refuse(fault, Some(mapped)))?;
        let (body, file) = (head.body, &position.file);
        let mut at = head.rows_start;
        while at < body.len() {
            let images = (&mut *first, &mut *second);
            at = scan_row(mapped, head, at, images).map_err(|fault| refuse(fault, Some(mapped)))?;
            if let Some(table) = &mapped.plan {
                let image = |spans| Some(Image { plan: table, body, spans, file, pos: event_pos });
                let (action, first, second) = (head.action, first.as_slice(), second.as_slice());
                let (before, after) = match action {
                    Action::Insert => (None, image(first)),
                    Action::Update => (image(first), image(second)),
                    Action::Delete => (image(first), None),
                };
                row(&RowChange {
                    table,
                    action,
                    row: *rows,
                    before,
                    after,
                    transaction,
                    event_pos,
                })?;
            }
            *rows = rows.saturating_add(1);
        }
        Ok(())
    }

    #[cold]
    fn error(&self, refused: Refused, start: u64) -> Error {
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

fn is_heartbeat(event: &RawEvent<'_>) -> bool {
    matches!(event.header.kind, kind::HEARTBEAT | kind::HEARTBEAT_V2)
}

/// What MySQL and MariaDB write that would be lost if it were passed over.
fn not_handled(event_kind: u8) -> Option<&'static str> {
    Some(match event_kind {
        kind::XA_PREPARE => "an XA transaction is",
        kind::PARTIAL_UPDATE_ROWS => {
            "a partial JSON update (binlog_row_value_options = PARTIAL_JSON) is"
        }
        kind::TRANSACTION_PAYLOAD => {
            "a compressed transaction (binlog_transaction_compression = ON) is"
        }
        kind::GTID_TAGGED => "a GTID with a tag is",
        kind::APPEND_BLOCK..=kind::DELETE_FILE
        | kind::BEGIN_LOAD_QUERY
        | kind::EXECUTE_LOAD_QUERY => "LOAD DATA that is logged as a statement is",
        kind::MARIADB_FIRST..=kind::MARIADB_LAST => "a MariaDB server is",
        _ => return None,
    })
}

/// The rows of a captured table must be whole, and those of any table as wide as its table map.
fn check(mapped: &Mapped, head: &RowsHead<'_>) -> Result<(), Fault> {
    if head.columns != mapped.layouts.len() {
        return Err(corrupt("the rows have another number of columns than their table map"));
    }
    if mapped.plan.is_some() && !head.has_all_columns() {
        return Err(Fault::Setting(NOT_FULL_IMAGE));
    }
    Ok(())
}

/// Notes where the values of the row at `at` are, and says where it ends.
fn scan_row(
    mapped: &Mapped,
    head: &RowsHead<'_>,
    at: usize,
    (first, second): (&mut Vec<Span>, &mut Vec<Span>),
) -> Result<usize, Fault> {
    let mut end = image::scan(&mapped.layouts, head.first, (head.body, at), first)?;
    if let Some(present) = head.second {
        end = image::scan(&mapped.layouts, present, (head.body, end), second)?;
    }
    if end == at { Err(corrupt("bytes are left over after the last row")) } else { Ok(end) }
}

#[cold]
fn refused_rows(
    fault: Fault,
    mapped: Option<&Mapped>,
    position: &Position,
    event_pos: u64,
) -> Error {
    let error = Error::new(fault, &position.file, event_pos);
    match mapped.and_then(|mapped| mapped.plan.as_ref()) {
        Some(plan) => error.of_table(&plan.schema, &plan.table),
        None => error,
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

/// File name and 64-bit position of a HEARTBEAT_V2 ("Heartbeat_event_v2").
fn read_heartbeat_v2(body: &[u8]) -> Result<(&[u8], Option<u64>), Fault> {
    const END: u64 = 0;
    const FILE_NAME: u64 = 1;
    const POSITION: u64 = 2;
    let (mut file, mut pos) = (&[][..], None);
    let mut reader = Reader::new(body);
    while !reader.is_empty() {
        match reader.length_encoded()? {
            END => break,
            FILE_NAME => file = reader.string()?,
            POSITION => pos = Some(Reader::new(reader.string()?).length_encoded()?),
            _ => {
                reader.string()?;
            }
        }
    }
    Ok((file, pos))
}
