//! `event-log agent` over files that grow, rotate and vanish, and a real server.

mod refused;
mod trouble;

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use event_log::{AgentConfig, Client, Event, Record};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use service::config::{
    self,
    commented::{commented_keys, plain_keys, wrong_keys},
};
use tempfile::TempDir;

use crate::process::{
    DEADLINE, PROGRAM, STREAM, ServerProcess, assigned, client, size, subscribe, subscribed,
    write_config,
};
use crate::tls::make_certificate;

/// A folder of logs, a server, and an agent.
struct Site {
    directory: TempDir,
    server: ServerProcess,
    /// What the config of the agent has more: of `[agent]`, and of `[files.logs]`.
    more: [&'static str; 2],
}

/// An agent; killed when it is dropped.
struct Agent {
    child: Child,
    lines: Receiver<String>,
}

impl Site {
    fn new(more: [&'static str; 2]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("logs")).unwrap();
        let server = ServerProcess::start(directory.path());
        Self { directory, server, more }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.path().join("logs").join(name)
    }

    fn agent(&self) -> Agent {
        let [agent, files] = self.more;
        let glob = self.log("*");
        let paths =
            if files.contains("paths") { String::new() } else { format!("paths = [{glob:?}]") };
        let text = format!(
            "[server]\naddress = {:?}\n[agent]\nname = 'a'\npollInterval = '10ms'\n{agent}\n\
             [files.logs]\nstream = '{STREAM}'\n{paths}\n{files}\n",
            self.server.address
        );
        Agent::start(self.directory.path(), &text)
    }

    fn restart_server(&mut self) {
        self.server.kill();
        self.server = ServerProcess::start_at(self.directory.path(), &self.server.address.clone());
    }

    /// Waits until the stream has so many records, and gives them.
    async fn records(&self, count: usize) -> Vec<Record> {
        records(&client(&self.server.address, None), count).await
    }

    async fn texts(&self, count: usize) -> Vec<String> {
        self.records(count).await.iter().map(text).collect()
    }
}

async fn records(client: &Client, count: usize) -> Vec<Record> {
    let mut all = Vec::new();
    let read = async {
        let mut subscription = subscribed(client, subscribe("", "reader")).await;
        assigned(&mut subscription).await.unwrap();
        while all.len() < count {
            if let Event::Records { records, .. } = subscription.next().await.unwrap() {
                all.extend(records);
            }
        }
    };
    let is_late = tokio::time::timeout(DEADLINE, read).await.is_err();
    let last: Vec<String> = all.iter().rev().take(3).map(text).collect();
    assert!(!is_late, "{} of {count} lines, the last are {last:?}", all.len());
    all
}

fn text(record: &Record) -> String {
    String::from_utf8_lossy(&record.payload).into_owned()
}

fn header(record: &Record, name: &str) -> Option<String> {
    let found = record.headers.iter().find(|header| header.name() == name)?;
    Some(String::from_utf8_lossy(&found.value).into_owned())
}

impl Agent {
    fn start(directory: &Path, config: &str) -> Self {
        let path = directory.join("agent.toml");
        fs::write(&path, config).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["agent", "--config"]).arg(path).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (to, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).for_each(|line| drop(to.send(line)));
        });
        Self { child, lines }
    }

    /// Waits until it says this.
    fn says(&self, text: &str) -> String {
        let (mut seen, until) = (String::new(), Instant::now() + DEADLINE);
        let left = || until.saturating_duration_since(Instant::now());
        while let Ok(line) = self.lines.recv_timeout(left()) {
            if line.contains(text) {
                return line;
            }
            seen = seen + &line + "\n";
        }
        panic!("it did not say {text:?}, but {seen}");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn term(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn add(path: &Path, text: impl AsRef<[u8]>) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_ref()).unwrap();
}

/// An app that writes numbered lines to a log.
struct App {
    name: &'static str,
    path: PathBuf,
    lines: usize,
    rotated: usize,
}

impl App {
    fn new(site: &Site, name: &'static str) -> Self {
        Self { name, path: site.log(&format!("{name}.log")), lines: 0, rotated: 0 }
    }

