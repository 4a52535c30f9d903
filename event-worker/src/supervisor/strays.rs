//! Warns of groups that hold back a log although their listener is gone, before the log is full.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytesize::ByteSize;
use event_bus::KnownGroup;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Supervisor;

/// A group counts as a stray after two looks in a row: its process may be restarting.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long the bus may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// After so long the warning is repeated.
const TELL_EVERY: Duration = Duration::from_hours(6);

/// Looks again and again, until `stop`.
pub(super) async fn watch(supervisor: Arc<Supervisor>, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut strays = Strays::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => {}
        }
        let asked = timeout(ANSWER_DEADLINE, known(&supervisor));
        let groups = match stop.run_until_cancelled(asked).await {
            Some(Ok(Ok(Some(groups)))) => groups,
            Some(Ok(Ok(None))) => return,
            // Other parts say that the bus is away.
            _ => continue,
        };
        let is_stray = |group: &str| supervisor.fleet.is_stray(group);
        for (group, held) in strays.look(&groups, Instant::now(), is_stray) {
            warn!(
                group,
                keeps = %ByteSize::b(held),
                "no listener of this config has this group, and the group has no member: the log \
                 keeps everything for the group, until the log is full; if the listener is gone \
                 for good: event-worker groups forget -t ID"
            );
        }
    }
}

/// The groups of a bus with a size limit; `None` for another bus, which keeps nothing for groups.
async fn known(supervisor: &Supervisor) -> event_bus::Result<Option<Vec<KnownGroup>>> {
    match supervisor.bus.room().await? {
        Some(_) => supervisor.bus.groups().await.map(Some),
        None => Ok(None),
    }
}

/// What earlier looks found.
#[derive(Default)]
struct Strays {
    found: BTreeSet<String>,
    told: BTreeMap<String, Instant>,
}

impl Strays {
    /// The groups to warn of now, with the bytes that are kept for them.
    fn look<'a>(
        &mut self,
        groups: &'a [KnownGroup],
        now: Instant,
        is_stray: impl Fn(&str) -> bool,
    ) -> Vec<(&'a str, u64)> {
        let left: BTreeMap<&str, u64> = groups
            .iter()
            .filter(|group| group.members.is_empty() && is_stray(&group.name))
            .filter_map(|group| Some((group.name.as_str(), group.held_bytes?)))
            .collect();
        self.told.retain(|group, _| left.contains_key(group.as_str()));
        let before = std::mem::take(&mut self.found);
        self.found = left.keys().map(|&group| group.to_owned()).collect();
        let is_due = |group: &str| {
            let told = self.told.get(group);
            before.contains(group) && told.is_none_or(|told| now - *told >= TELL_EVERY)
        };
        let due: Vec<(&str, u64)> = left.into_iter().filter(|(group, _)| is_due(group)).collect();
        self.told.extend(due.iter().map(|(group, _)| ((*group).to_owned(), now)));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, member: Option<&str>, held_bytes: Option<u64>) -> KnownGroup {
        let members = member.map(str::to_owned).into_iter().collect();
        KnownGroup { name: name.to_owned(), members, waiting: 0, held_bytes }
    }

    #[test]
    fn a_group_that_nobody_has_is_told_at_the_second_look_and_then_rarely() {
        let (mut strays, now) = (Strays::default(), Instant::now());
        let is_stray = |group: &str| group != "known";
        let groups = [
            group("ghost", None, Some(7)),
            group("known", None, Some(7)),
            group("elsewhere", Some("another event-worker"), Some(7)),
            group("kafka", None, None),
        ];
        assert_eq!(strays.look(&groups, now, is_stray), []);
        assert_eq!(strays.look(&groups, now, is_stray), [("ghost", 7)]);
        assert_eq!(strays.look(&groups, now, is_stray), []);
        assert_eq!(strays.look(&groups, now + TELL_EVERY, is_stray), [("ghost", 7)]);
    }

    #[test]
    fn one_that_has_a_member_again_begins_from_the_start() {
        let (mut strays, now) = (Strays::default(), Instant::now());
        let alone = [group("ghost", None, Some(7))];
        let back = [group("ghost", Some("it"), Some(7))];
        let told =
            [&alone, &back, &alone, &alone].map(|groups| strays.look(groups, now, |_| true).len());
        assert_eq!(told, [0, 0, 0, 1]);
    }
}
