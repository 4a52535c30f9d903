//! Removes old entries from the control table: requests of a process that was killed before the
//! answer came, and wishes (pause, resume, cancel) for tasks that have ended.

use std::{collections::HashSet, time::Duration};

use event_bus::{Bus, ControlChange};
use full_sync::{REQUEST_PREFIX, Request, Task, WISH_PREFIX, Wish};
use service::clock::now_ms;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::tasks::{self, within_deadline};

const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// How long to wait before the next try when the bus is away.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Nobody waits any more for the answer to a request that is older than this.
const MAX_AGE: Duration = Duration::from_mins(1);

/// Sweeps now and then until `stop`.
pub(crate) async fn sweep(bus: &dyn Bus, stop: CancellationToken) {
    let sweep = async {
        loop {
            let wait = match within_deadline(sweep_once(bus)).await {
                Ok(()) => SWEEP_EVERY,
                Err(error) => {
                    debug!(%error, "cannot remove old entries from the control table now");
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(wait).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = sweep => {}
    }
}

async fn sweep_once(bus: &dyn Bus) -> event_bus::Result<()> {
    let kept = bus.control().await?.changes().await?;
    if kept.is_empty() {
        return Ok(());
    }
    // Read after the control table: a wish is written only for an existing task.
    let tasks = tasks::all(bus).await?;
    let removed = needless(kept, &tasks, now_ms());
    if !removed.is_empty() {
        info!(entries = removed.len(), "removed requests and wishes that nobody needs any more");
        bus.put_control(&removed).await?;
    }
    Ok(())
}

fn needless(kept: Vec<ControlChange>, tasks: &[Task], now_ms: u64) -> Vec<ControlChange> {
    let is_old = |at_ms: u64| Duration::from_millis(now_ms.saturating_sub(at_ms)) > MAX_AGE;
    let going: HashSet<&str> =
        tasks.iter().filter(|task| !task.state.is_final()).map(|task| task.id.as_str()).collect();
    let is_needless = |key: &str, value: &[u8]| {
        if key.starts_with(REQUEST_PREFIX) {
            return Request::from_bytes(value).is_ok_and(|it| !it.initial && is_old(it.at_ms));
        }
        let wish = key.strip_prefix(WISH_PREFIX).zip(Wish::from_bytes(value).ok());
        wish.is_some_and(|(task, wish)| !going.contains(task) && is_old(wish.at_ms))
    };
    let kept = kept.into_iter().filter_map(|(key, value)| Some((key, value?)));
    kept.filter(|(key, value)| is_needless(key, value)).map(|(key, _)| (key, None)).collect()
}

#[cfg(test)]
mod tests {
    use full_sync::{TaskState, Wished};

    use super::*;
    use crate::full_sync::view::tests::task;

    #[test]
    fn old_requests_and_the_wishes_of_ended_tasks_go_and_all_else_stays() {
        const NOW: u64 = 1_000_000;
        let request = |id: &str, initial: bool, at_ms: u64| {
            let request = Request { initial, ..Request::new(id, ("l", "g"), at_ms) };
            (request.key(), Some(request.to_bytes().into()))
        };
        let wish = |task: &str, at_ms: u64| {
            let wish = Wish { state: Wished::Pause, at_ms };
            (format!("{WISH_PREFIX}{task}"), Some(wish.to_bytes().into()))
        };
        let kept = vec![
            request("old", false, 1),
            request("new", false, NOW - 1000),
            request("initial:l", true, 1),
            wish("fs-1-s.t", 1),
            wish("gone", 1),
            wish("soon", NOW),
            ("listener/new/l".to_owned(), Some("{}".into())),
            (format!("{REQUEST_PREFIX}strange"), Some("later words".into())),
        ];
        let removed = |state| {
            let removed = needless(kept.clone(), &[task(state, 1, 1)], NOW);
            removed.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let old = format!("{REQUEST_PREFIX}old");
        let (ended, gone) = (format!("{WISH_PREFIX}fs-1-s.t"), format!("{WISH_PREFIX}gone"));
        assert_eq!(removed(TaskState::Running), [old.clone(), gone.clone()]);
        assert_eq!(removed(TaskState::Done), [old, ended, gone]);
    }
}
