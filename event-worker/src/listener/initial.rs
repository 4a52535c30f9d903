//! `start = "full-sync"`: a new listener gets all rows of its tables, once.
//!
//! The listener begins with the changes that come from now on. As soon as the bus keeps that place,
//! the listener asks `dts` for the rows: they contain what happened before the place. This happens
//! once, whatever is killed meanwhile, because two entries in the bus's control table say how far
//! it is: a note that the listener is new, written before the listener joins its group; and the
//! request, which stays. When the listener subscribes to something else, it writes the request
//! again, and `dts` sends the tables that it has not sent yet.
//!
//! A listener that has run before with another `start` is not new. An entry says what it has got
//! until then, and the request is only for what it subscribes to besides.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use event_bus::{Bus, Subscription};
use full_sync::{Listening, Request};
use service::{Backoff, BackoffConfig, clock::now_ms};
use tracing::{info, warn};

use super::Listener;
use crate::{config::ListenerConfig, error::Error, reach::Catalogs};

/// How often we look whether the bus keeps the place where the listener begins.
const LOOK: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(100), max: Duration::from_secs(2), factor: 1.5 };

/// A full sync that is still to be requested.
pub(super) struct Initial {
    bus: Arc<dyn Bus>,
    subscription: Subscription,
    request: Request,
}

/// Patterns of schema and table.
type Globs = Vec<(String, String)>;

/// All entries of the control table, by key.
type Kept = BTreeMap<String, Option<Bytes>>;

/// What the control table says of a listener.
#[derive(Debug, PartialEq, Eq)]
enum InitialNote {
    /// Nothing.
    Nothing,
    /// It is new, and has not requested a full sync yet.
    New,
    /// It has requested a full sync of what it subscribed to then.
    Asked(Box<Request>),
}

impl Initial {
    /// Looks whether the listener is new, and writes that down. Must be called before the listener
    /// joins its group. `None` when there is nothing to request.
    pub(super) async fn prepare(listener: &Listener) -> event_bus::Result<Option<Self>> {
        let Listener { id, config, subscription, bus, .. } = listener;
        let kept: Kept = bus.control().await?.changes().await?.into_iter().collect();
        let mut request = request(id, config, &subscription.group);
        let note = note_of(id, &kept);
        let had = match note {
            InitialNote::New => None,
            InitialNote::Asked(_) => had_of(id, &kept),
            InitialNote::Nothing => {
                let progress = bus.progress(&subscription.group, &subscription.topics).await?;
                if progress.iter().any(|at| at.committed.is_some()) {
                    Some(keep_had(listener, &kept).await?)
                } else {
                    let note = (note_key(id), Some("{}".into()));
                    bus.put_control(&[note, (had_key(id), None)]).await?;
                    None
                }
            }
        };
        if let Some(had) = had {
            request.subscribe = all_of(&config.subscribe);
            request.subscribe.retain(|glob| !had.contains(glob));
            // Without patterns the request would be for all tables.
            if request.subscribe.is_empty() {
                info!(
                    "the listener has run before, so `start = \"full-sync\"` sends only tables \
                     that are added to `subscribe`; `event-worker full-sync start -t {id}` sends \
                     all rows of its tables"
                );
                return Ok(None);
            }
        }
        match note {
            InitialNote::Asked(before) if before.subscribe == request.subscribe => Ok(None),
            _ => {
                let (bus, subscription) = (Arc::clone(bus), subscription.clone());
                Ok(Some(Self { bus, subscription, request }))
            }
        }
    }

    /// Requests the full sync as soon as the bus keeps the place where the listener begins, however
    /// long that takes.
    ///
    /// # Errors
    ///
    /// What only a human can fix.
    pub(super) async fn ask(self) -> Result<(), Error> {
        let mut backoff = Backoff::new(LOOK);
        let mut is_told = false;
        loop {
            match self.try_to_ask().await.map_err(Error::from) {
                Ok(true) => {
                    info!("the listener begins, and has asked for all rows of its tables");
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) if !is_told => {
                    warn!(%error, "cannot ask for the rows of the tables; tried again");
                    is_told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Whether the request is written.
    async fn try_to_ask(&self) -> event_bus::Result<bool> {
        let Subscription { group, topics, .. } = &self.subscription;
        let progress = self.bus.progress(group, topics).await?;
        if progress.iter().any(|at| at.committed.is_none()) {
            return Ok(false);
        }
        let request = (self.request.key(), Some(self.request.to_bytes().into()));
        let note = (note_key(&self.request.listener), None);
        self.bus.put_control(&[request, note]).await?;
        Ok(true)
    }
}

/// What a listener that has run before has got until now. Keeps it when that is not done yet.
async fn keep_had(listener: &Listener, kept: &Kept) -> event_bus::Result<Globs> {
    let Listener { id, config, bus, .. } = listener;
    if let Some(had) = had_of(id, kept) {
        return Ok(had);
    }
    let heard = kept.get(&Listening::key(id)).and_then(Option::as_ref);
    let heard = heard.and_then(|bytes| Listening::from_bytes(bytes).ok());
    let mut had = match heard {
        Some(heard) => heard.tables.into_iter().map(|of| (of.schema, of.table)).collect(),
        None => all_of(&config.subscribe),
    };
    let catalogs = Catalogs::read(&**bus).await?;
    had.retain(|glob| !catalogs.has_none(glob));
    let bytes = serde_json::to_vec(&had).unwrap_or_default();
    bus.put_control(&[(had_key(id), Some(bytes.into()))]).await?;
    Ok(had)
}

/// The patterns of a listener.
fn all_of(subscribe: &[(String, String)]) -> Globs {
    match subscribe {
        [] => vec![("*".to_owned(), "*".to_owned())],
        some => some.to_vec(),
    }
}

fn request(listener: &str, config: &ListenerConfig, group: &str) -> Request {
    Request {
        subscribe: config.subscribe.clone(),
        initial: true,
        ..Request::new(&format!("initial:{listener}"), (listener, group), now_ms())
    }
}

fn note_of(listener: &str, kept: &Kept) -> InitialNote {
    let request_key = format!("{}initial:{listener}", full_sync::REQUEST_PREFIX);
    if let Some(Some(bytes)) = kept.get(&request_key)
        && let Ok(request) = Request::from_bytes(bytes)
    {
        return InitialNote::Asked(Box::new(request));
    }
    match kept.get(&note_key(listener)) {
        Some(Some(_)) => InitialNote::New,
        _ => InitialNote::Nothing,
    }
}

fn note_key(listener: &str) -> String {
    format!("listener/new/{listener}")
}

fn had_of(listener: &str, kept: &Kept) -> Option<Globs> {
    serde_json::from_slice(kept.get(&had_key(listener))?.as_ref()?).ok()
}

/// The key of what a listener had before it asked for full syncs.
pub(crate) fn had_key(listener: &str) -> String {
    format!("listener/had/{listener}")
}
