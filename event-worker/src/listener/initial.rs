//! `start = "full-sync"`: a new listener gets all rows of its tables, once.
//!
//! The listener begins with the changes that come from now on. As soon as the bus keeps that place,
//! the listener asks `dts` for the rows: they contain what happened before the place. This happens
//! once, whatever is killed meanwhile, because two entries in the bus's control table say how far
//! it is: a note that the listener is new, written before the listener joins its group; and the
//! request, which stays. When the listener subscribes to something else, it writes the request
//! again, and `dts` sends the tables that it has not sent yet.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use event_bus::{Bus, ControlChange, Subscription};
use full_sync::Request;
use service::{Backoff, BackoffConfig, clock::now_ms};
use tracing::{info, warn};

use super::Listener;
use crate::{config::ListenerConfig, error::Error};

/// How often we look whether the bus keeps the place where the listener begins.
const LOOK: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(100), max: Duration::from_secs(2), factor: 1.5 };

/// A full sync that is still to be requested.
pub(super) struct Initial {
    bus: Arc<dyn Bus>,
    subscription: Subscription,
    request: Request,
}

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
        let kept = bus.control().await?.changes().await?;
        let request = request(id, config, &subscription.group);
        match note_of(id, kept) {
            InitialNote::Asked(before) if before.subscribe == request.subscribe => return Ok(None),
            InitialNote::Asked(_) | InitialNote::New => {}
            InitialNote::Nothing => {
                let progress = bus.progress(&subscription.group, &subscription.topics).await?;
                if progress.iter().any(|at| at.committed.is_some()) {
                    info!(
                        "the listener has run before, so `start = \"full-sync\"` changes nothing; \
                         `event-worker full-sync start -t {id}` sends all rows of its tables"
                    );
                    return Ok(None);
                }
                let note = (note_key(id), Some("{}".into()));
                bus.put_control(&[note]).await?;
            }
        }
        Ok(Some(Self { bus: Arc::clone(bus), subscription: subscription.clone(), request }))
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

fn request(listener: &str, config: &ListenerConfig, group: &str) -> Request {
    Request {
        subscribe: config.subscribe.clone(),
        initial: true,
        ..Request::new(&format!("initial:{listener}"), (listener, group), now_ms())
    }
}

fn note_of(listener: &str, kept: Vec<ControlChange>) -> InitialNote {
    let kept: BTreeMap<_, _> = kept.into_iter().collect();
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
