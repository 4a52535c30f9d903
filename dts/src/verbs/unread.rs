//! What listeners have not handled on a bus that is left: there nobody brings it to them any more.

use event_bus::{Bus, BusConfig, BusKind, Polled, Progress, ResetTo, TopicFilter};

use crate::error::{Error, Result};

/// After so many records of a group, counting ends.
const MAX_COUNTED: u64 = 10_000;

const REMEDY: &str = "let them finish with the earlier config: run `event-worker`, and for a log \
    that was inside dts also `event-log serve` (docs/kafka.md, \"Another bus\"). If a listener is \
    gone for good, run `event-worker groups forget` there. Or give --leave-unread: then these \
    records are left out";

/// Refuses to leave a bus on which listeners have not handled all records.
///
/// # Errors
///
/// Refused, with the listeners and their numbers of records; those of the bus.
pub(super) async fn refuse_unread(bus: &dyn Bus, config: &BusConfig) -> Result<()> {
    let prefix = format!("{}.listener.", config.topic_prefix);
    let all = config.topics().filter(&[("*".to_owned(), "*".to_owned())]);
    let mut behind = Vec::new();
    for group in bus.groups().await? {
        let Some(listener) = group.name.strip_prefix(&prefix) else { continue };
        let mut records = 0;
        for progress in bus.progress(&group.name, &all).await? {
            records += match &config.kind {
                BusKind::Log(_) => count(bus, &all, &progress).await,
                BusKind::Kafka(_) => between(&progress),
            };
        }
        if records > 0 {
            behind.push(format!("{listener} ({records} records)"));
        }
    }
    if behind.is_empty() {
        return Ok(());
    }
    let behind = behind.join(", ");
    let problem = format!("listeners have not handled all that is on the earlier bus: {behind}");
    Err(Error::refused(problem, REMEDY))
}

/// The offsets that a group has not finished. A group that never committed has begun with nothing.
fn between(progress: &Progress) -> u64 {
    progress.committed.map_or(0, |committed| progress.high.saturating_sub(committed))
}

/// The records among these offsets: in a log, the end of each append counts as an offset, too.
async fn count(bus: &dyn Bus, all: &TopicFilter, progress: &Progress) -> u64 {
    let most = between(progress);
    let Some(committed) = progress.committed.filter(|_| most > 0) else { return 0 };
    let Ok(mut tail) = bus.tail(all, ResetTo::Offset(committed)).await else { return most };
    let mut records = 0;
    while records < MAX_COUNTED {
        // What retention has deleted is not handled either.
        let Ok(Polled::Records { deliveries, scanned }) = tail.poll().await else { return most };
        records += deliveries.len() as u64;
        if scanned.iter().any(|(_, offset)| *offset >= progress.end) {
            break;
        }
    }
    records
}
