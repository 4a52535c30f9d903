//! Indexes that are made before their first document, with mappings from the table's columns.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use full_sync::Table;
use handler::Failure;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

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

/// What to do about an index that stands where an alias is to be.
pub(super) const NO_ALIAS: &str = "it is written to as it is, and cannot be rolled over: give the \
                                   listener a new name and another `index`, and let start = \
                                   \"full-sync\" fill it; or remove `template.rollover`";

/// What to do about an index that has lost its alias.
const LOST_ALIAS: &str = "let the alias lead to its last index: POST /_aliases {\"actions\":[{\"add\":\
                        {\"index\":\"INDEX\",\"alias\":\"ALIAS\",\"is_write_index\":true}}]}";

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
    /// Whether the name is to be an alias, whose first index is made.
    pub(super) rollover: bool,
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
    /// It is an index, where it is to be an alias.
    NoAlias,
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
                create(client, index, wanted).await?;
                if wanted.rollover {
                    alias_is_there(client, index).await?;
                }
                answer.status == StatusCode::FORBIDDEN
            }
            status if status.is_success() => true,
            _ => return Err(refusal(&answer)),
        };
        let id = id(client, index).await?;
        let known = Known { looked: Instant::now(), id: id.clone() };
        let Some(before) = self.lock().insert(Arc::clone(index), known) else {
            return Ok(match is_there {
                true if wanted.rollover && id.is_some() => Found::NoAlias,
                true => Found::AsExpected,
                false => Found::Made,
            });
        };
        Ok(match (before.id, id) {
            (None, Some(_)) if wanted.rollover => Found::NoAlias,
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

/// Whether a name is that of an index, and not of an alias.
pub(super) async fn is_index(client: &SearchClient, name: &str) -> bool {
    id(client, name).await.is_ok_and(|id| id.is_some())
}

/// What the server calls an index for itself; `None` where it does not tell us, and for an alias:
/// that may lead to another index at any time.
async fn id(client: &SearchClient, index: &str) -> Result<Option<String>, Failure> {
    let answer = client.ask(&Request::new(Method::GET, &[index, "_settings"])).await?;
    let settings: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let id = settings.get(index).and_then(|of| of.pointer("/settings/index/uuid"));
    Ok(id.and_then(Value::as_str).map(str::to_owned))
}

/// The first index of an alias: the server counts on from there.
fn first_of(alias: &str) -> String {
    format!("{alias}-000001")
}

/// Sees that the alias is there, now that its first index is.
async fn alias_is_there(client: &SearchClient, alias: &str) -> Result<(), Failure> {
    let answer = client.ask(&Request::new(Method::HEAD, &[alias])).await?;
    if answer.status != StatusCode::NOT_FOUND {
        return Ok(());
    }
    let first = first_of(alias);
    let reason = format!("the index {first} is there, and no alias {alias} that leads to it");
    Err(Failure { remedy: Some(LOST_ALIAS), ..Failure::unclear(reason) })
}

async fn create(
    client: &SearchClient,
    index: &str,
    Wanted { table, shape, fields, rollover }: Wanted<'_>,
) -> Result<(), Failure> {
    let mut body = index_body(table, shape, fields);
    let mut name = index.to_owned();
    if rollover {
        body["aliases"] = json!({index: {"is_write_index": true}});
        name = first_of(index);
    }
    let path = [&*name];
    for _ in 0..=MAX_UNKNOWN_TYPES {
        let text = body.to_string();
        let request = Request { body: &text, ..Request::new(Method::PUT, &path) };
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
