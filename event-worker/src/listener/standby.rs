//! Says why a listener stands by: which other member has all partitions, or that there is no topic
//! yet.

use std::{convert::Infallible, sync::Arc, time::Duration};

use event_bus::{Bus, Subscription};
use tracing::{info, warn};

use super::{
    Listener,
    status::{ListenerState, Status},
};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A new member may wait so long for its first partitions.
const PATIENCE: Duration = Duration::from_secs(4);

/// We ask the bus at least so often, until it names another member.
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

    /// Shows it, and logs the other members once, each time that the listener stands by for a
    /// while.
    pub(super) async fn run(self) -> Infallible {
        loop {
            self.until(true).await;
            self.status.update(|report| report.standby = None);
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

    /// Waits until the listener stands by, or until it does not any more.
    async fn until(&self, stands_by: bool) {
        while (self.status.report().state == ListenerState::Standby) != stands_by {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Shows why, and logs the other members; `false` when there are none.
    async fn tell(&self) -> bool {
        let Subscription { group, client, instance, topics, .. } = &self.subscription;
        if self.bus.progress(group, topics).await.is_ok_and(|all| all.is_empty()) {
            let why = "none of its tables has a topic yet: dts makes a topic with the first change";
            self.status.update(|report| report.standby = Some(why.to_owned()));
            return false;
        }
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
        let why = format!("other members of the group have all partitions: {members}");
        self.status.update(|report| report.standby = Some(why));
        // For a listener of a supervisor other members are normal. Somebody who starts one by hand
        // may not know of them.
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
