//! Power cuts, full disks and damage: a session of a log is recorded change by change, and what a
//! power cut may have left of it is opened again, thousands of times.

pub(crate) mod model;
mod session;
mod truth;

use std::path::PathBuf;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use self::{
    model::Disk,
    session::{Place, Session},
    truth::Truth,
};
use crate::{
    Error, Log,
    disk::{
        data_files::{self, SegmentId},
        walk::{Walk, Walked},
        watched::{Made, Refusal, Refused},
    },
    files,
};

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

/// A session on a disk that refuses once, after so many changes that it could refuse; `None`: there
/// were not so many.
async fn refused_once(
    truth: &mut Truth,
    (refusal, random): (Refusal, &mut StdRng),
) -> Option<(Recorded, Result<(), Error>)> {
    let place = Place::new();
    place.refuse(Some(refusal));
    let seeds = [(); 2].map(|()| StdRng::seed_from_u64(random.random()));
    let [first, second] = seeds;
    let mut session = match Session::open(&place, truth, first).await {
        Ok((session, _)) => session,
        // It is opened again.
        Err(_) => Session::open(&place, truth, second).await.unwrap().0,
    };
    session.fills_disk = false;
    let mut ended = session.run(12).await;
    if ended.is_err() {
        assert!(session.append().await.is_err(), "no later success");
    } else {
        ended = session.run(3).await;
    }
    drop(session);
    let left = place.take_refusal();
    let recorded = Recorded { before: Disk::new(), made: place.made() };
    (left == 0).then_some((recorded, ended))
}

/// Opens what is left after a session, goes on, and cuts the power.
async fn start_again(
    recorded: &Recorded,
    truth: &mut Truth,
    random: &mut StdRng,
) -> Result<(), String> {
    let changes = recorded.made.len();
    truth.cut(changes);
    let again = go_on(recorded.disk(changes, random), truth, (3, random)).await?;
    let changes = random.random_range(0..=again.made.len());
    truth.cut(changes);
    let disk = again.disk(changes, random).cut(random);
    go_on(disk, truth, (0, random)).await.map(drop)
}

fn refuse_once_everywhere(of: Refused, errno: i32, check: impl Fn(&Result<(), Error>)) {
    let seed = seed();
    block_on(async {
        for after in 0..size(60, 1000) {
            let mut random = StdRng::seed_from_u64(seed);
            let mut truth = Truth::new(service::clock::now_ms());
            let refusal = Refusal { after, times: 1, of, errno };
            let once = refused_once(&mut truth, (refusal, &mut random)).await;
            let Some((recorded, ended)) = once else { break };
            check(&ended);
            let started = start_again(&recorded, &mut truth, &mut random).await;
            started.unwrap_or_else(|problem| panic!("seed {seed}, {refusal:?}: {problem}"));
        }
    });
}

#[test]
fn a_disk_that_is_full_at_any_write_or_sync_takes_appends_when_there_is_room() {
    let enospc = 28;
    for of in [Refused::Growth, Refused::Syncs] {
        refuse_once_everywhere(of, enospc, |ended| {
            assert!(ended.is_ok(), "{ended:?}");
        });
    }
}

#[test]
fn after_a_sync_that_failed_nothing_is_acknowledged_and_a_new_start_is_durable() {
    let eio = 5;
    refuse_once_everywhere(Refused::Syncs, eio, |ended| {
        assert!(matches!(ended, Ok(()) | Err(Error::Poisoned(_))), "{ended:?}");
    });
}

/// The first byte that a power cut may have damaged: everything before was durable.
fn durable_bytes(place: &Place, id: SegmentId) -> Option<u64> {
    let mut walk = Walk::open(&place.stream(), id).unwrap()?;
    while !matches!(walk.next().ok()?, Walked::End) {}
    Some(walk.reading().group_start())
}

/// Damages a byte that was durable, in a log that a power cut has left; gives the file.
fn damage(place: &Place, random: &mut StdRng) -> Option<(PathBuf, Vec<u8>)> {
    let files = data_files::list(&place.stream()).ok()?;
    let id = files[random.random_range(0..files.len().max(1)).min(files.len().checked_sub(1)?)];
    let path = id.data(&place.stream());
    let mut bytes = std::fs::read(&path).unwrap();
    let durable = match files.last() {
        Some(last) if *last == id => usize::try_from(durable_bytes(place, id)?).unwrap(),
        _ => bytes.len(),
    };
    let at = random.random_range(0..durable.max(1));
    *bytes.get_mut(at).filter(|_| durable > 0)? ^= 1 << random.random_range(0..8);
    std::fs::write(&path, &bytes).unwrap();
    Some((path, bytes))
}

#[test]
fn damage_that_no_power_cut_made_is_reported_and_never_cut() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let (recorded, _) = block_on(record(40, &mut random));
    let mut damaged = 0;
    for number in 0..size(150, 3000) {
        let changes = random.random_range(0..=recorded.made.len());
        let place = Place::new();
        recorded.disk(changes, &mut random).cut(&mut random).write_to(place.path());
        let Some((path, bytes)) = damage(&place, &mut random) else { continue };
        damaged += 1;
        let opened = Log::open(place.config()).map(drop);
        let told = opened.and_then(|()| files::verify(&place.stream(), &mut |_| ()).map(drop));
        let is_told = matches!(&told, Err(Error::Damaged { file, .. }) if *file == path);
        let place = format!("seed {seed}, number {number}, after change {changes}, {path:?}");
        assert!(is_told, "{place}: {told:?}");
        assert!(std::fs::read(&path).unwrap() == bytes, "{place} was changed");
    }
    println!("{damaged} were damaged");
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
