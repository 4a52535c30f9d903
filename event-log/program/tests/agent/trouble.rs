//! The agent while nothing can be sent: the server is away, or refuses it.

use super::*;

impl Agent {
    /// Waits until it has a file open.
    fn holds(&self, path: &Path) {
        let wanted = fs::metadata(path).unwrap();
        let folder = format!("/proc/{}/fd", self.child.id());
        let is_it = |entry: std::io::Result<fs::DirEntry>| {
            let open = fs::metadata(entry.ok()?.path()).ok()?;
            (open.dev() == wanted.dev() && open.ino() == wanted.ino()).then_some(())
        };
        let until = Instant::now() + DEADLINE;
        while !fs::read_dir(&folder).unwrap().any(|entry| is_it(entry).is_some()) {
            assert!(Instant::now() < until, "it does not open {}", path.display());
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

/// A server whose token changes, at one address.
struct Guarded {
    directory: TempDir,
    server: ServerProcess,
}

impl Guarded {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("logs")).unwrap();
        fs::write(directory.path().join("token"), "old\n").unwrap();
        let config = write_config(directory.path(), "token = 'old'", "");
        let mut serve = Command::new(PROGRAM);
        let server = ServerProcess::start_by(serve.arg("serve").arg("--config").arg(config));
        Self { directory, server }
    }

    /// From now on the server wants another token.
    fn change_token(&mut self) {
        self.server.kill();
        let listen = format!("address = {:?}\ntoken = 'new'", self.server.address);
        let config = write_config(self.directory.path(), &listen, "");
        let mut serve = Command::new(PROGRAM);
        self.server = ServerProcess::start_by(serve.arg("serve").arg("--config").arg(config));
    }

    fn give_new_token(&self) {
        fs::write(self.directory.path().join("token"), "new\n").unwrap();
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.path().join("logs").join(name)
    }

    fn agent(&self) -> Agent {
        let text = format!(
            "[server]\naddress = {:?}\ntoken = {{ file = {:?} }}\n[agent]\nname = 'a'\n\
             pollInterval = '10ms'\nstatusInterval = '20ms'\n[files.logs]\nstream = '{STREAM}'\n\
             paths = [{:?}]\n",
            self.server.address,
            self.directory.path().join("token"),
            self.log("*")
        );
        Agent::start(self.directory.path(), &text)
    }

    async fn records(&self, count: usize) -> Vec<Record> {
        records(&client(&self.server.address, Some("new")), count).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_renamed_and_deleted_while_the_server_is_away_are_not_lost() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut site = Site::new(["statusInterval = '20ms'", ""]);
    let mut app = App::new(&site, "web");
    app.write(&mut random);
    let agent = site.agent();
    site.records(app.lines).await;
    site.server.kill();
    // Who has nothing to send does not notice it.
    app.write(&mut random);
    agent.says("records wait here");
    for _ in 0..size(4, 40) {
        app.write(&mut random);
        // The one before it is deleted by this.
        fs::rename(&app.path, site.log("web.log.1")).unwrap();
        app.write(&mut random);
        agent.holds(&app.path);
    }
    agent.says("following files");
    site.server = ServerProcess::start_at(site.directory.path(), &site.server.address.clone());
    let found = site.records(app.lines).await;
    app.has_all(&found);
    agent.term();
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_are_made_while_the_server_refuses_lose_and_repeat_nothing() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut site = Guarded::new();
    let path = site.log("web.log");
    let mut app = App { name: "web", path, lines: 0, rotated: 0 };
    app.write(&mut random);
    let agent = site.agent();
    agent.says("the server takes records");
    agent.holds(&app.path);
    site.change_token();
    app.write(&mut random);
    let said = agent.says("records wait here until somebody changes this");
    assert!(said.contains("the token is missing or wrong: it comes from the file"), "{said}");
    assert!(!said.contains("refused us"), "{said}");
    for round in 0..3 {
        app.write(&mut random);
        if round == 2 {
            // The copy stays, and is written anew: what was in it is in another file now.
            fs::copy(site.log("web.log.1"), site.log("web.log.0")).unwrap();
            fs::rename(site.log("web.log.2"), site.log("web.log.3")).unwrap();
            fs::rename(site.log("web.log.0"), site.log("web.log.2")).unwrap();
        } else if round == 1 {
            fs::rename(site.log("web.log.1"), site.log("web.log.2")).unwrap();
        }
        app.copy_in_place_and_truncate(&mut random).await;
        agent.holds(&site.log("web.log.1"));
    }
    app.write(&mut random);
    agent.signal("-HUP");
    agent.says("SIGHUP changes nothing");
    site.give_new_token();
    agent.says("the server takes records");
    let mut found = site.records(app.lines).await;
    let number =
        |record: &Record| text(record).split(' ').nth(1).unwrap().parse::<usize>().unwrap();
    found.sort_by_key(number);
    app.has_all(&found);
    // Nothing comes after it.
    add(&site.log("end.log"), "end\n");
    let found = site.records(app.lines + 1).await;
    assert_eq!(found.len(), app.lines + 1);
    agent.term();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_truncated_before_it_was_read_is_told_and_counted() {
    let mut site = Guarded::new();
    let path = site.log("web.log");
    add(&path, "read 1\n");
    let agent = site.agent();
    agent.says("the server takes records");
    agent.says("sent=1");
    site.change_token();
    add(&path, format!("{}\n", "x".repeat(699)));
    agent.says("records wait here until somebody changes this");
    agent.says("behind=700 B");
    fs::write(&path, "").unwrap();
    add(&path, "again\n");
    agent.says("behind=6 B");
    // What was held and then written anew is lost, too.
    fs::write(site.log("other.log"), "y".repeat(50)).unwrap();
    agent.says("behind=56 B");
    fs::write(site.log("other.log"), "z\n").unwrap();
    let said = agent.says("lost: the file was truncated");
    assert!(said.contains("other.log") && said.contains("bytes=50"), "{said}");
    agent.says("lost=50 B");
    site.give_new_token();
    // The server might have had it: the answer to it may have been what broke.
    let said = agent.says("lost: the file was truncated");
    assert!(said.contains("web.log") && said.contains("bytes=700"), "{said}");
    agent.says("lost=750 B");
    let mut found: Vec<_> = site.records(3).await.iter().map(text).collect();
    found.sort_unstable();
    assert_eq!(found, ["again", "read 1", "z"]);
    agent.term();
}
