//! All that takes part: the processes, where they work, and the connections between them.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{RngExt, rngs::StdRng};
use rustix::process::{Signal, kill_process};
use service::clock::TEST_CLOCK_VARIABLE;
use tempfile::TempDir;

use super::{
    check::{Call, DayFiles, Days, Noted, Produced},
    child,
    part::{Part, role_arguments},
    proxy::Proxy,
    sources::Pace,
};
use crate::process::{STREAM, size, write_config};

/// The places of the parts in [`Site::parts`]; the first ones have a log.
pub(super) const SERVER: usize = 0;
pub(super) const MIRRORS: [usize; 2] = [1, 2];
pub(super) const NODES: usize = 4;
pub(super) const AGENT: usize = 4;
pub(super) const REPORTER: usize = 5;
pub(super) const PIPE: usize = 6;
pub(super) const RELAYS: [usize; 2] = [7, 8];
pub(super) const READERS: [usize; 2] = [9, 10];
const NAMES: [&str; 11] = [
    "server",
    "first",
    "second",
    "third",
    "agent",
    "reporter",
    "pipe",
    "relay-of-server",
    "relay-of-files",
    "reader-a",
    "reader-b",
];

pub(super) struct Site {
    directory: Option<TempDir>,
    pub(super) parts: Vec<Arc<Mutex<Part>>>,
    /// From every part but the server to what it reads or writes.
    pub(super) lines: Vec<Proxy>,
    ahead_ms: i64,
}

