//! What the answer to a `_bulk` request means for each change.

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
    error: Option<ItemError>,
}

#[derive(Debug, Deserialize)]
struct ItemError {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    caused_by: Option<Box<ItemError>>,
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
}

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
        match result.status {
            200..300 => self.count(operation.is_delete),
            // The document was not there.
            404 if operation.is_delete && result.error.is_none() => self.count(true),
            409 => self.written.conflicts += 1,
            429 | 500.. => self.wait(at, result),
            // The disk of a node is nearly full: the index is closed for writing until there is room.
            403 if result.is_blocked() => self.wait(at, result),
            status => {
                let why = format!("the server refuses it with {status}: {}", result.told());
                self.refused.push(operation.change.unusable(why));
            }
        }
    }

    fn wait(&mut self, at: usize, result: &ItemResult) {
        self.again.push(at);
        self.busy.get_or_insert_with(|| format!("{}: {}", result.status, result.told()));
    }
}

impl ItemResult {
    fn is_blocked(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.kind == "cluster_block_exception")
    }

    /// What the server said, with the last cause: that names the field.
    fn told(&self) -> String {
        let Some(error) = &self.error else { return "no reason".to_owned() };
        let mut told = error.told();
        let mut cause = error.caused_by.as_deref();
        while let Some(error) = cause {
            told = format!("{told}: {}", error.told());
            cause = error.caused_by.as_deref();
        }
        told
    }
}

impl ItemError {
    fn told(&self) -> String {
        self.reason.clone().unwrap_or_else(|| self.kind.clone())
    }
}