    /// Writes lines, and not always whole ones at once.
    fn write(&mut self, random: &mut StdRng) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        for _ in 0..random.random_range(1..200) {
            let line = self.line(self.lines);
            let (one, other) = line.split_at(random.random_range(0..line.len()));
            file.write_all(one.as_bytes()).unwrap();
            file.write_all(other.as_bytes()).unwrap();
            self.lines += 1;
        }
    }

    fn line(&self, number: usize) -> String {
        format!("{} {number} {}\n", self.name, "x".repeat(number % 50))
    }

    /// Moves it away: app.log.1 becomes app.log.2, and so on; the fourth is deleted.
    fn rename(&mut self) {
        let old = |number| PathBuf::from(format!("{}.{number}", self.path.display()));
        for number in (1..3).rev() {
            let _ = fs::rename(old(number), old(number + 1));
        }
        fs::rename(&self.path, old(1)).unwrap();
        self.rotated += 1;
        File::create(&self.path).unwrap();
    }

    /// As `cp app.log app.log.1; : > app.log`: the copy stays the same file.
    async fn copy_in_place_and_truncate(&mut self, random: &mut StdRng) {
        fs::copy(&self.path, format!("{}.1", self.path.display())).unwrap();
        self.truncate_soon(random).await;
    }

    async fn copy_and_truncate(&mut self, random: &mut StdRng) {
        self.rotated += 1;
        let copy = format!("{}.{}", self.path.display(), self.rotated);
        fs::copy(&self.path, copy).unwrap();
        self.truncate_soon(random).await;
    }

    async fn truncate_soon(&self, random: &mut StdRng) {
        if random.random() {
            // The agent may see the copy while its original is still whole.
            tokio::time::sleep(Duration::from_millis(random.random_range(0..40))).await;
        }
        OpenOptions::new().write(true).open(&self.path).unwrap().set_len(0).unwrap();
    }

    /// All lines are there once, and in their order.
    fn has_all(&self, records: &[Record]) {
        let texts = records.iter().map(text);
        let found: Vec<String> =
            texts.filter(|text| text.starts_with(&format!("{} ", self.name))).collect();
        let expected: Vec<String> = (0..self.lines).map(|number| self.line(number)).collect();
        let is_other = |(one, other): (&String, &String)| *other != format!("{one}\n");
        let differ = found.iter().zip(&expected).position(is_other);
        if let Some(at) = differ {
            panic!("line {at}: {:?}", &found[at.saturating_sub(2)..(at + 3).min(found.len())]);
        }
        assert_eq!(found.len(), expected.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_comes_once_and_in_order_over_rotations_and_kill_9_of_both_ends() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut site = Site::new(["", ""]);
    let mut apps = ["shop", "pay"].map(|name| App::new(&site, name));
    let mut agent = site.agent();
    for _ in 0..size(12, 200) {
        for app in &mut apps {
            app.write(&mut random);
            if random.random() {
                app.rename();
                app.write(&mut random);
            }
        }
        match random.random_range(0..4) {
            0 => {
                agent.kill();
                apps[0].write(&mut random);
                agent = site.agent();
            }
            1 => site.restart_server(),
            2 => {
                agent.kill();
                site.restart_server();
                agent = site.agent();
            }
            _ => {}
        }
        let all = apps.iter().map(|app| app.lines).sum();
        // The fourth old file is deleted: no agent can read what it has not seen until then.
        let is_deleted_next = apps.iter().any(|app| app.rotated >= 2);
        if random.random() || is_deleted_next {
            site.records(all).await;
            apps.iter_mut().for_each(|app| app.rotated = 0);
        }
    }
    let all = apps.iter().map(|app| app.lines).sum();
    let found = site.records(all).await;
    apps.iter().for_each(|app| app.has_all(&found));
    agent.term();
    // Nothing comes twice at the next start either.
    let agent = site.agent();
    add(&site.log("end.log"), "end\n");
    let found = site.records(all + 1).await;
    assert_eq!((found.len(), &*text(&found[all])), (all + 1, "end"));
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn copytruncate_repeats_nothing_and_loses_nothing_that_is_in_the_copy() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut site = Site::new(["", ""]);
    let mut app = App::new(&site, "shop");
    let mut agent = site.agent();
    for _ in 0..size(12, 200) {
        app.write(&mut random);
        match random.random_range(0..4) {
            0 => {
                agent.kill();
                app.write(&mut random);
                app.copy_and_truncate(&mut random).await;
                agent = site.agent();
            }
            1 => {
                site.restart_server();
                app.copy_and_truncate(&mut random).await;
            }
            2 => drop(site.records(app.lines).await),
            _ => app.copy_and_truncate(&mut random).await,
        }
        // The next round copies what the agent has seen of this one.
        site.records(app.lines).await;
    }
    let found = site.records(app.lines).await;
    assert_eq!(found.len(), app.lines);
    app.has_all(&found);
    agent.term();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_overwritten_in_place_repeats_nothing_and_loses_nothing() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut site = Site::new(["", ""]);
    let mut app = App::new(&site, "shop");
    let mut agent = site.agent();
    for _ in 0..size(12, 200) {
        app.write(&mut random);
        match random.random_range(0..5) {
            0 => {
                agent.kill();
                app.write(&mut random);
                app.copy_in_place_and_truncate(&mut random).await;
                agent = site.agent();
            }
            1 => {
                site.restart_server();
                app.copy_in_place_and_truncate(&mut random).await;
            }
            2 => {
                site.records(app.lines).await;
                app.copy_in_place_and_truncate(&mut random).await;
                app.write(&mut random);
            }
            _ => app.copy_in_place_and_truncate(&mut random).await,
        }
        // The next round overwrites the copy.
        site.records(app.lines).await;
    }
    add(&site.log("end.log"), "end\n");
    let found = site.records(app.lines + 1).await;
    assert_eq!(found.len(), app.lines + 1);
    app.has_all(&found);
    agent.term();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_file_comes_as_it_is_and_says_where_it_was() {
    let site = Site::new(["maxLineBytes = '1KiB'\ncloseAfter = '50ms'", "topic = 't'"]);
    let path = site.log("a.log");
    let long = "y".repeat(2500);
    add(&path, [b"one\n\nb\xffd\n", long.as_bytes(), b"\nlast"].concat());
    // What is compressed is not followed.
    fs::write(site.log("old.log.gz"), "gz\n").unwrap();
    let agent = site.agent();
    let found = site.records(6).await;
    let parts: Vec<_> = found.iter().map(|record| (text(record), header(record, "part"))).collect();
    let part = |number: &str| Some(number.to_owned());
    let y = |count| "y".repeat(count);
    assert_eq!(
        parts,
        [
            ("one".to_owned(), None),
            (String::new(), None),
            ("b\u{fffd}d".to_owned(), None),
            (y(1024), part("1")),
            (y(1024), part("2")),
            (y(452), part("3")),
        ]
    );
    assert_eq!(found[2].payload, &b"b\xffd"[..]);
    assert_eq!(header(&found[5], "parts"), part("3"));
    assert_eq!(header(&found[4], "parts"), None);
    assert_eq!(header(&found[2], "offset").unwrap(), "5");
    assert_eq!(header(&found[2], "file").unwrap(), path.to_str().unwrap());
    assert_eq!((found[0].topic(), found[0].kind), ("t", 1000));
    // A last line waits for its end, until the file is moved away and lets no more come.
    add(&path, " line\nno end");
    assert_eq!(site.texts(7).await[6], "last line");
    fs::rename(&path, site.directory.path().join("moved")).unwrap();
    assert_eq!(site.texts(8).await[7], "no end");
    // Its place is forgotten: the same file is a new one when it comes back.
    let forgotten = async {
        loop {
            let places = site.server.client().checkpoint(STREAM, "a").await.unwrap();
            if !places.keys().any(|key| key.starts_with("file.logs.")) {
                return places;
            }
        }
    };
    let places = tokio::time::timeout(DEADLINE, forgotten).await.unwrap();
    assert!(places.contains_key("set.logs"), "{places:?}");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_anew_is_read_from_its_beginning() {
    let site = Site::new(["", ""]);
    let path = site.log("a.log");
    fs::write(&path, "first 1\nfirst 2\n").unwrap();
    let mut agent = site.agent();
    site.records(2).await;
    // As large as before, and larger; also while nobody looks.
    for (round, lines) in [(1, "secnd 1\nsecnd 2\n"), (2, "third 1\nthird 2\nthird 3\n")] {
        if round == 2 {
            agent.kill();
        }
        fs::write(&path, lines).unwrap();
        if round == 2 {
            agent = site.agent();
        }
        site.records(2 * round + 1 + round).await;
    }
    let found = site.texts(7).await;
    assert_eq!(found[2..4], ["secnd 1", "secnd 2"]);
    assert_eq!(found[4..], ["third 1", "third 2", "third 3"]);
    agent.kill();
    // Another file at the same path, most often with the same inode.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "fourth, and much longer than all that was in the file before it\n").unwrap();
    let agent = site.agent();
    assert!(site.texts(8).await[7].starts_with("fourth"));
    agent.term();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_file_that_goes_on_is_a_file_of_its_own_after_a_while() {
    let site = Site::new(["closeAfter = '200ms'", "exclude = []"]);
    fs::write(site.log("a.log"), "one\n").unwrap();
    let agent = site.agent();
    site.records(1).await;
    fs::write(site.log("b.log"), "one\n").unwrap();
    let found = site.records(2).await;
    assert!(header(&found[1], "file").unwrap().ends_with("b.log"));
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_no_json_are_kept_and_marked() {
    let site = Site::new(["maxLineBytes = '1KiB'", "type = 'json'"]);
    let long = format!("\"{}\"", "z".repeat(1500));
    add(&site.log("a.log"), format!("{{\"a\":1}}\nno\n{long}\n[2]\n"));
    let agent = site.agent();
    let found = site.records(5).await;
    let kinds: Vec<_> = found.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [1201, 1000, 1000, 1000, 1201]);
    assert!(header(&found[1], "problem").unwrap().starts_with("is not JSON"));
    assert_eq!(header(&found[2], "problem").unwrap(), "is longer than 1024 bytes");
    agent.says("is kept as it is, with type 1000");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_new_lines_come_where_that_is_asked_and_new_files_come_whole() {
    let site = Site::new(["", "start = 'end'"]);
    let path = site.log("a.log");
    add(&path, "old\nhalf");
    let agent = site.agent();
    agent.says("the server takes records");
    add(&path, " a line\n");
    add(&site.log("b.log"), "new\n");
    let mut found = site.texts(2).await;
    found.sort_unstable();
    assert_eq!(found, ["half a line", "new"]);
    drop(agent);
    add(&site.log("c.log"), "later\n");
    let agent = site.agent();
    assert_eq!(site.texts(3).await[2], "later");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_trouble_holds_up_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let access = "[access.a]\ntoken = 'secret'\nrights = ['append', 'read']\n\
                  maxRecordBytes = '1KiB'\n";
    let config = write_config(directory.path(), "", access);
    let mut serve = Command::new(PROGRAM);
    let server = ServerProcess::start_by(serve.arg("serve").arg("--config").arg(config));
    let log = |name: &str| directory.path().join(name);
    let agent = |token: &str| {
        let text = format!(
            "[server]\naddress = {:?}\ntoken = '{token}'\n[agent]\nname = 'a'\n\
             pollInterval = '10ms'\n[files.logs]\nstream = '{STREAM}'\npaths = [{:?}]\n",
            server.address,
            log("*.log")
        );
        Agent::start(directory.path(), &text)
    };
    let mut refused = agent("wrong");
    refused.says("the token is missing or wrong");
    assert_eq!(refused.child.wait().unwrap().code(), Some(69));

    add(&log("a.log"), format!("a1\na2\n{}\nafter\n", "x".repeat(2000)));
    add(&log("b.log"), "b1\n");
    // Nobody reads this one, not even root.
    std::os::unix::fs::symlink(log("loop.log"), log("loop.log")).unwrap();
    let started = Instant::now();
    let agent = agent("secret");
    let said = agent.says("a file cannot be read");
    assert!(said.contains("loop.log"), "{said}");
    let said = agent.says("the server rejects the line here");
    assert!(said.contains("a.log") && said.contains("offset=6"), "{said}");
    assert!(said.contains("maxRecordBytes"), "{said}");
    add(&log("b.log"), "b2\n");
    let client = client(&server.address, Some("secret"));
    let mut found: Vec<_> = records(&client, 4).await.iter().map(text).collect();
    found.sort_unstable();
    assert_eq!(found, ["a1", "a2", "b1", "b2"]);
    assert!(started.elapsed() < DEADLINE, "nothing waited for the line");
    agent.term();
}

const SHIPPED: &str = include_str!("../../../config/event-log-agent.toml");

/// What a config means. There must be something to follow.
fn meaning(text: &str) -> Result<String, String> {
    let more =
        if text.contains("\n[files.") { "" } else { "\n[files.x]\npaths = ['x']\nstream = 's'" };
    let file = config::File::parse(Path::new("agent.toml"), &format!("{text}{more}")).unwrap();
    let meaning = format!("{:?}", AgentConfig::read(file.root(), "HOST"));
    file.finish(meaning).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn every_key_of_the_config_that_we_ship_is_known_and_shows_its_default() {
    assert_eq!(plain_keys(SHIPPED), Vec::<String>::new());
    assert_eq!(meaning(SHIPPED), meaning(""));
    let keys = commented_keys(SHIPPED);
    assert_eq!(wrong_keys(&keys, meaning), Vec::<String>::new());
    let defaults = keys.iter().filter(|key| key.shows_default).count();
    assert_eq!((defaults, keys.len()), (14, 21));
}

#[test]
fn all_mistakes_of_the_config_are_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[server]\naddress = 'x'\ncertFile = 'c'\n[agent]\npollIntervall = '1s'\n\
                maxLineBytes = '1GiB'\nstatusInterval = '0s'\n[files.a]\nstream = '-'\n\
                type = 'xml'\njson = true\n[files.b]\npaths = []\nstream = 's'\n";
    let agent = Agent::start(directory.path(), text);
    let mut said = String::new();
    while let Ok(line) = agent.lines.recv_timeout(Duration::from_secs(60)) {
        said = said + &line + "\n";
    }
    for key in [
        "server.address",
        "server.keyFile",
        "did you mean pollInterval",
        "agent.maxLineBytes",
        "agent.statusInterval",
        "files.a.paths",
        "files.a.stream",
        "files.a.type",
        "files.a.json",
        "files.b.paths",
    ] {
        assert!(said.contains(key), "{key} in {said}");
    }
    let mut agent = agent;
    assert_eq!(agent.child.wait().unwrap().code(), Some(64));
}
