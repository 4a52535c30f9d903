//! Power cuts at a mirror: whatever is left, it follows again and becomes the same.

use super::*;
use crate::{disk::watched::Watch, power_cut::model::Disk};

fn cuts() -> usize {
    let is_full = std::env::var("DBEVENT_TEST_SIZE").is_ok_and(|size| size == "full");
    if is_full { 1000 } else { 40 }
}

fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_follows_again_after_a_power_cut_at_any_write_and_becomes_the_same() {
    let mut random = seeded();
    let (at, copy_at) = (in_memory(), in_memory());
    let (_watch, copied) = (Watch::new(at.path()), Watch::new(copy_at.path()));
    let (source, stream) = source(&at).await;
    let copy = follow(source.address, storage(&copy_at), options(""));
    for round in 0..12 {
        let now_ms = BEFORE_MIDNIGHT + round * DAY_MS / 4;
        fill(&stream, &mut random, (5, now_ms)).await;
        copy.until(stream.state().next_offset).await;
        if round % 4 == 3 {
            end_day(&stream, now_ms + DAY_MS).await;
        }
    }
    copy.end().await.unwrap();
    let made = copied.hold().made.clone();
    let cuts = cuts();
    println!("{cuts} cuts in {} changes", made.len());
    for number in 0..cuts {
        let changes = (number * made.len() / cuts + random.random_range(0..=made.len() / cuts)) + 1;
        let changes = changes.min(made.len());
        let mut disk = Disk::new();
        made[..changes].iter().for_each(|(path, made)| disk.make(path, made, &mut random));
        let cut_at = in_memory();
        let _watch = Watch::new(cut_at.path());
        disk.cut(&mut random).write_to(cut_at.path());
        let copy = follow(source.address, storage(&cut_at), options(""));
        copy.until(stream.state().next_offset).await;
        let is_same = async {
            // The last mark of a day comes after the last record.
            while days(at.path()) != days(cut_at.path()) {
                tokio::task::yield_now().await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(10), is_same).await;
        println!("after change {changes}: {:?}", made[changes - 1].0);
        if reached.is_err() {
            assert_same(&at, &cut_at);
        }
        copy.end().await.unwrap();
    }
}
