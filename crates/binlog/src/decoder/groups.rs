//! Groups of events: how they begin and end, and what the statements in them do ("Gtid_event",
//! "Query_event" and "Xid_event" in the MySQL source documentation).

use std::sync::Arc;

use super::{
    super::{
        definition::Definition,
        error::{Fault, corrupt},
        gtid_event::GtidEvent,
        header::EventHeader,
        position::FilePosition,
        savepoint::SavepointName,
        statement::{QueryEvent, Statement},
        transaction::{Transaction, TransactionEnd},
        xa::{XaOutcome, Xid},
    },
    Decoder, EventGroup, RawEvent, Step,
};

impl Decoder {
    pub(super) fn name_group(
        &mut self,
        header: &EventHeader,
        named: GtidEvent,
        start: u64,
    ) -> Result<Step, Fault> {
        if self.group != EventGroup::Outside {
            return Err(corrupt("a transaction begins before the last one ended"));
        }
        self.begin_group(header, start);
        self.group = EventGroup::Named;
        self.transaction.gtid = named.gtid;
        if let Some(micros) = named.commit_micros {
            self.transaction.commit_micros = micros;
        }
        Ok(Step::Begun)
    }

    pub(super) fn begin_group(&mut self, header: &EventHeader, start: u64) {
        self.rows = 0;
        self.transaction = Transaction {
            gtid: None,
            start: FilePosition { file: Arc::clone(&self.position.file), pos: start },
            commit_micros: u64::from(header.timestamp).saturating_mul(1_000_000),
            server_id: header.server_id,
        };
    }

    pub(super) fn end_group(&mut self, end: u64) -> TransactionEnd {
        self.group = EventGroup::Outside;
        self.outer_pos = None;
        TransactionEnd {
            gtid: self.transaction.gtid.clone(),
            end: FilePosition { file: Arc::clone(&self.position.file), pos: end },
            commit_micros: self.transaction.commit_micros,
            rows: self.rows,
        }
    }

    /// The next events come from a compressed one that begins at `start`.
    pub(super) fn open_payload(&mut self, start: u64) -> Result<Step, Fault> {
        if self.group != EventGroup::Named || self.outer_pos.is_some() {
            return Err(corrupt("a compressed transaction outside of a group"));
        }
        self.outer_pos = Some(start);
        Ok(Step::Nothing)
    }

    /// The stream begins again, so an open group will never be finished. Returns whether one was
    /// open.
    pub(super) fn interrupt_group(&mut self) -> bool {
        self.outer_pos = None;
        std::mem::replace(&mut self.group, EventGroup::Outside) != EventGroup::Outside
    }

    pub(super) fn query(
        &mut self,
        event: &RawEvent<'_>,
        start: u64,
        end: u64,
    ) -> Result<Step, Fault> {
        let query = QueryEvent::read(event.body)?;
        let was_outside = self.group == EventGroup::Outside;
        if was_outside {
            self.begin_group(&event.header, start);
        }
        let opened = if was_outside { Step::Begun } else { Step::Nothing };
        let is_open = matches!(self.group, EventGroup::Body | EventGroup::Xa);
        let text = query.utf8();
        let statement = Statement::of(&text);
        if matches!(statement, Statement::Definition | Statement::CreateSelect) {
            self.definitions = self.definitions.wrapping_add(1);
            self.definition = Definition::new(query.schema, &text);
        }
        match statement {
            Statement::Begin | Statement::XaStart if is_open => {
                Err(corrupt("a transaction begins before the last one ended"))
            }
            Statement::Begin => {
                self.group = EventGroup::Body;
                Ok(opened)
            }
            Statement::XaStart => {
                self.group = EventGroup::Xa;
                Ok(opened)
            }
            Statement::XaEnd if self.group == EventGroup::Xa => Ok(Step::Nothing),
            Statement::XaEnd => Err(corrupt("an XA END without its XA START")),
            Statement::XaCommit(name) if !is_open => {
                let outcome = XaOutcome::Committed(Xid::parse(name)?);
                Ok(Step::Xa(outcome, self.end_group(end)))
            }
            Statement::XaRollback(name) if !is_open => {
                let outcome = XaOutcome::RolledBack(Xid::parse(name)?);
                Ok(Step::Xa(outcome, self.end_group(end)))
            }
            Statement::XaCommit(_) | Statement::XaRollback(_) => {
                Err(corrupt("an XA transaction ends inside of a transaction"))
            }
            Statement::Rollback if is_open => Ok(Step::RolledBack(self.end_group(end))),
            Statement::Savepoint(name) if is_open => {
                Ok(Step::Savepoint(SavepointName::read(name)?))
            }
            Statement::RollbackTo(name) if is_open => Ok(Step::BackTo(SavepointName::read(name)?)),
            Statement::Rows | Statement::CreateSelect => {
                let end = (!is_open).then(|| self.end_group(end));
                Ok(Step::Statement(Box::new(query.logged()), end))
            }
            Statement::Nothing | Statement::Definition if is_open => Ok(Step::Nothing),
            _ => Ok(Step::Ended(self.end_group(end))),
        }
    }

    /// LOAD DATA that was logged with its file, instead of as rows ("Execute_load_query_event").
    pub(super) fn load(&mut self, body: &[u8]) -> Result<Step, Fault> {
        if !matches!(self.group, EventGroup::Body | EventGroup::Xa) {
            return Err(corrupt("LOAD DATA outside of a transaction"));
        }
        Ok(Step::Statement(Box::new(QueryEvent::read_load(body)?.logged()), None))
    }
}
