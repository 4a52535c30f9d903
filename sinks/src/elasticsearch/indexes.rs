//! Indexes that are made before their first document, with mappings from the table's columns.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use full_sync::Table;
use handler::Failure;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{
    client::{SearchClient, refusal},
    config::Fields,
    hosts::Request,
    mappings::{index_body, without_unknown_type},
};
use crate::shape::Shape;

/// So many types that a server does not know are left out.
const MAX_UNKNOWN_TYPES: usize = 5;

/// An index is looked at again after this time: somebody may have deleted it.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The indexes that were seen or made.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    known: Mutex<BTreeMap<Arc<str>, Known>>,
}

#[derive(Debug)]
struct Known {
    looked: Instant,
    /// What the server calls it for itself: an index that is made anew has another one.
    id: Option<String>,
}

/// What an index is made of.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'w> {
    pub(super) table: &'w Table,
    pub(super) shape: &'w Shape,
    pub(super) fields: &'w Fields,
}

/// What became of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is there.
    AsExpected,
    /// It was made, or will be by the server with its first document.
    Made,
    /// It was gone, and we have made it anew.
    MadeAnew,
    /// It was gone, and the server has made it anew.
    MadeByServer,
}

impl Indexes {
    /// Whether it was seen a moment ago.
    pub(super) fn knows(&self, index: &str) -> bool {
        self.lock().get(index).is_some_and(|known| known.looked.elapsed() < LOOK_AGAIN_AFTER)
    }

    /// The next documents look at all indexes again.
    pub(super) fn doubt(&self) {
        let long_ago = Instant::now().checked_sub(LOOK_AGAIN_AFTER);
        for known in self.lock().values_mut() {
            known.looked = long_ago.unwrap_or(known.looked);
        }
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
        wanted: Wanted<'_>,
    ) -> Result<Found, Failure> {
        let path = [&**index];
        let answer = client.ask(&Request::new(Method::HEAD, &path)).await?;
        let is_there = match answer.status {
            // It may be hidden from those who may make it.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => {
                create(client, &path, wanted).await?;
                answer.status == StatusCode::FORBIDDEN
            }
            status if status.is_success() => true,
            _ => return Err(refusal(&answer)),
        };
        let id = id(client, index).await?;
        let known = Known { looked: Instant::now(), id: id.clone() };
        let Some(before) = self.lock().insert(Arc::clone(index), known) else {
            return Ok(if is_there { Found::AsExpected } else { Found::Made });
        };
        Ok(match (before.id, id) {
            _ if !is_there => Found::MadeAnew,
            (Some(before), Some(now)) if before != now => Found::MadeByServer,
            _ => Found::AsExpected,
        })
    }

    /// Looks once whether an index is there that the server makes by itself.
    ///
    /// # Errors
    ///
    /// Why the server cannot be asked.
    pub(super) async fn meet(
        &self,
        client: &SearchClient,
        index: &Arc<str>,
    ) -> Result<Found, Failure> {
        if self.lock().contains_key(index) {
            return Ok(Found::AsExpected);
        }
        let answer = client.ask(&Request::new(Method::HEAD, &[index])).await?;
        self.lock().insert(Arc::clone(index), Known { looked: Instant::now(), id: None });
        Ok(match answer.status {
            StatusCode::NOT_FOUND => Found::Made,
            // Who may not look there may still write.
            _ => Found::AsExpected,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the server calls an index for itself; `None` where it does not tell us. Of an alias it is
/// that of its first index.
async fn id(client: &SearchClient, index: &str) -> Result<Option<String>, Failure> {
    let answer = client.ask(&Request::new(Method::GET, &[index, "_settings"])).await?;
    let settings: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let first = settings.as_object().and_then(|all| all.values().next());
    let id = first.and_then(|of| of.pointer("/settings/index/uuid"));
    Ok(id.and_then(Value::as_str).map(str::to_owned))
}

async fn create(
    client: &SearchClient,
    path: &[&str],
    Wanted { table, shape, fields }: Wanted<'_>,
) -> Result<(), Failure> {
    let mut body = index_body(table, shape, fields);
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
