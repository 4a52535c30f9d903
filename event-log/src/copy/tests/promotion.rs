//! A promotion that is not brought to its end.

use futures_util::FutureExt as _;

use super::*;
use crate::copy::mark;

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_a_crash_cut_off_is_told_and_made_again() {
    let mut random = seeded();
    let (at, copy_at) = (new(), new());
    let (source, stream) = source(&at).await;
    fill(&stream, &mut random, (10, BEFORE_MIDNIGHT)).await;
    let copy = follow(source.address, storage(&copy_at), options("copy"));
    copy.until(stream.state().next_offset).await;
    let of = copy.stream.copy_state().unwrap().of;
    assert_eq!(copy.stream.promote().await.unwrap(), 2);
    copy.end().await.unwrap();
    // The record of the epoch is there, and the mark of a copy, too: so a crash leaves it.
    mark::write(&copy_at.path().join("s"), &of).unwrap();
    drop(relog(&copy_at).await);
    let problem = follow(source.address, storage(&copy_at), options("copy")).problem().await;
    let said = problem.to_string();
    assert!(matches!(problem, Error::Diverged(_)) && said.contains("event-log promote"), "{said}");

    let log = relog(&copy_at).await;
    let again = log.known("s").unwrap();
    assert_eq!(again.promote().await.unwrap(), 3);
    fill(&again, &mut random, (10, BEFORE_MIDNIGHT)).await;
    drop((again, log));
    let again = relog(&copy_at).await.known("s").unwrap();
    assert_eq!((again.copy_state().map(|state| state.of), again.epoch()), (None, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_brought_to_its_end_when_its_caller_goes_away() {
    let mut random = seeded();
    let (at, copy_at) = (new(), new());
    let (source, stream) = source(&at).await;
    fill(&stream, &mut random, (10, BEFORE_MIDNIGHT)).await;
    let copy = follow(source.address, storage(&copy_at), options("copy"));
    copy.until(stream.state().next_offset).await;
    // It waits for the disk when it is dropped.
    assert!(copy.stream.promote().now_or_never().is_none());
    // The copy ends by itself as soon as it is none.
    let ended = tokio::time::timeout(DEADLINE, copy.ended).await;
    ended.unwrap().unwrap().unwrap();
    assert_eq!((copy.stream.copy_state().map(|state| state.of), copy.stream.epoch()), (None, 2));
    fill(&copy.stream, &mut random, (10, BEFORE_MIDNIGHT)).await;
}
