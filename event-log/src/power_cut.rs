//! Power cuts, full disks and damage: a session of a log is recorded change by change, and what a
//! power cut may have left of it is opened again, thousands of times.

mod model;
mod session;
mod truth;

use std::path::PathBuf;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use self::{
    model::Disk,
    session::{Place, Session},
    truth::Truth,
};
use crate::{disk::watched::Made, files};

/// The smaller number, or the larger one where `DBEVENT_TEST_SIZE=full`.
fn size(small: usize, full: usize) -> usize {
    let is_full = std::env::var("DBEVENT_TEST_SIZE").is_ok_and(|size| size == "full");
    if is_full { full } else { small }
}

fn seed() -> u64 {
    let given = std::env::var("DBEVENT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("seed {seed}");
    seed
}

/// A session from a disk on, and the disk before it.
struct Recorded {
    before: Disk,
    made: Vec<(PathBuf, Made)>,
}

impl Recorded {
    /// What the disk is after so many changes.
    fn disk(&self, changes: usize, random: &mut StdRng) -> Disk {
        let mut disk = self.before.clone();
        for (path, made) in &self.made[..changes] {
            disk.make(path, made, random);
        }
        disk
    }
}

/// Opens what is on a disk, checks it, and goes on with it.
async fn go_on(
    disk: Disk,
    truth: &mut Truth,
    (steps, random): (usize, &mut StdRng),
) -> Result<Recorded, String> {
    let place = Place::new();
    disk.write_to(place.path());
    let random = StdRng::seed_from_u64(random.random());
    let (mut session, found) = Session::open(&place, truth, random).await?;
    session.truth.check(&found, 0)?;
    files::verify(&place.stream(), &mut |_| ()).map_err(|error| format!("verify: {error}"))?;
    session.run(steps).await.map_err(|error| format!("go on: {error}"))?;
    drop(session);
    Ok(Recorded { before: disk, made: place.made() })
}

/// Cuts the power after a change, and again while the log is opened or goes on.
async fn cut(
    recorded: &Recorded,
    truth: &Truth,
    (changes, random): (usize, &mut StdRng),
) -> Result<(), String> {
    let mut truth = truth.clone();
    truth.cut(changes);
    let mut disk = recorded.disk(changes, random);
    // Else only the program is killed, at first.
    if random.random_bool(0.8) {
        disk = disk.cut(random);
    }
    let steps = if random.random_bool(0.5) { 0 } else { random.random_range(1..4) };
    let again = go_on(disk, &mut truth, (steps, random)).await?;
    let changes = random.random_range(0..=again.made.len());
    truth.cut(changes);
    let disk = again.disk(changes, random).cut(random);
    let last = go_on(disk, &mut truth, (0, random)).await;
    last.map(drop).map_err(|problem| format!("the second time, after change {changes}: {problem}"))
}

/// A session with all that can happen; every change of it can be cut at.
async fn record(steps: usize, random: &mut StdRng) -> (Recorded, Truth) {
    let mut truth = Truth::new(service::clock::now_ms());
    let recorded = go_on(Disk::new(), &mut truth, (steps, random)).await.unwrap();
    (recorded, truth)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.unwrap().block_on(future)
}

#[test]
fn a_power_cut_at_any_write_loses_nothing_and_is_never_taken_for_damage() {
    let (seed, cuts) = (seed(), size(300, 10_000));
    let (recorded, truth) = block_on(record(size(60, 150), &mut StdRng::seed_from_u64(seed)));
    let changes = recorded.made.len();
    println!("{cuts} cuts in {changes} changes");
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let cut_some = |first: usize| {
        for number in (first..cuts).step_by(threads) {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
            // Each change in its turn, where there are cuts enough.
            let at = (number * changes / cuts + random.random_range(0..=changes / cuts)) % changes;
            let done = block_on(cut(&recorded, &truth, (at + 1, &mut random)));
            if let Err(problem) = done {
                tell(&recorded, at);
                panic!("seed {seed}, cut {number}, after change {at}: {problem}");
            }
        }
    };
    std::thread::scope(|scope| {
        (0..threads).for_each(|first| drop(scope.spawn(move || cut_some(first))));
    });
}

/// The changes before a cut.
fn tell(recorded: &Recorded, at: usize) {
    for (number, (path, made)) in recorded.made.iter().enumerate().take(at + 2) {
        if number + 30 > at {
            let made = match made {
                Made::Write { at, bytes } => format!("Write {} at {at}", bytes.len()),
                other => format!("{other:?}"),
            };
            println!("{number} {} {made}", path.display());
        }
    }
}
