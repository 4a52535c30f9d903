//! Looks now and then which tables each listener gets, and says when that changes.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Supervisor;
use crate::reach::Catalogs;

/// How often to look while every pattern matches a table,
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// and how soon to look once more when one does not, or the bus did not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long the bus may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Looks until `stop`.
pub(super) async fn watch(supervisor: Arc<Supervisor>, stop: CancellationToken) {
    let look = async {
        let mut in_vain = 0;
        loop {
            in_vain = if look_once(&supervisor).await { 0 } else { in_vain + 1 };
            if timeout(until_next(in_vain), supervisor.reloaded.notified()).await.is_ok() {
                in_vain = 0;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = look => {}
    }
}

fn until_next(in_vain: u32) -> Duration {
    if in_vain == 1 { LOOK_AGAIN } else { LOOK_EVERY }
}

/// Looks once; `true` if every pattern matches a table.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_in_vain_is_looked_for_soon_and_then_seldom() {
        let waits = [1, 2, 100, 0].map(|in_vain| until_next(in_vain).as_secs());
        assert_eq!(waits, [5, 30, 30, 30]);
    }
}
