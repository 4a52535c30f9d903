//! Tells `dts` what a running listener gets, so that no full sync sends rows that the listener
//! skips.
//!
//! A member writes this into the control table when it has got partitions. So if two members have
//! different configs, the config of the one with partitions counts. Before there is a topic, no
//! member can get partitions. Then a member that has joined writes the entry, since it will begin
//! with the first record. From time to time the member looks whether the entry is still there: the
//! topic of the control table may have been deleted.

use std::{convert::Infallible, sync::Arc, time::Duration};

use event_bus::{Bus, Subscription};
use full_sync::{HeardTables, Listening};
use service::{Backoff, clock::now_ms, glob};
use tokio::time::timeout;
use tracing::{info, warn};

use super::{
    BUS_RETRY, Listener,
    status::{ListenerState, Status},
};

/// How often we look whether the entry is still there.
const SAY_AGAIN: Duration = Duration::from_mins(1);

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

    /// Tells it after each assignment, next to the listener: a bus that is away or full delays no
    /// change.
    pub(super) async fn run(self) -> Infallible {
        tokio::select! {
            () = self.status.assigned() => {}
            () = self.no_topic() => {}
        }
        loop {
            let mut backoff = Backoff::new(BUS_RETRY);
            while let Err(error) = self.tell().await {
                if backoff.failures() == 0 {
                    warn!(%error, "cannot tell dts what the listener gets; full syncs wait");
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
            // A member on standby has nothing to tell.
            while timeout(SAY_AGAIN, self.status.assigned()).await.is_err()
                && self.status.report().state == ListenerState::Standby
            {}
        }
    }

    /// Returns when there is no topic for the listener yet; otherwise never.
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
        let listening = after(told.as_ref(), &self.subscribe, now_ms());
        if told.as_ref() == Some(&listening) {
            return Ok(());
        }
        self.bus.put_control(&[(key, Some(listening.to_bytes().into()))]).await?;
        info!(subscribe = ?self.subscribe, "dts knows what the listener gets");
        Ok(())
    }
}

/// What a listener gets that subscribes to these patterns of schema and table (none: all tables),
/// and since when. `before` says what it got earlier.
fn after(before: Option<&Listening>, subscribe: &[(String, String)], now: u64) -> Listening {
    let before = before.map_or(&[][..], |before| &before.tables);
    let all = [("*".to_owned(), "*".to_owned())];
    let globs = if subscribe.is_empty() { &all } else { subscribe };
    let since = |glob: &(String, String)| {
        let held_it = before.iter().filter(|heard| holds(heard, glob));
        held_it.map(|heard| heard.since_ms).min().unwrap_or(now)
    };
    let heard = |glob: &(String, String)| HeardTables {
        schema: glob.0.clone(),
        table: glob.1.clone(),
        since_ms: since(glob),
    };
    let mut tables: Vec<HeardTables> = globs.iter().map(heard).collect();
    // A table that the listener got before, and gets now through a wider pattern, keeps its time.
    let is_kept = |old: &&HeardTables| {
        let name = (old.schema.clone(), old.table.clone());
        is_name(&name) && !globs.contains(&name) && tables.iter().any(|heard| holds(heard, &name))
    };
    let kept: Vec<HeardTables> = before.iter().filter(is_kept).cloned().collect();
    tables.extend(kept);
    Listening { tables }
}

/// Whether the listener got all tables of a pattern before: by the same pattern, by all tables, or,
/// for the name of one table, by a pattern that matches the name.
fn holds(heard: &HeardTables, glob: &(String, String)) -> bool {
    let HeardTables { schema, table, .. } = heard;
    let is_same = (schema, table) == (&glob.0, &glob.1);
    let is_one_of_them =
        || is_name(glob) && glob::matches(schema, &glob.0) && glob::matches(table, &glob.1);
    is_same || (schema == "*" && table == "*") || is_one_of_them()
}

/// Whether a pattern is the name of one table.
fn is_name((schema, table): &(String, String)) -> bool {
    !schema.contains(['*', '?']) && !table.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: (&str, &str) = ("s", "item");
    const OTHER: (&str, &str) = ("s", "other");
    const SOME: (&str, &str) = ("s", "i*");

    /// Since when each is got, of one listener whose `subscribe` is each of these in turn.
    fn since(subscribed: &[&[(&str, &str)]]) -> Vec<(String, u64)> {
        let mut listening = None;
        for (now, globs) in (1..).zip(subscribed) {
            let owned = globs.iter().map(|(schema, table)| ((*schema).into(), (*table).into()));
            let owned: Vec<(String, String)> = owned.collect();
            let told = after(listening.as_ref(), &owned, now);
            assert_eq!(after(Some(&told), &owned, now + 1), told, "there is nothing new");
            listening = Some(told);
        }
        let tables = listening.map(|told| told.tables).unwrap_or_default();
        tables.into_iter().map(|heard| (heard.table, heard.since_ms)).collect()
    }

    fn told<const N: usize>(tables: [(&str, u64); N]) -> Vec<(String, u64)> {
        tables.map(|(table, since)| (table.to_owned(), since)).to_vec()
    }

    #[test]
    fn a_table_is_got_since_it_was_not_for_the_last_time() {
        assert_eq!(since(&[&[ITEM], &[ITEM, OTHER]]), told([("item", 1), ("other", 2)]));
        assert_eq!(since(&[&[ITEM], &[OTHER], &[ITEM]]), told([("item", 3)]));
    }

    #[test]
    fn a_table_that_is_one_of_several_is_not_lost() {
        assert_eq!(since(&[&[], &[ITEM]]), told([("item", 1)]));
        assert_eq!(since(&[&[ITEM], &[]]), told([("*", 2), ("item", 1)]));
        assert_eq!(since(&[&[ITEM], &[SOME]]), told([("i*", 2), ("item", 1)]));
        assert_eq!(since(&[&[SOME], &[ITEM, OTHER]]), told([("item", 1), ("other", 2)]));
        assert_eq!(since(&[&[ITEM], &[SOME], &[OTHER]]), told([("other", 3)]));
    }
}
