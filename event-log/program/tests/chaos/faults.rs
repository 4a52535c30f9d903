//! What goes wrong, at random, and until when.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    check::Days,
    site::{AGENT, NODES, PIPE, READERS, RELAYS, REPORTER, SERVER, Site},
};
use crate::process::STREAM;

/// Room on a disk that is full soon.
const ROOM_BYTES: u64 = 20 << 10;

/// Something that is wrong now.
struct Trouble {
    until: Instant,
    at: At,
    remedy: Remedy,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Part(usize),
    Line(usize),
    Callback(usize),
}

enum Remedy {
    Start,
    Continue(Pid),
    Line,
    Room,
}

/// Makes faults, and heals them.
pub(super) struct Faults {
    random: StdRng,
    troubles: Vec<Trouble>,
    next: Instant,
    interval: Duration,
    /// Whether something is away for longer than the programs wait for each other.
    is_long: bool,
    lives: u64,
    is_reporter_done: bool,
    /// How often what happened.
    pub(super) counts: std::collections::BTreeMap<&'static str, u64>,
    /// Days of each node that were seen to be finished.
    pub(super) finished: [Days; NODES],
}

impl Faults {
    pub(super) fn new(random: StdRng, interval: Duration, is_long: bool) -> Self {
        Self {
            random,
            troubles: Vec::new(),
            next: Instant::now(),
            interval,
            is_long,
            lives: 0,
            is_reporter_done: false,
            counts: std::collections::BTreeMap::new(),
            finished: Default::default(),
        }
    }

    pub(super) fn is_reporter_done(&self) -> bool {
        self.is_reporter_done
    }

    /// Heals what is due, looks for what ended by itself, and makes the next fault if it is time.
    pub(super) fn turn(&mut self, site: &Site) {
        let now = Instant::now();
        let (due, rest) = std::mem::take(&mut self.troubles).into_iter().partition(|trouble| {
            let trouble: &Trouble = trouble;
            trouble.until <= now
        });
        self.troubles = rest;
        self.heal(due, site);
        self.look(site);
        if now >= self.next {
            self.next = now + self.interval.mul_f64(self.random.random_range(0.1..2.0));
            self.make(site);
        }
    }

    pub(super) fn heal_all(&mut self, site: &Site) {
        let all = std::mem::take(&mut self.troubles);
        self.heal(all, site);
    }

    fn heal(&mut self, troubles: Vec<Trouble>, site: &Site) {
        for Trouble { at, remedy, .. } in troubles {
            match (remedy, at) {
                (Remedy::Start, At::Part(place)) => {
                    self.lives += 1;
                    site.start(place, self.lives);
                }
                (Remedy::Continue(pid), _) => drop(kill_process(pid, Signal::CONT)),
                (Remedy::Room, At::Part(place)) => site.part(place).limit_files(None),
                (_, At::Line(line)) => {
                    site.lines[line].freeze(false);
                    site.lines[line].slow_down(u64::MAX);
                }
                _ => {}
            }
        }
    }

    /// Nothing ends by itself but the reporter, when all is done.
    pub(super) fn look(&mut self, site: &Site) {
        for place in (0..site.parts.len()).filter(|place| *place != PIPE) {
            let mut part = site.part(place);
            let Some(status) = part.ended() else { continue };
            if place == REPORTER && status.success() {
                self.is_reporter_done = true;
                continue;
            }
            let log = fs::read_to_string(part.log()).unwrap_or_default();
            let from = log.len().saturating_sub(4000);
            let last = log.get(from..).unwrap_or(&log);
            panic!("{} ended by itself with {status}: {last}", part.name);
        }
    }

    fn make(&mut self, site: &Site) {
        let busy: BTreeSet<At> = self.troubles.iter().map(|trouble| trouble.at).collect();
        // Everything goes through the server.
        let parts = (0..site.parts.len()).chain([SERVER; 3]).map(At::Part);
        let lines = (0..site.lines.len()).map(At::Line);
        let all = parts.chain(lines).chain(RELAYS.map(At::Callback));
        let may_fail = |at: &At| {
            let is_over = *at == At::Part(REPORTER) && self.is_reporter_done;
            !busy.contains(at) && !is_over
        };
        let all: Vec<At> = all.filter(may_fail).collect();
        match all[self.random.random_range(0..all.len())] {
            At::Part(place) => self.part(place, site),
            At::Line(line) => self.line(line, site),
            At::Callback(relay) => self.callback(relay, site),
        }
    }

