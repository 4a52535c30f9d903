//! Removes the entries of replays that ended long ago, and those that belong to none, from the
//! control table.

use std::{collections::HashSet, time::Duration};

use event_bus::{Bus, ControlChange};
use service::clock::now_ms;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::entry::ReplayTable;

const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// How long the bus may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// Replays that ended are shown for so long.
const KEPT_FOR: Duration = Duration::from_hours(7 * 24);

/// Sweeps now and then until `stop`.
pub(crate) async fn sweep(bus: &dyn Bus, stop: CancellationToken) {
    let sweep = async {
        loop {
            match timeout(DEADLINE, sweep_once(bus)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "old replays stay in the control table for now"),
                Err(_) => debug!("old replays stay in the control table for now: the bus is slow"),
            }
            sleep(SWEEP_EVERY).await;
        }
    };
    stop.run_until_cancelled(sweep).await;
}

async fn sweep_once(bus: &dyn Bus) -> event_bus::Result<()> {
    let mut table = ReplayTable::default();
    table.take(bus.control().await?.changes().await?);
    let removed = needless(&table, now_ms());
    if !removed.is_empty() {
        info!(entries = removed.len(), "removed replays that ended long ago");
        bus.put_control(&removed).await?;
    }
    Ok(())
}

fn needless(table: &ReplayTable, now_ms: u64) -> Vec<ControlChange> {
    let all = table.all();
    let is_old = |at_ms: u64| Duration::from_millis(now_ms.saturating_sub(at_ms)) > KEPT_FOR;
    let kept = all.iter().filter(|known| !known.state().is_final() || !is_old(known.updated_ms()));
    let kept: HashSet<String> = kept.flat_map(|known| table.keys_of(&known.replay.id)).collect();
    table.keys().filter(|key| !kept.contains(*key)).map(|key| (key.clone(), None)).collect()
}

#[cfg(test)]
mod tests {
    use full_sync::{Wish, Wished};

    use super::*;
    use crate::replay::entry::{ReplayPlace, place_entry, tests::replay, wish_entry};

    #[test]
    fn a_replay_goes_with_all_its_entries_a_week_after_its_end() {
        const WEEK_MS: u64 = 7 * 24 * 3600 * 1000;
        let mut table = ReplayTable::default();
        let place = ReplayPlace { at_ms: 2, ..ReplayPlace::default() };
        let at = |id: &str| place_entry(id, &replay(id, 1).ranges[0], &place);
        let cancelled = wish_entry("old", Wish { state: Wished::Cancel, at_ms: 3 });
        table.take(vec![replay("old", 1).entry(), at("old"), cancelled]);
        table.take(vec![replay("going", 1).entry(), at("going"), at("nobody's")]);
        let removed = |now_ms| {
            let removed = needless(&table, now_ms).into_iter().map(|(key, _)| key);
            removed.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(removed(WEEK_MS), "replay/place/nobody's/0/t");
        assert_eq!(
            removed(WEEK_MS + 4),
            "replay/asked/old replay/place/nobody's/0/t replay/place/old/0/t replay/wish/old"
        );
    }
}
