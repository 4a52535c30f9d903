//! Which tables each listener reaches: looked up now and then, and told when that changes.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Supervisor;
use crate::reach::Catalogs;

/// How often it is looked up while every pattern fits a table,
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// and while one does not, or the bus could not be asked.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long the bus may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Looks until `stop`.
pub(super) async fn watch(supervisor: Arc<Supervisor>, stop: CancellationToken) {
    let look = async {
        loop {
            let all_fit = look_once(&supervisor).await;
            let wait = if all_fit { LOOK_EVERY } else { LOOK_AGAIN };
            // In vain: a reload need not be waited for.
            let _ = timeout(wait, supervisor.reloaded.notified()).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = look => {}
    }
}

/// Whether every pattern fits a table.
async fn look_once(supervisor: &Supervisor) -> bool {
    match timeout(ANSWER_DEADLINE, Catalogs::read(&*supervisor.bus)).await {
        Ok(Ok(catalogs)) => supervisor.fleet.reach(&catalogs),
        Ok(Err(error)) => {
            debug!(%error, "what dts captures cannot be read now");
            false
        }
        Err(_) => false,
    }
}
