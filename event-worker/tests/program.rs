//! The program `event-worker` as processes, on a real log that the test hosts.

use std::{
    collections::BTreeSet,
    iter::repeat_with,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use event_bus::{Batch, Book, Bus, BusConfig, CheckpointChange, EmbeddedLog, Producer};
use serde_json::Value;
use service::config::File;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::bus::{PATIENCE, TOPIC, event};

/// A log, a config and a directory of a test's own.
pub(crate) struct Site {
    directory: TempDir,
    log_port: u16,
    pub(crate) api_port: u16,
    log: Option<RunningLog>,
    next: u64,
}

struct RunningLog {
    producer: Box<dyn Producer>,
    bus: Arc<dyn Bus>,
    stop: CancellationToken,
    task: AbortOnDropHandle<event_bus::Result<()>>,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut site =
            Self { directory, log_port: free_port(), api_port: free_port(), log: None, next: 0 };
        site.start_log().await;
        site
    }

    pub(crate) async fn start_log(&mut self) {
        let config = self.bus_config();
        let log = EmbeddedLog::open(config.embedded_log().unwrap(), &config.topic_prefix);
        let log = log.await.unwrap();
        let (bus, stop) = (log.bus(), CancellationToken::new());
        let task = AbortOnDropHandle::new(tokio::spawn(log.serve(stop.clone())));
        let (producer, _) = bus.producer("test").await.unwrap();
        self.log = Some(RunningLog { producer, bus, stop, task });
    }

    pub(crate) async fn stop_log(&mut self) {
        let RunningLog { producer, bus, stop, task } = self.log.take().unwrap();
        drop((producer, bus));
        stop.cancel();
        timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
    }

    fn bus_config(&self) -> BusConfig {
        let file = File::parse(Path::new("test.toml"), &self.bus_section()).unwrap();
        let config = BusConfig::read(&file.root().section("bus"));
        file.finish(config).unwrap()
    }

    fn bus_section(&self) -> String {
        let directory = self.path("log");
        format!(
            "[bus]\naddress = '127.0.0.1:{}'\ndirectory = '{}'\n",
            self.log_port,
            directory.display()
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.path("listener.toml")
    }

    /// Writes the config; `listeners` are its `[listeners.…]` tables.
    pub(crate) fn configure(&self, listeners: &str) {
        let text = format!(
            "{}[listen]\naddress = '127.0.0.1:{}'\n[supervisor]\ndirectory = '{}'\n{listeners}",
            self.bus_section(),
            self.api_port,
            self.path("state").display()
        );
        std::fs::write(self.config_file(), text).unwrap();
    }

    /// Appends one insert per key; ids count from `e0` over all calls.
    pub(crate) async fn append(&mut self, keys: &[&str]) {
        let mut records = Batch::default();
        for key in keys {
            let id = self.next;
            self.next += 1;
            records.push_copy(TOPIC, key.as_bytes(), event(id, key, "insert").as_bytes());
        }
        self.log.as_mut().unwrap().producer.append(&records, &[]).await.unwrap();
    }

    /// The log, as another client of it.
    pub(crate) fn bus(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.log.as_ref().unwrap().bus)
    }

    /// What appends to the log: whoever has it is the one `dts`, and `append` is not called again.
    pub(crate) fn take_producer(&mut self) -> Box<dyn Producer> {
        let log = self.log.as_mut().unwrap();
        std::mem::replace(&mut log.producer, Box::new(NoProducer))
    }

    pub(crate) async fn append_rubbish(&mut self) {
        let mut records = Batch::default();
        records.push_copy(TOPIC, b"x", b"{\"rubbish\":");
        self.log.as_mut().unwrap().producer.append(&records, &[]).await.unwrap();
    }

    /// How many records a listener has not finished; all, before it joined.
    pub(crate) async fn behind(&self, listener: &str) -> u64 {
        let bus = &self.log.as_ref().unwrap().bus;
        let group = format!("dbevents.listener.{listener}");
        let progress = bus.progress(&group, &Default::default()).await.unwrap();
        progress.iter().map(|at| at.end - at.committed.unwrap_or(0)).sum()
    }

    /// The offset that the next record gets.
    pub(crate) async fn end_of(&self, listener: &str) -> u64 {
        let bus = &self.log.as_ref().unwrap().bus;
        let group = format!("dbevents.listener.{listener}");
        bus.progress(&group, &Default::default()).await.unwrap()[0].end
    }

    pub(crate) async fn wait_until_committed(&self, listener: &str) {
        eventually("everything is committed", async || self.behind(listener).await == 0).await;
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_event-worker")), arguments)
    }

    fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).arg("--config").arg(self.config_file()).kill_on_drop(true);
        command
    }

    /// Starts `event-worker run`.
    pub(crate) fn run(&self) -> Program {
        self.run_with(&[])
    }

    /// The same with these variables in its environment.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)]) -> Program {
        let mut command = self.command(&["run"]);
        command.envs(variables.iter().copied());
        self.run_command(command)
    }

    /// The same with a copy of the program.
    pub(crate) fn run_copy(&self, program: &Path) -> Program {
        self.run_command(self.command_of(program, &["run"]))
    }

    fn run_command(&self, mut command: Command) -> Program {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, log) = mpsc::channel(100_000);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("{line}");
                if sender.send(line).await.is_err() {
                    return;
                }
            }
        });
        Program { child, log, port: self.api_port }
    }

    /// The lines of a file that handlers write, each a batch, as the ids of all events.
    pub(crate) fn handled(&self, file: &str) -> Vec<u64> {
        let text = std::fs::read_to_string(self.path(file)).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let batches = whole.lines().map(|line| serde_json::from_str::<Vec<Value>>(line).unwrap());
        batches.flatten().map(|event| number(event["EvId"].as_str().unwrap())).collect()
    }

    /// A handler, as a shell script, that writes each batch to a file and then does `then`.
    pub(crate) fn recorder(&self, file: &str, then: &str) -> String {
        let path = self.path(file);
        let script = format!(
            r#"while IFS= read -r line; do printf "%s\n" "$line" >> {}; {then}; done"#,
            path.display()
        );
        format!("exec = ['sh', '-c', '''{script}''']")
    }
}

