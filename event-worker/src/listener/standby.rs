//! Says which member has all partitions of a listener while this process stands by.

use std::{convert::Infallible, sync::Arc, time::Duration};

use event_bus::{Bus, Subscription};
use tracing::{info, warn};

use super::{
    Listener,
    status::{ListenerState, Status},
};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A member may wait for so long until its group gives it something.
const PATIENCE: Duration = Duration::from_secs(4);

/// The bus is asked at least so often, until it names somebody.
const MAX_WAIT: Duration = Duration::from_mins(5);

pub(super) struct StandbyWatch {
    bus: Arc<dyn Bus>,
    subscription: Subscription,
    status: Arc<Status>,
}

impl StandbyWatch {
    pub(super) fn new(listener: &Listener) -> Self {
        Self {
            bus: Arc::clone(&listener.bus),
            subscription: listener.subscription.clone(),
            status: listener.status(),
        }
    }

    /// Says it once each time that it stands by for a while.
    pub(super) async fn run(self) -> Infallible {
        loop {
            self.until(true).await;
            let mut wait = PATIENCE;
            let told = async {
                loop {
                    tokio::time::sleep(wait).await;
                    if self.tell().await {
                        return;
                    }
                    wait = (2 * wait).min(MAX_WAIT);
                }
            };
            tokio::select! {
                () = told => self.until(false).await,
                () = self.until(false) => {}
            }
        }
    }

    /// Waits until it stands by, or does not any more.
    async fn until(&self, stands_by: bool) {
        while (self.status.report().state == ListenerState::Standby) != stands_by {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether there was somebody to tell of.
    async fn tell(&self) -> bool {
        let Subscription { group, client, instance, .. } = &self.subscription;
        let Ok(groups) = self.bus.groups().await else { return false };
        let others: Vec<String> = groups
            .into_iter()
            .filter(|known| known.name == *group)
            .flat_map(|known| known.members)
            .filter(|member| member != client && !member.starts_with(&format!("{client} at ")))
            .collect();
        if others.is_empty() {
            return false;
        }
        let members = others.join("; ");
        // A supervisor's listener is meant to have others beside it; who starts one by hand is not
        // told otherwise.
        if instance.is_some() {
            info!(members, "other members have all partitions: this one stands by");
        } else {
            warn!(
                members,
                "this listener runs already: this process gets nothing, and takes over when that \
                 one ends"
            );
        }
        true
    }
}
