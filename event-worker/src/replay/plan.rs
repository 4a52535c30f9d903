//! Which offsets a replay has: from what was asked, what the bus keeps, and what the listener has
//! done.

use event_bus::{Bus, Reset, ResetTo, Subscription};

use super::{
    entry::ReplayRange,
    form::{BoundAt, ReplayBound, WantedEvents},
    refusal::RefusedReplay,
};

/// What the bus says of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    topic: String,
    partition: u32,
    /// The first record kept.
    first: u64,
    /// How far the group has committed.
    committed: Option<u64>,
    /// Where `from` and `to` are, when they are times.
    from: u64,
    to: u64,
}

/// The ranges of a replay; never empty.
pub(super) async fn plan(
    bus: &dyn Bus,
    subscription: &Subscription,
    wanted: &WantedEvents,
) -> Result<Vec<ReplayRange>, RefusedReplay> {
    let firsts = bus.plan_reset(&subscription.group, &subscription.topics, ResetTo::Earliest);
    let firsts = firsts.await?;
    let froms = located((bus, subscription), Some(&wanted.from), &firsts).await?;
    let tos = located((bus, subscription), wanted.to.as_ref(), &firsts).await?;
    let known = firsts.into_iter().map(|first| Known {
        from: of(&froms, &first),
        to: of(&tos, &first),
        topic: first.partition.topic.to_string(),
        partition: first.partition.number,
        first: first.to,
        committed: first.from,
    });
    ranges(&known.collect::<Vec<_>>(), wanted)
}

/// Where a time is in each partition; for any other bound, what is known already.
async fn located(
    (bus, subscription): (&dyn Bus, &Subscription),
    bound: Option<&ReplayBound>,
    firsts: &[Reset],
) -> event_bus::Result<Vec<Reset>> {
    match bound.map(|bound| bound.at) {
        Some(BoundAt::Time(time)) => {
            let Subscription { group, topics, .. } = subscription;
            bus.plan_reset(group, topics, ResetTo::Time(time)).await
        }
        _ => Ok(firsts.to_vec()),
    }
}

fn of(places: &[Reset], wanted: &Reset) -> u64 {
    let found = places.iter().find(|place| place.partition == wanted.partition);
    found.map_or(wanted.to, |place| place.to)
}

fn ranges(known: &[Known], wanted: &WantedEvents) -> Result<Vec<ReplayRange>, RefusedReplay> {
    if let BoundAt::Offset(offset) = wanted.from.at
        && let Some(gone) = known.iter().find(|at| at.committed > Some(offset) && offset < at.first)
    {
        let Known { topic, partition, first, .. } = gone.clone();
        return Err(RefusedReplay::OffsetGone { topic, partition, offset, first });
    }
    if known.iter().all(|at| at.committed.is_none()) {
        return Err(RefusedReplay::NotBegun);
    }
    let range = |at: &Known| {
        let committed = at.committed?;
        let from = match wanted.from.at {
            BoundAt::Offset(offset) => offset,
            _ => at.from,
        };
        let to = match wanted.to.as_ref().map(|bound| bound.at) {
            Some(BoundAt::Offset(offset)) => offset.min(committed),
            Some(BoundAt::Time(_)) => at.to.min(committed),
            Some(BoundAt::Earliest) => at.first,
            Some(BoundAt::Seq(_)) | None => committed,
        };
        let (topic, partition) = (at.topic.clone(), at.partition);
        (from < to).then_some(ReplayRange { topic, partition, from, to })
    };
    let ranges: Vec<ReplayRange> = known.iter().filter_map(range).collect();
    if !ranges.is_empty() {
        return Ok(ranges);
    }
    let at = |at: &Known| {
        let committed = at.committed.unwrap_or_default();
        format!("{} to {committed} in partition {} of {}", at.first, at.partition, at.topic)
    };
    const MAX_SHOWN: usize = 5;
    let kept: Vec<String> = known.iter().take(MAX_SHOWN).map(at).collect();
    Err(RefusedReplay::Empty { kept: kept.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(partition: u32, first: u64, committed: Option<u64>) -> Known {
        // As if both bounds were times.
        Known { topic: "t".into(), partition, first, committed, from: 12, to: 15 }
    }

    /// From and to of each range, or why there is none.
    fn planned(known: &[Known], from: &str, to: Option<&str>) -> Result<Vec<(u64, u64)>, String> {
        let wanted = WantedEvents {
            from: from.parse().unwrap(),
            to: to.map(|to| to.parse().unwrap()),
            table: None,
            key: None,
            force: false,
        };
        let ranges = ranges(known, &wanted).map_err(|refused| format!("{refused:?}"))?;
        Ok(ranges.into_iter().map(|range| (range.from, range.to)).collect())
    }

    const TIME: &str = "2026-01-01T12:00:00Z";

    #[test]
    fn a_range_ends_where_the_listener_is_at_the_latest() {
        let one = [known(0, 10, Some(20))];
        assert_eq!(planned(&one, "11", None), Ok(vec![(11, 20)]));
        assert_eq!(planned(&one, "11", Some("14")), Ok(vec![(11, 14)]));
        assert_eq!(planned(&one, "11", Some("99")), Ok(vec![(11, 20)]));
        assert_eq!(planned(&one, TIME, Some(TIME)), Ok(vec![(12, 15)]));
        assert_eq!(planned(&one, TIME, None), Ok(vec![(12, 20)]));
        let started = Known { from: 10, ..known(0, 10, Some(20)) };
        assert_eq!(planned(&[started], "seq:1", Some("seq:5")), Ok(vec![(10, 20)]));
    }

    #[test]
    fn partitions_without_events_in_the_range_have_none_and_all_of_them_are_refused() {
        let some = [known(0, 10, Some(20)), known(1, 0, Some(5)), known(2, 0, None)];
        assert_eq!(planned(&some, "10", None), Ok(vec![(10, 20)]));
        assert!(planned(&some, "20", None).unwrap_err().contains("10 to 20 in partition 0 of t"));
        assert!(planned(&some[..1], "15", Some("15")).unwrap_err().contains("Empty"));
        assert!(planned(&some[2..], "0", None).unwrap_err().contains("NotBegun"));
    }

    #[test]
    fn an_offset_that_was_deleted_is_refused_with_the_first_one() {
        let one = [known(3, 10, Some(20))];
        let refused = planned(&one, "9", None).unwrap_err();
        assert!(refused.contains("OffsetGone") && refused.contains("first: 10"), "{refused}");
    }
}