impl Site {
    pub(super) async fn new(random: &mut StdRng, pace: Pace) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut site =
            Self { directory: Some(directory), parts: vec![], lines: vec![], ahead_ms: 0 };
        site.set_clock(0);
        let ports: [u16; NODES] = std::array::from_fn(|_| free_port(random));
        let at = |node: usize| format!("127.0.0.1:{}", ports[node]);
        for (place, name) in NAMES.into_iter().enumerate() {
            fs::create_dir(site.path(name)).unwrap();
            // The third copies the first mirror; what follows the agent finds the server.
            let target = if place == 3 { MIRRORS[0] } else { SERVER };
            let line = Proxy::start(at(target)).await;
            let address = line.address.clone();
            if place != SERVER {
                site.lines.push(line);
            }
            let mut part = match place {
                0..NODES => site.node(place, &at(place), &address),
                AGENT => site.agent(&address),
                PIPE => site.pipe(&address),
                7 | 8 => site.relay(place, &address),
                REPORTER => Part::role(name, &site.path(name), "reporter"),
                _ => Part::role(name, &site.path(name), "reader"),
            };
            part.set(TEST_CLOCK_VARIABLE, site.path("clock").display());
            // Days are UTC, wherever a part is.
            part.set("TZ", ["UTC", "Pacific/Kiritimati", "America/New_York"][place % 3]);
            let journal = if READERS.contains(&place) { "readers" } else { name };
            part.set("CHAOS_JOURNAL", site.journal(journal).display());
            part.set("CHAOS_SPOOL", site.path(name).join("spool").display());
            part.set("CHAOS_PID", site.path(name).join("pid").display());
            part.set("CHAOS_ADDRESS", &address);
            part.set("CHAOS_NAME", name);
            part.set("CHAOS_SEED", pace.seed);
            part.set("CHAOS_TARGET", pace.records);
            part.set("CHAOS_PAUSE_US", pace.pause.as_micros());
            site.parts.push(Arc::new(Mutex::new(part)));
        }
        site
    }

    fn node(&self, place: usize, listen: &str, from: &str) -> Part {
        let directory = self.path(NAMES[place]);
        let mirror = format!(
            "[mirror]\nfrom = '{from}'\nstreams = ['{STREAM}']\nname = '{}'\nstartDays = 'all'",
            NAMES[place]
        );
        let mirror = if place == SERVER { "" } else { &mirror };
        write_config(&directory, &format!("address = '{listen}'"), mirror);
        let verb = if place == SERVER { "serve" } else { "mirror" };
        Part::program(NAMES[place], &directory, &[verb, "--config", "event-log.toml"])
    }

    fn agent(&self, address: &str) -> Part {
        let directory = self.path("agent");
        let text = format!(
            "[server]\naddress = '{address}'\n[agent]\nname = 'a'\npollInterval = '10ms'\n\
             [files.logs]\nstream = '{STREAM}'\npaths = [{:?}]\n",
            directory.join("app.log*")
        );
        fs::write(directory.join("agent.toml"), text).unwrap();
        Part::program("agent", &directory, &["agent", "--config", "agent.toml"])
    }

    fn pipe(&self, address: &str) -> Part {
        let more = ["--spool", "spool", "--producer", "pipe", "--spool-bytes", "4MiB"];
        let arguments = ["append", "--address", address, "--stream", STREAM];
        Part::program("pipe", &self.path("pipe"), &[&arguments[..], &more].concat())
    }

    /// One reads the server, the other the files of the last mirror.
    fn relay(&self, place: usize, address: &str) -> Part {
        let (name, directory) = (NAMES[place], self.path(NAMES[place]));
        let source = if place == RELAYS[0] {
            format!("from = '{address}'")
        } else {
            format!("directory = {:?}\nstate = 'place.json'", self.data(3))
        };
        // The harness of this binary writes to standard output.
        let callback = "exec 3>&1 >&2; exec \"$@\"";
        let callback: Vec<String> = ["sh", "-c", callback, "sh"].map(str::to_owned).to_vec();
        let callback = [callback, role_arguments()].concat();
        let text = format!(
            "[relay.{name}]\n{source}\nstream = '{STREAM}'\nhandler = {{ exec = {callback:?} }}\n\
             batchSize = {}\nretry = {{ min = '10ms', max = '100ms' }}\n",
            size(200, 1000)
        );
        fs::write(directory.join("relay.toml"), text).unwrap();
        let mut part = Part::program(name, &directory, &["relay", "--config", "relay.toml"]);
        part.set(child::ROLE, "callback");
        part
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.as_ref().unwrap().path().join(name)
    }

    pub(super) fn data(&self, node: usize) -> PathBuf {
        self.path(NAMES[node]).join("data")
    }

    fn journal(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.journal"))
    }

    pub(super) fn part(&self, place: usize) -> MutexGuard<'_, Part> {
        self.parts[place].lock().unwrap()
    }

    /// Starts it; the reporter goes on after what it knows to be in its spool.
    pub(super) fn start(&self, place: usize, life: u64) {
        let mut part = self.part(place);
        if place == REPORTER {
            let known = self.reported().acknowledged.last().map_or(0, |(_, _, last)| last + 1);
            part.set("CHAOS_LIFE", life);
            part.set("CHAOS_NEXT", known);
        }
        part.start();
    }

    fn set_clock(&mut self, ahead_ms: i64) {
        self.ahead_ms = ahead_ms;
        let fresh = self.path("clock.new");
        fs::write(&fresh, ahead_ms.to_string()).unwrap();
        fs::rename(fresh, self.path("clock")).unwrap();
    }

    /// Sets the clock of all programs to a moment before midnight.
    pub(super) fn before_midnight(&mut self, moment: Duration) {
        const DAY_MS: i64 = 86_400_000;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let now = i64::try_from(now).unwrap() + self.ahead_ms;
        let left = DAY_MS - now % DAY_MS - i64::try_from(moment.as_millis()).unwrap();
        self.set_clock(self.ahead_ms + left);
    }

    pub(super) fn reported(&self) -> Produced {
        let lines = child::lines(&self.journal("reporter"));
        let numbers = |line: &String| {
            let numbers: Vec<u64> = line.split(' ').map(|part| part.parse().unwrap()).collect();
            (numbers[0], numbers[1], numbers[2])
        };
        let acknowledged = lines.iter().map(numbers).collect();
        Produced { name: "rust".to_owned(), acknowledged }
    }

    pub(super) fn calls(&self, relay: usize) -> Vec<Call> {
        let lines = child::lines(&self.journal(NAMES[relay]));
        let call = |line: &String| {
            let (is_done, ids) = line.split_once(' ').unwrap();
            Call { is_done: is_done == "true", ids: ids.split(',').map(str::to_owned).collect() }
        };
        lines.iter().map(call).collect()
    }

    pub(super) fn read(&self) -> Vec<Noted> {
        let lines = child::lines(&self.journal("readers"));
        let noted = |line: &String| {
            let (word, rest) = line.split_once(' ').unwrap();
            if word == "got" {
                let ids = rest.split(',').map(str::to_owned).collect();
                return Noted::Got(Call { is_done: true, ids });
            }
            let (member, number) = rest.split_once(' ').unwrap();
            let (member, number) = (member.parse().unwrap(), number.parse().unwrap());
            match word {
                "assigned" => Noted::Assigned { member, position: number },
                _ => Noted::Committed { member, offset: number },
            }
        };
        lines.iter().map(noted).collect()
    }

    /// Whether the last lines of a journal have this id as done.
    pub(super) fn has_come(&self, place: usize, id: &str) -> bool {
        let name = if READERS.contains(&place) { "readers" } else { NAMES[place] };
        let text = fs::read(self.journal(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(64 << 10)..]);
        text.lines().any(|line| !line.starts_with("false") && line.ends_with(&format!("{id} .")))
    }

    /// The process that a relay calls.
    pub(super) fn callback(&self, relay: usize) -> Option<rustix::process::Pid> {
        let pid = fs::read_to_string(self.path(NAMES[relay]).join("pid")).ok()?;
        rustix::process::Pid::from_raw(pid.parse().ok()?)
    }

    /// Every file of every day of a node.
    pub(super) fn days(&self, node: usize) -> Days {
        days(&self.data(node).join(STREAM), |_| true)
    }

    pub(super) fn day_count(&self, node: usize) -> usize {
        let entries = fs::read_dir(self.data(node).join(STREAM)).into_iter().flatten();
        entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir())).count()
    }

    /// Adds the days of a node that are finished and not known yet.
    pub(super) fn add_finished(&self, node: usize, known: &mut Days) {
        let stream = self.data(node).join(STREAM);
        let is_new =
            |day: &Path| day.join("finish").exists() && !known.contains_key(&*file_name(day));
        let fresh = days(&stream, is_new);
        known.extend(fresh);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for callback in RELAYS.iter().filter_map(|relay| self.callback(*relay)) {
            // It may be stopped.
            let _ = kill_process(callback, Signal::KILL);
        }
        for part in &self.parts {
            // One that has panicked is killed, too.
            part.lock().unwrap_or_else(PoisonError::into_inner).end();
        }
        if std::thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            let kept = directory.keep();
            let _ = writeln!(std::io::stdout(), "all files are in {}", kept.display());
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn days(stream: &Path, is_wanted: impl Fn(&Path) -> bool) -> Days {
    let Ok(entries) = fs::read_dir(stream) else { return Days::new() };
    let days = entries.map(|day| day.unwrap().path()).filter(|day| day.is_dir() && is_wanted(day));
    days.map(|day| (file_name(&day), files(&day))).collect()
}

fn files(day: &Path) -> DayFiles {
    let files = fs::read_dir(day).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (file_name(&path), fs::read(&path).unwrap())).collect()
}

/// A port below those that the system gives to clients: one of them could have it when the server
/// comes back.
fn free_port(random: &mut StdRng) -> u16 {
    loop {
        let port = random.random_range(20_000..30_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
