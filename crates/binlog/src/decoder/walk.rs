//! The rows of an event, one after the other ("Rows_event" in the MySQL source documentation;
//! partial JSON values: "Partial_update_rows_event").

use change_event::Action;

use super::{
    super::{
        error::{Error, Fault, Setting, corrupt},
        image::{self, Diffs, Image, ValueSpan},
        position::FilePosition,
        reader::FieldReader,
        rows::{self, RowChange, RowsHead},
        tables::Mapped,
    },
    Decoder, EventGroup, RawEvent,
};

/// Where the values of the current row are. It is kept between rows, so that a row needs no
/// allocation.
#[derive(Debug, Default)]
pub(super) struct Images {
    first: Vec<ValueSpan>,
    second: Vec<ValueSpan>,
    /// The columns for which the second image has differences instead of a value.
    diffs: Vec<usize>,
}

const EMPTY_ROWS: Setting = Setting {
    problem: "rows were inserted, but none of their columns was logged: not even the number of \
              rows is known",
    variable: Some(("binlog_row_image", "FULL")),
    then: "start from a position after this one, and load the table again",
};

const NO_DOCUMENT: Setting = Setting {
    problem: "a JSON column was logged as a difference to a document that was not logged, so \
              its value is not known",
    variable: Some(("binlog_row_value_options", "''")),
    then: "or binlog_row_image = FULL; start from a position after this one, and load the table again",
};

impl Decoder {
    pub(super) fn decode_rows<E: From<Error>>(
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
        if !matches!(self.group, EventGroup::Body | EventGroup::Xa) {
            return Err(corrupt("rows outside of a transaction"));
        }
        let head = RowsHead::read(event.body, action, version)?;
        if head.is_dummy() {
            self.tables.end_statement();
            return Ok(None);
        }
        Ok(Some(head))
    }

    /// Goes through the rows of an event.
    fn walk<E: From<Error>>(
        &mut self,
        head: &RowsHead<'_>,
        event_pos: u64,
        row: &mut impl FnMut(&RowChange<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { tables, position, transaction, rows, given, images, .. } = self;
        let refuse = |fault, mapped| refused_rows(fault, mapped, position, event_pos);
        let mapped = tables.get(head.table_id).map_err(|fault| refuse(fault, None))?;
        check(mapped, head).map_err(|fault| refuse(fault, Some(mapped)))?;
        let (body, file) = (head.body, &position.file);
        let mut at = head.rows_start;
        while at < body.len() {
            at = images.scan(mapped, head, at).map_err(|fault| refuse(fault, Some(mapped)))?;
            if let Some(plan) = &mapped.plan {
                let Images { first, second, diffs } = &*images;
                let image = |spans| Image { plan, body, spans, file, pos: event_pos, diffs: None };
                let changed = || Image {
                    diffs: (!diffs.is_empty()).then_some(Diffs { columns: diffs, before: first }),
                    ..image(second)
                };
                let (before, after) = match head.action {
                    Action::Insert => (None, Some(image(first))),
                    Action::Update => (Some(image(first)), Some(changed())),
                    Action::Delete => (Some(image(first)), None),
                };
                let (table, action, row_number) = (plan, head.action, *rows);
                *given = given.saturating_add(1);
                row(&RowChange {
                    table,
                    action,
                    row: row_number,
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
}

impl Images {
    /// Notes where the values of the row at `at` are, and returns where the row ends.
    fn scan(&mut self, mapped: &Mapped, head: &RowsHead<'_>, at: usize) -> Result<usize, Fault> {
        let Self { first, second, diffs } = self;
        diffs.clear();
        let mut end = image::scan(&mapped.layouts, head.first, (head.body, at), first)?;
        if let Some(present) = head.second {
            if head.may_have_diffs {
                end = read_options(mapped, (head.body, end), diffs)?;
            }
            end = image::scan(&mapped.layouts, present, (head.body, end), second)?;
            self.settle_diffs(mapped)?;
        }
        if end == at { Err(corrupt("bytes are left over after the last row")) } else { Ok(end) }
    }

    /// Checks the JSON differences of an update. A difference can be used only together with the
    /// document in the row before. To leave the column out instead would say that the column did
    /// not change.
    fn settle_diffs(&mut self, mapped: &Mapped) -> Result<(), Fault> {
        let Self { first, second, diffs } = self;
        let mut outcome = Ok(());
        diffs.retain(|&column| {
            let (Some(before), Some(after)) = (first.get(column), second.get_mut(column)) else {
                return false;
            };
            match (*before, *after) {
                (_, ValueSpan::ABSENT | ValueSpan::NULL) => return false,
                (ValueSpan::ABSENT, difference) => {
                    *after = ValueSpan::ABSENT;
                    if mapped.plan.is_some() && !difference.is_empty() {
                        outcome = Err(Fault::Setting(&NO_DOCUMENT));
                    }
                }
                (ValueSpan::NULL, _) => {
                    outcome = Err(corrupt("a JSON difference without a document"));
                }
                _ => {}
            }
            *after != ValueSpan::ABSENT
        });
        outcome
    }
}

/// Reads what a PARTIAL_UPDATE_ROWS event has before its second image: the options. If the options
/// say so, a bit follows for each JSON column of the table, also for columns that are not logged.
/// Returns where the image begins.
fn read_options(
    mapped: &Mapped,
    (body, at): (&[u8], usize),
    diffs: &mut Vec<usize>,
) -> Result<usize, Fault> {
    const PARTIAL_JSON: u64 = 1;
    let mut reader = FieldReader::new(body.get(at..).unwrap_or_default());
    let options = reader.length_encoded()?;
    if options & !PARTIAL_JSON != 0 {
        return Err(Fault::NotHandled("an update with a new kind of partial value is".to_owned()));
    }
    if options & PARTIAL_JSON != 0 {
        let bits = reader.take(mapped.json_columns.len().div_ceil(8))?;
        let columns = mapped.json_columns.iter().enumerate();
        diffs.extend(
            columns.filter(|(n, _)| super::super::table_map::bit(bits, *n)).map(|(_, at)| at),
        );
    }
    Ok(body.len().saturating_sub(reader.rest().len()))
}

/// The rows must have as many columns as their table map. Rows of a captured table must have at
/// least one byte.
fn check(mapped: &Mapped, head: &RowsHead<'_>) -> Result<(), Fault> {
    if head.columns != mapped.layouts.len() {
        return Err(corrupt("the rows do not have as many columns as their table map"));
    }
    if mapped.plan.is_some() && head.is_empty() {
        return Err(Fault::Setting(&EMPTY_ROWS));
    }
    Ok(())
}

#[cold]
fn refused_rows(
    fault: Fault,
    mapped: Option<&Mapped>,
    position: &FilePosition,
    event_pos: u64,
) -> Error {
    let error = Error::new(fault, &position.file, event_pos);
    match mapped.and_then(|mapped| mapped.plan.as_ref()) {
        Some(plan) => error.of_table(&plan.schema, &plan.table),
        None => error,
    }
}
