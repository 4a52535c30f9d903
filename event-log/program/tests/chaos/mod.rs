//! All of it at once: three reporters, a server, mirrors, relays and a group of readers, while
//! everything is killed, stopped, cut off and slowed down at random, over two midnights.

mod check;
mod child;
mod content;
mod faults;
mod part;
mod proxy;
mod site;
mod sources;

use std::{
    process::Command,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use event_log::{
    Start,
    files::{FileReader, stream_directory},
};
use rand::{SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use self::{
    check::Records,
    content::id_of,
    faults::Faults,
    site::{NODES, PIPE, READERS, RELAYS, REPORTER, SERVER, Site},
    sources::{Pace, PipeState, Source},
};
use crate::process::{DEADLINE, PROGRAM, STREAM, size};

/// The clock is set to so long before a midnight.
const BEFORE_MIDNIGHT: Duration = Duration::from_millis(300);

struct Chaos {
    site: Site,
    faults: Faults,
    app: Source,
    pipe: Source,
    piped: Arc<PipeState>,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_whatever_fails() {
    let seed = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("TEST_SEED={seed}");
    let records = size(2_000, 334_000) as u64;
    let pace = Pace { records, pause: Duration::from_micros(size(3_000, 500) as u64), seed };
    let is_long = size(0, 1) == 1;
    let began = Instant::now();
    let mut chaos = Chaos::start(pace, is_long).await;
    chaos.rage(pace).await;
    println!("{:?} of faults: {:?}", began.elapsed(), chaos.faults.counts);
    let records = chaos.end().await;
    println!("{records} records, {:?} in all", began.elapsed());
}

impl Chaos {
    async fn start(pace: Pace, is_long: bool) -> Self {
        let mut random = StdRng::seed_from_u64(pace.seed);
        let site = Site::new(&mut random, pace).await;
        let piped = Arc::new(PipeState::default());
        (0..=REPORTER).for_each(|place| site.start(place, 0));
        let app = sources::app(site.path("agent").join("app.log"), pace);
        let pipe = sources::pipe(Arc::clone(&site.parts[PIPE]), Arc::clone(&piped), pace);
        // What a relay reads must be there.
        let last = site.data(NODES - 1).join(STREAM);
        until("the last mirror has a day", || {
            let mut entries = std::fs::read_dir(&last).into_iter().flatten().flatten();
            entries.any(|entry| entry.path().is_dir())
        })
        .await;
        RELAYS.iter().chain(&READERS).for_each(|place| site.start(*place, 0));
        let faults = Faults::new(random, Duration::from_millis(150), is_long);
        Self { site, faults, app, pipe, piped }
    }

    /// Faults, until all is produced and all had to happen has happened.
    async fn rage(&mut self, pace: Pace) {
        let began = Instant::now();
        let all = pace.pause * u32::try_from(pace.records).unwrap();
        let (mut midnights, mut is_filling, mut was_full) = (0, false, false);
        let mut midnight = began;
        let deadline = all * 10 + DEADLINE;
        loop {
            self.faults.turn(&self.site);
            let elapsed = began.elapsed();
            // A day in which the server takes no record has no folder.
            let has_day = || self.site.day_count(SERVER) > midnights;
            if midnights < 2 && elapsed > all * (3 + 3 * midnights as u32) / 10 && has_day() {
                self.site.before_midnight(BEFORE_MIDNIGHT);
                midnight = Instant::now() + BEFORE_MIDNIGHT;
                midnights += 1;
            }
            if !is_filling && elapsed > all * 45 / 100 {
                is_filling = self.faults.fill_disk(&self.site);
            }
            let is_full = || self.site.part(SERVER).says("the disk is full");
            if is_filling && !was_full && is_full() {
                was_full = true;
                self.faults.disk_is_full();
            }
            let is_piped = self.piped.sent.load(SeqCst) >= pace.records;
            let is_produced = self.faults.is_reporter_done() && self.app.is_done() && is_piped;
            if is_produced && midnights == 2 && Instant::now() > midnight && was_full {
                return;
            }
            assert!(elapsed < deadline, "not done: midnights={midnights} was_full={was_full}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Heals all, waits until each part has all, ends all, and checks; gives how many records.
    async fn end(mut self) -> usize {
        self.faults.heal_all(&self.site);
        self.piped.healed.store(true, SeqCst);
        until("the pipe ends", || self.pipe.is_done()).await;
        let app = self.app.produced();
        let producers = [app, self.pipe.produced(), self.site.reported()];
        let last = format!("agent 0 {}", producers[0].acknowledged[0].2);
        self.until("the agent sends its last line", |site| log(site, SERVER).contains(&last)).await;
        let ids = log(&self.site, SERVER);
        let last = ids.last().unwrap();
        for place in RELAYS.into_iter().chain([READERS[0]]) {
            self.until("a reader comes to the end", |site| site.has_come(place, last)).await;
        }
        for mirror in 1..NODES {
            self.until("a mirror comes to the end", |site| {
                check::same(&site.days(SERVER), &site.days(mirror)).is_ok()
            })
            .await;
        }
        self.stop_all().await;
        self.check(&producers, ids)
    }

    async fn until(&mut self, what: &str, mut is_so: impl FnMut(&Site) -> bool) {
        let began = Instant::now();
        while !is_so(&self.site) {
            self.faults.look(&self.site);
            assert!(began.elapsed() < patience(), "it does not come: {what}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// SIGTERM ends each program with 0.
    async fn stop_all(&mut self) {
        for place in (0..self.site.parts.len()).rev() {
            if READERS.contains(&place) {
                self.site.part(place).kill();
            }
            self.site.part(place).signal(rustix::process::Signal::TERM);
            let mut ended = None;
            until("it ends after SIGTERM", || {
                let mut part = self.site.part(place);
                ended = ended.or_else(|| part.ended());
                part.pid().is_none()
            })
            .await;
            let name = self.site.part(place).name.clone();
            assert!(ended.is_none_or(|status| status.success()), "{name}: {ended:?}");
        }
    }

    fn check(&self, producers: &[check::Produced], ids: Vec<String>) -> usize {
        let site = &self.site;
        let wrong = |whose: &str, checked: Result<(), String>| {
            if let Err(problem) = checked {
                panic!("{whose}: {problem}");
            }
        };
        let records = Records::new(ids).unwrap_or_else(|problem| panic!("{problem}"));
        wrong("the log", records.has(producers));
        for relay in RELAYS {
            wrong(&site.part(relay).name, records.came(&site.calls(relay)));
        }
        wrong("the group", records.was_read(&site.read()));
        let server = site.days(SERVER);
        for node in 0..NODES {
            let (name, days) = (site.part(node).name.clone(), site.days(node));
            wrong(&name, check::same(&server, &days));
            wrong(&name, check::unchanged(&self.faults.finished[node], &days));
            let finished = days.values().filter(|day| day.contains_key("finish")).count();
            assert_eq!((days.len(), finished), (3, 2), "{name}: three days, two are over");
            let verified = Command::new(PROGRAM).arg("verify").arg(site.data(node)).output();
            let verified = verified.unwrap();
            assert!(verified.status.success(), "{name}: {verified:?}");
        }
        records.len()
    }
}

/// Who is behind has so long to come to the end.
fn patience() -> Duration {
    DEADLINE * u32::try_from(size(2, 15)).unwrap()
}

/// The ids of all records in the files of a node.
fn log(site: &Site, node: usize) -> Vec<String> {
    let stream = stream_directory(&site.data(node), STREAM).unwrap();
    let mut reader = FileReader::open(&stream, Start::Earliest).unwrap();
    let mut ids = Vec::new();
    loop {
        let chunk = reader.read(1 << 20).unwrap();
        ids.extend(chunk.records.iter().map(|record| id_of(&record.payload)));
        if chunk.at_end {
            return ids;
        }
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < patience(), "it does not come: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