/// In place of one that was given away.
struct NoProducer;

#[async_trait]
impl Producer for NoProducer {
    async fn append(&mut self, _: &Batch, _: &[CheckpointChange]) -> event_bus::Result<()> {
        panic!("the producer was given away");
    }

    fn keep_book(&mut self, _: Book) {}

    fn take_booked(&mut self) -> Vec<(String, u64)> {
        Vec::new()
    }
}

/// `e12` -> 12.
pub(crate) fn number(ev_id: &str) -> u64 {
    ev_id[1..].parse().unwrap()
}

pub(crate) fn all_of(handled: &[u64]) -> BTreeSet<u64> {
    handled.iter().copied().collect()
}

/// A running `event-worker run`.
pub(crate) struct Program {
    pub(crate) child: Child,
    log: mpsc::Receiver<String>,
    port: u16,
}

impl Program {
    pub(crate) fn kill(&mut self) {
        self.child.start_kill().unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        signal_process(self.child.id().unwrap(), signal);
    }

    /// Asks it to stop; gives its exit code.
    pub(crate) async fn stop(mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.ended().await
    }

    /// Asks it to stop; gives the rest of its log.
    pub(crate) async fn rest_of_log(mut self) -> String {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.ended().await, Some(0));
        let mut rest = String::new();
        while let Some(line) = self.log.recv().await {
            rest.push_str(&line);
            rest.push('\n');
        }
        rest
    }

    pub(crate) async fn ended(&mut self) -> Option<i32> {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").unwrap().code()
    }

    /// Waits for a line of its log that holds all of these.
    pub(crate) async fn logs(&mut self, words: &[&str]) -> String {
        let find = async {
            loop {
                let line = self.log.recv().await.expect("the log goes on");
                if words.iter().all(|word| line.contains(word)) {
                    return line;
                }
            }
        };
        timeout(PATIENCE, find).await.unwrap_or_else(|_| panic!("the log never said {words:?}"))
    }

    /// Calls the API; gives status and body.
    pub(crate) async fn call(&self, request: &str) -> (u16, Value) {
        self.call_with(request, |request| request).await
    }

    /// The same with headers or a body.
    pub(crate) async fn call_with(
        &self,
        request: &str,
        change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> (u16, Value) {
        let (method, path) = request.split_once(' ').unwrap();
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let request = change(client().request(method.parse().unwrap(), url));
        let response = request.send().await.expect("the API answers");
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Waits until the API answers and says this of a listener.
    pub(crate) async fn wait_for(&self, listener: &str, what: impl Fn(&Value) -> bool) -> Value {
        let url = format!("http://127.0.0.1:{}/api/v1/listeners/{listener}", self.port);
        let mut seen = Value::Null;
        eventually("the API says what the test waits for", async || {
            let Ok(response) = client().get(&url).send().await else { return false };
            let text = response.text().await.unwrap_or_default();
            seen = serde_json::from_str(&text).unwrap_or_default();
            what(&seen)
        })
        .await;
        seen
    }

    pub(crate) async fn pid_of(&self, listener: &str) -> u32 {
        let view = self.wait_for(listener, |view| view["state"] == "running").await;
        u32::try_from(view["pid"].as_u64().unwrap()).unwrap()
    }
}

pub(crate) fn signal_process(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

/// Asks again and again until it is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("in time: {what}"));
}

/// A port that nobody listens on and that is given once, below those that the system gives to
/// connections: one of them would take it while a program is down.
pub(crate) fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| rand::random_range(12_000..22_000).into());
    let given = || NEXT.fetch_add(1, Relaxed);
    repeat_with(given).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
