//! Indexes that are made before their first document, with mappings from the table's columns.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use full_sync::Table;
use handler::Failure;
use reqwest::{Method, StatusCode};

use super::{
    client::{SearchClient, refusal},
    hosts::Request,
    mappings::{index_body, without_unknown_type},
};
use crate::shape::Shape;

/// So many types that a server does not know are left out.
const MAX_UNKNOWN_TYPES: usize = 5;

/// The indexes that were seen or made.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    known: Mutex<BTreeSet<Arc<str>>>,
}

impl Indexes {
    pub(super) fn knows(&self, index: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(index)
    }

    /// Sees to it that an index is there. One that is there stays as it is.
    ///
    /// # Errors
    ///
    /// Why it can be neither seen nor made.
    pub(super) async fn prepare(
        &self,
        client: &SearchClient,
        index: &Arc<str>,
        (table, shape): (&Table, &Shape),
    ) -> Result<(), Failure> {
        let path = [&**index];
        let answer = client.ask(&Request::new(Method::HEAD, &path)).await?;
        match answer.status {
            // It may be hidden from those who may make it.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => {
                create(client, &path, (table, shape)).await?;
            }
            status if status.is_success() => {}
            _ => return Err(refusal(&answer)),
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(Arc::clone(index));
        Ok(())
    }
}

async fn create(
    client: &SearchClient,
    path: &[&str],
    (table, shape): (&Table, &Shape),
) -> Result<(), Failure> {
    let mut body = index_body(table, shape);
    for _ in 0..=MAX_UNKNOWN_TYPES {
        let text = body.to_string();
        let request = Request { body: &text, ..Request::new(Method::PUT, path) };
        let answer = client.ask(&request).await?;
        let said = String::from_utf8_lossy(&answer.body);
        // Another lane may have been first.
        if answer.status.is_success() || said.contains("resource_already_exists_exception") {
            return Ok(());
        }
        match without_unknown_type(&body, &said) {
            Some(less) => body = less,
            None => {
                let failure = refusal(&answer);
                let reason = format!("the index cannot be made: {}", failure.reason);
                return Err(Failure { reason, ..failure });
            }
        }
    }
    Err(Failure::unclear("the server knows too few types for the table: make the index yourself"))
}