    /// How long something is wrong: mostly a moment.
    fn time(&mut self) -> Duration {
        let longest = match self.random.random_range(0..20) {
            0 if self.is_long => 20_000,
            1..5 => 3000,
            _ => 500,
        };
        Duration::from_millis(self.random.random_range(0..longest))
    }

    fn note(&mut self, what: &'static str, at: At, remedy: Remedy) {
        *self.counts.entry(what).or_default() += 1;
        let until = Instant::now() + self.time();
        self.troubles.push(Trouble { until, at, remedy });
    }

    fn part(&mut self, place: usize, site: &Site) {
        let at = At::Part(place);
        match self.random.random_range(0..10) {
            0..5 => self.kill(place, site),
            5..9 => {
                let part = site.part(place);
                let Some(pid) = part.pid() else { return };
                part.signal(Signal::STOP);
                drop(part);
                self.note("stop", at, Remedy::Continue(pid));
            }
            _ if self.is_long && (place < NODES || place == REPORTER || place == PIPE) => {
                let limit = largest_file(site, place) + ROOM_BYTES;
                site.part(place).limit_files(Some(limit));
                self.note("full disk", at, Remedy::Room);
            }
            _ => {}
        }
    }

    fn kill(&mut self, place: usize, site: &Site) {
        site.part(place).kill();
        if place < NODES {
            site.add_finished(place, &mut self.finished[place]);
        }
        let what = match place {
            SERVER => "kill the server",
            1..NODES => "kill a mirror",
            AGENT | REPORTER | PIPE => "kill a reporter",
            7 | 8 => "kill a relay",
            _ if READERS.contains(&place) => "kill a reader",
            _ => "kill",
        };
        // The next run of the pipe begins by itself.
        self.note(what, At::Part(place), if place == PIPE { Remedy::Line } else { Remedy::Start });
    }

    fn line(&mut self, line: usize, site: &Site) {
        let proxy = &site.lines[line];
        match self.random.random_range(0..10) {
            0..4 => {
                proxy.cut();
                self.note("cut a line", At::Line(line), Remedy::Line);
            }
            4..6 => {
                proxy.freeze(true);
                self.note("freeze a line", At::Line(line), Remedy::Line);
            }
            6..8 => {
                let rate = self.random.random_range(10_000..500_000);
                proxy.slow_down(rate);
                self.note("slow a line down", At::Line(line), Remedy::Line);
            }
            _ if self.is_long => {
                proxy.lose();
                self.note("lose a line", At::Line(line), Remedy::Line);
            }
            _ => {}
        }
    }

    fn callback(&mut self, relay: usize, site: &Site) {
        let Some(pid) = site.callback(relay) else { return };
        let (what, signal) = match self.random.random_range(0..2) {
            0 => ("kill a callback", Signal::KILL),
            _ => ("stop a callback", Signal::STOP),
        };
        // It may be gone, and its number be that of another process only after a very long time.
        if kill_process(pid, signal).is_ok() {
            self.note(what, At::Callback(relay), Remedy::Continue(pid));
        }
    }

    /// Begins to fill the server's disk; `false` when the server does not run now.
    pub(super) fn fill_disk(&mut self, site: &Site) -> bool {
        let at = At::Part(SERVER);
        if self.troubles.iter().any(|trouble| trouble.at == at) {
            return false;
        }
        let limit = largest_file(site, SERVER) + ROOM_BYTES;
        site.part(SERVER).limit_files(Some(limit));
        let until = Instant::now() + crate::process::DEADLINE;
        self.troubles.push(Trouble { until, at, remedy: Remedy::Room });
        true
    }

    /// The server says that its disk is full: it gets room soon.
    pub(super) fn disk_is_full(&mut self) {
        let until = Instant::now() + self.time();
        for trouble in &mut self.troubles {
            if matches!(trouble.remedy, Remedy::Room) && trouble.at == At::Part(SERVER) {
                trouble.until = until;
            }
        }
    }
}

/// The size of the last data file of a node, or of a spool.
fn largest_file(site: &Site, place: usize) -> u64 {
    let name = site.part(place).name.clone();
    let stream = match place {
        0..NODES => site.data(place).join(STREAM),
        _ => site.path(&name).join("spool/spool"),
    };
    let days = fs::read_dir(stream).into_iter().flatten().flatten().map(|day| day.path());
    let last_day = days.filter(|day| day.is_dir()).max();
    let files = last_day.and_then(|day| fs::read_dir(day).ok()).into_iter().flatten().flatten();
    let data = files.filter(|file| file.file_name().to_string_lossy().starts_with("data"));
    let last = data.max_by_key(|file| file.file_name());
    last.and_then(|file| Some(file.metadata().ok()?.len())).unwrap_or_default()
}
