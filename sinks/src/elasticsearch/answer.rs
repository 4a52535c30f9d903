//! What the answer to a `_bulk` request means for each change.

use handler::Failure;
use serde::Deserialize;

use super::bulk::Operation;
use crate::{change::Unusable, figures::Written};

/// The answer of the server.
#[derive(Debug, Deserialize)]
pub(super) struct BulkAnswer {
    errors: bool,
    items: Vec<Item>,
}

/// What became of one operation: an object with its verb.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Item {
    Index(ItemResult),
    Delete(ItemResult),
    Create(ItemResult),
    Update(ItemResult),
}

#[derive(Debug, Deserialize)]
struct ItemResult {
    status: u16,
    #[serde(default)]
    error: Option<ServerError>,
}

/// An error, as the server says it.
#[derive(Debug, Deserialize)]
pub(super) struct ServerError {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    caused_by: Option<Box<ServerError>>,
}

/// What became of the operations of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    pub(super) written: Written,
    /// Refused for good: the row does not fit.
    pub(super) refused: Vec<Unusable>,
    /// The operations to send again, by their index: the server is busy.
    pub(super) again: Vec<usize>,
    /// What the server said of these.
    pub(super) busy: Option<String>,
    /// Why nothing can be written at present, whatever the row.
    pub(super) stuck: Option<Failure>,
}

/// What a result means.
enum Fate {
    Done,
    Conflict,
    Busy,
    /// The index takes nothing at present. Why, and what to do.
    Stuck(&'static str),
    Refused,
}

const BLOCKED: &str = "the index takes no writes, because the disk of a node is nearly full or \
                       somebody has set a block: make room (the server then takes writes again), \
                       or take the block away: PUT /INDEX/_settings \
                       {\"index.blocks.read_only_allow_delete\":null}, or the same with \
                       \"index.blocks.write\"";
const CLOSED: &str = "the index is closed: POST /INDEX/_open";
const NO_INDEX: &str = "there is no such index: with mappings = true the sink makes it at the next \
                        try; or the server does, where action.auto_create_index allows it; or \
                        make it with PUT /INDEX";
const FORBIDDEN: &str = "the user may not write to the index: grant the privileges index, delete \
                         and create_index (event-worker check says with which request)";

impl BulkAnswer {
    /// # Errors
    ///
    /// When the answer does not fit the request.
    pub(super) fn outcomes(&self, operations: &[&Operation<'_>]) -> Result<Outcomes, String> {
        let mut outcomes = Outcomes::default();
        if self.items.len() != operations.len() {
            let (sent, answered) = (operations.len(), self.items.len());
            return Err(format!("{answered} of {sent} operations are answered"));
        }
        if !self.errors {
            for operation in operations {
                outcomes.count(operation.is_delete);
            }
            return Ok(outcomes);
        }
        for (at, (item, operation)) in self.items.iter().zip(operations).enumerate() {
            outcomes.add(at, item.result(), operation);
        }
        Ok(outcomes)
    }
}

impl Item {
    fn result(&self) -> &ItemResult {
        let (Self::Index(result)
        | Self::Delete(result)
        | Self::Create(result)
        | Self::Update(result)) = self;
        result
    }
}

impl Outcomes {
    fn count(&mut self, is_delete: bool) {
        let count = if is_delete { &mut self.written.deletes } else { &mut self.written.rows };
        *count += 1;
    }

    fn add(&mut self, at: usize, result: &ItemResult, operation: &Operation<'_>) {
        match result.fate(operation.is_delete) {
            Fate::Done => self.count(operation.is_delete),
            Fate::Conflict => self.written.conflicts += 1,
            Fate::Busy => {
                self.again.push(at);
                self.busy.get_or_insert_with(|| format!("{}: {}", result.status, result.told()));
            }
            Fate::Stuck(why) => {
                self.stuck.get_or_insert_with(|| Failure::unclear(why).saying(result.told()));
            }
            Fate::Refused => {
                let (status, told) = (result.status, result.told());
                let why = format!("the server refuses it with {status}: {told}");
                self.refused.push(operation.change.unusable(why));
            }
        }
    }
}

impl ItemResult {
    fn fate(&self, is_delete: bool) -> Fate {
        let kind = self.error.as_ref().map_or("", |error| &*error.kind);
        match (self.status, kind) {
            (200..300, _) => Fate::Done,
            // The document was not there.
            (404, "") if is_delete => Fate::Done,
            (409, _) => Fate::Conflict,
            (_, "cluster_block_exception") => Fate::Stuck(BLOCKED),
            (_, "index_closed_exception") => Fate::Stuck(CLOSED),
            (_, "index_not_found_exception") => Fate::Stuck(NO_INDEX),
            (401 | 403, _) => Fate::Stuck(FORBIDDEN),
            (429 | 500.., _) => Fate::Busy,
            _ => Fate::Refused,
        }
    }

    fn told(&self) -> String {
        self.error.as_ref().map_or_else(|| "no reason".to_owned(), ServerError::told)
    }
}

impl ServerError {
    /// What the server said, in one line, with the causes: those name the field and the value.
    pub(super) fn told(&self) -> String {
        let mut told = self.first_line().to_owned();
        let mut cause = self.caused_by.as_deref();
        while let Some(error) = cause {
            let line = error.first_line();
            // Some servers repeat the cause in what it caused.
            if !told.contains(line) {
                told = format!("{told}: {line}");
            }
            cause = error.caused_by.as_deref();
        }
        told
    }

    fn first_line(&self) -> &str {
        let text = self.reason.as_deref().unwrap_or(&self.kind);
        text.lines().next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
