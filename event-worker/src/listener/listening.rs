//! Says what a listener gets as it runs, so that no full sync sends it what it would pass over.
//!
//! It is said when this member has got partitions, and so speaks for the group: of two members with
//! different configs the one that has them counts. Where there is no topic yet nobody gets any, and
//! whoever joined begins with the first record.

use std::{convert::Infallible, sync::Arc};

use event_bus::{Bus, Subscription};
use full_sync::Listening;
use service::Backoff;
use tracing::{info, warn};

use super::{
    BUS_RETRY, Listener,
    status::{Status, now_ms},
};

pub(super) struct Teller {
    bus: Arc<dyn Bus>,
    subscription: Subscription,
    listener: String,
    subscribe: Vec<(String, String)>,
    status: Arc<Status>,
}

impl Teller {
    pub(super) fn new(listener: &Listener) -> Self {
        Self {
            bus: Arc::clone(&listener.bus),
            subscription: listener.subscription.clone(),
            listener: listener.id.clone(),
            subscribe: listener.config.subscribe.clone(),
            status: listener.status(),
        }
    }

    /// Says it at each assignment, beside the listener: a bus that does not take it, since it is
    /// away or full, holds no change up.
    pub(super) async fn run(self) -> Infallible {
        tokio::select! {
            () = self.status.assigned() => {}
            () = self.no_topic() => {}
        }
        loop {
            let mut backoff = Backoff::new(BUS_RETRY);
            while let Err(error) = self.tell().await {
                if backoff.failures() == 0 {
                    warn!(%error, "cannot say what the listener gets; full syncs wait for that");
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
            self.status.assigned().await;
        }
    }

    /// Returns if there is no topic that it could get.
    async fn no_topic(&self) {
        let Subscription { group, topics, .. } = &self.subscription;
        let mut backoff = Backoff::new(BUS_RETRY);
        loop {
            match self.bus.progress(group, topics).await {
                Ok(all) if all.is_empty() => return,
                Ok(_) => std::future::pending().await,
                Err(_) => tokio::time::sleep(backoff.next_wait()).await,
            }
        }
    }

    async fn tell(&self) -> event_bus::Result<()> {
        let key = Listening::key(&self.listener);
        let kept = self.bus.control().await?.changes().await?;
        let told = kept.into_iter().find(|(other, _)| *other == key).and_then(|(_, value)| value);
        let told = told.and_then(|value| Listening::from_bytes(&value).ok());
        let listening = Listening::after(told.as_ref(), &self.subscribe, now_ms());
        if told.as_ref() == Some(&listening) {
            return Ok(());
        }
        self.bus.put_control(&[(key, Some(listening.to_bytes().into()))]).await?;
        info!(subscribe = ?self.subscribe, "full syncs know what the listener gets");
        Ok(())
    }
}
