//! The programs of this workspace, started as processes and stopped with the test.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    http::{call, fetch, get},
    mysqlbinlog,
    processes::{PATIENCE, Process, children, free_port, running_in, wait_until},
    recording::Recording,
    servers::Mysql,
};

/// The seed of a random test, which is printed: `TEST_SEED`, else one from the clock.
#[expect(clippy::print_stdout, reason = "a failed test shows its output, and so its seed")]
pub fn seed() -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let seed = std::env::var("TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(clock);
    println!("TEST_SEED={seed}");
    seed
}

/// How soon a folder that is not empty yet is removed again.
const REMOVE_RETRY: Duration = Duration::from_millis(50);

/// The exit code of a program that another one refused.
pub const REFUSED: i32 = 69;

/// The smaller size, or the full one where `DBEVENT_TEST_SIZE=full` (`scripts/test.sh --all`).
pub fn size(small: u64, full: u64) -> u64 {
    if std::env::var("DBEVENT_TEST_SIZE").is_ok_and(|size| size == "full") { full } else { small }
}

/// A program of this workspace, in the profile that the test was built with.
///
/// # Errors
///
/// When it was not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let caller = std::env::current_exe()?;
    let folder = caller.parent().context("the caller has no folder")?;
    // Tests are in `deps`, which is in the folder of the programs.
    let folder = if folder.ends_with("deps") { folder.join("..") } else { folder.to_owned() };
    let path = folder.canonicalize()?.join(name);
    ensure!(path.exists(), "{} is missing: cargo build --workspace first", path.display());
    Ok(path)
}

/// A folder with configs, data and logs of one `dts` and one `event-worker`.
///
/// It lies under `target/e2e`, and is kept when the test fails.
#[derive(Debug)]
pub struct Site {
    folder: PathBuf,
    /// What stands in `[bus]` of both configs.
    bus: String,
    dts_port: u16,
    standby_port: u16,
    worker_port: u16,
}

impl Site {
    /// An empty site; what an earlier run of the test left there is removed.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn new(test: &str) -> Result<Self> {
        let target = program("record-handler")?;
        let target = target.ancestors().nth(2).context("no target folder")?;
        let folder = target.join("e2e").join(test);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(folder.join("mysql"))?;
        let bus = format!("kind = \"log\"\naddress = \"127.0.0.1:{}\"\n", free_port()?);
        let (dts_port, standby_port, worker_port) = (free_port()?, free_port()?, free_port()?);
        Ok(Self { folder, bus, dts_port, standby_port, worker_port })
    }

    /// Takes Kafka as the bus, instead of a log that `dts` hosts, with the prefix `e2e` and more
    /// keys of `[bus]`; before anything is configured.
    pub fn use_kafka(&mut self, address: &str, more: &str) {
        self.use_kafka_under("e2e", address, more);
    }

    /// The same with another prefix.
    pub fn use_kafka_under(&mut self, prefix: &str, address: &str, more: &str) {
        self.bus = format!(
            "kind = \"kafka\"\naddress = \"{address}\"\ntopicPrefix = \"{prefix}\"\n{more}"
        );
    }

    /// Removes everything, once the test has passed.
    ///
    /// # Errors
    ///
    /// When something cannot be removed.
    #[expect(clippy::disallowed_methods, reason = "the test has passed: nobody else waits")]
    pub fn remove(self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match std::fs::remove_dir_all(&self.folder) {
                // A handler whose listener was killed may still write what it was given.
                Err(error)
                    if error.kind() == ErrorKind::DirectoryNotEmpty
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(REMOVE_RETRY);
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Waits until no process runs in the site any more, once its programs were stopped or killed.
    ///
    /// # Errors
    ///
    /// Names those that were left behind.
    pub async fn wait_until_empty(&self) -> Result<()> {
        let mut left = Vec::new();
        let outcome = wait_until("no process is left behind", PATIENCE, async || {
            left = running_in(&self.folder).unwrap_or_else(|error| vec![error.to_string()]);
            left.is_empty()
        })
        .await;
        outcome.with_context(|| format!("left behind: {left:#?}"))
    }

    /// A path in the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts a MySQL with its data in the site.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn start_mysql(&self) -> Result<Mysql> {
        Mysql::start("9.7", &self.path("mysql")).await
    }

    /// Writes `dts.toml`: the whole of a schema, from the oldest binlog on. And `standby.toml`: the
    /// same on another port.
    ///
    /// # Errors
    ///
    /// When the disk is full.
    pub fn configure_dts(&self, source: &str, schema: &str) -> Result<()> {
        self.configure_hosts(&[source], schema, "")
    }

    /// The same with several hosts, and more keys of `[source]`.
    ///
    /// # Errors
    ///
    /// When the disk is full.
    pub fn configure_hosts(&self, hosts: &[&str], schema: &str, more: &str) -> Result<()> {
        for (file, port) in [("dts.toml", self.dts_port), ("standby.toml", self.standby_port)] {
            let text = format!(
                "name = \"e2e\"\nstart = \"earliest\"\n\
                 [source]\nhosts = {hosts:?}\nuser = \"dts\"\npassword = \"dts\"\n{more}\
                 [capture]\ntables = [\"{schema}.*\"]\n\
                 [bus]\n{}[listen]\naddress = \"127.0.0.1:{port}\"\n",
                self.bus
            );
            std::fs::write(self.path(file), text)?;
        }
        Ok(())
    }

    /// Writes `db_event_listener.toml` with these listeners, given as TOML.
    ///
    /// # Errors
    ///
    /// When the disk is full.
    pub fn configure_worker(&self, listeners: &str) -> Result<()> {
        let Self { bus, worker_port, .. } = self;
        let text =
            format!("[listen]\naddress = \"127.0.0.1:{worker_port}\"\n[bus]\n{bus}{listeners}");
        Ok(std::fs::write(self.path("db_event_listener.toml"), text)?)
    }

    /// The same with the only listener `all`, which records in [`Site::recorded`]; with options of
    /// `record-handler`.
    ///
    /// # Errors
    ///
    /// When the disk is full.
    pub fn record(&self, options: &[&str]) -> Result<()> {
        self.configure_worker(&recording_listener("all", &self.recorded(), options)?)
    }

    /// Where the listener `all` records what it is given.
    pub fn recorded(&self) -> PathBuf {
        self.path("recorded")
    }

    /// What the listener `all` has recorded so far.
    pub fn recording(&self) -> Recording {
        Recording::read(&self.recorded()).unwrap_or_default()
    }

    /// Puts one text in place of another in a config that was written.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn amend(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let text = std::fs::read_to_string(self.path(file))?;
        ensure!(text.contains(from), "{from:?} is not in {file}");
        Ok(std::fs::write(self.path(file), text.replace(from, to))?)
    }

    /// Starts `dts run`.
    ///
    /// # Errors
    ///
    /// When it was not built.
    pub fn start_dts(&self) -> Result<Process> {
        self.start("dts", "dts.toml")
    }

    /// Starts another `dts run` of the same name.
    ///
    /// # Errors
    ///
    /// When it was not built.
    pub fn start_standby(&self) -> Result<Process> {
        let path = program("dts")?;
        let path = path.to_str().context("the path is not UTF-8")?;
        self.run("standby", &[path, "run", "--config", "standby.toml"])
    }

    /// Starts `event-worker run`.
    ///
    /// # Errors
    ///
    /// When it was not built.
    pub fn start_worker(&self) -> Result<Process> {
        self.start("event-worker", "db_event_listener.toml")
    }

    fn start(&self, name: &str, config: &str) -> Result<Process> {
        let path = program(name)?;
        let path = path.to_str().context("the path is not UTF-8")?;
        self.run(name, &[path, "run", "--config", config])
    }

    /// Starts any program in the site's folder.
    ///
    /// # Errors
    ///
    /// When there is no such program.
    pub fn run(&self, name: &str, command: &[&str]) -> Result<Process> {
        Process::start(&self.folder, name, command)
    }

    /// Runs a verb of `dts` to its end: its exit code, and what it printed.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub async fn run_dts(&self, words: &[&str]) -> Result<(Option<i32>, String)> {
        self.run_verb("dts", words, "dts.toml").await
    }

    /// Runs a verb of `event-worker` to its end: its exit code, and what it printed.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub async fn run_worker(&self, words: &[&str]) -> Result<(Option<i32>, String)> {
        self.run_verb("event-worker", words, "db_event_listener.toml").await
    }

    async fn run_verb(
        &self,
        name: &str,
        words: &[&str],
        config: &str,
    ) -> Result<(Option<i32>, String)> {
        let path = program(name)?.display().to_string();
        let command = [&[path.as_str()], words, &["--config", config]].concat();
        let (status, output) = self.run("verb", &command)?.told().await?;
        Ok((status.code(), output))
    }

    /// Runs `dts` until it ends by itself, with [`REFUSED`].
    ///
    /// # Errors
    ///
    /// When it ends otherwise, or a part is not in what it printed.
    pub async fn expect_refusal(&self, case: &str, parts: &[&str]) -> Result<()> {
        let (status, output) = self.start_dts()?.told().await?;
        ensure!(status.code() == Some(REFUSED), "{case}: {status}\n{output}");
        for part in parts {
            ensure!(output.contains(part), "{case}: {part:?} is not in\n{output}");
        }
        Ok(())
    }

    /// What `dts` answers to a GET of its API.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not with JSON.
    pub async fn ask_dts(&self, path: &str) -> Result<Value> {
        get(self.dts_port, path).await
    }

    /// What `dts` says of itself; nothing while it does not answer.
    pub async fn status(&self) -> Value {
        self.ask_dts("/api/v1/status").await.unwrap_or_default()
    }

    /// What `dts` answers to a GET, as text.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn ask_dts_text(&self, path: &str) -> Result<String> {
        fetch(self.dts_port, path).await
    }

    /// What the stand-by answers to a GET of its API.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not with JSON.
    pub async fn ask_standby(&self, path: &str) -> Result<Value> {
        get(self.standby_port, path).await
    }

    /// What `event-worker` answers to a GET of its API.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not with JSON.
    pub async fn ask_worker(&self, path: &str) -> Result<Value> {
        get(self.worker_port, path).await
    }

    /// What `event-worker` answers to a GET, as text.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn ask_worker_text(&self, path: &str) -> Result<String> {
        fetch(self.worker_port, path).await
    }

    /// What `event-worker` answers to a request of any kind: the status, and the JSON.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not with JSON.
    pub async fn call_worker(&self, method: &str, path: &str) -> Result<(u16, Value)> {
        let (status, body) = call(self.worker_port, method, path).await?;
        let json = serde_json::from_str(&body).with_context(|| format!("{path} answered {body}"));
        Ok((status, json?))
    }

    /// Waits until `dts` has published so many records, or more.
    ///
    /// # Errors
    ///
    /// When it does not in time.
    pub async fn wait_for_published(&self, records: u64) -> Result<()> {
        self.wait_for_publishing(|published| published >= records).await
    }

    /// Waits until `dts` has published so many records, and no more.
    ///
    /// # Errors
    ///
    /// When it does not in time.
    pub async fn wait_for_exactly(&self, records: u64) -> Result<()> {
        self.wait_for_publishing(|published| published == records).await
    }

    async fn wait_for_publishing(&self, is_enough: impl Fn(u64) -> bool) -> Result<()> {
        let mut status = Value::Null;
        let outcome = wait_until("dts publishes", PATIENCE, async || {
            status = self.status().await;
            status["accounting"]["published"].as_u64().is_some_and(&is_enough)
        });
        outcome.await.with_context(|| status.to_string())
    }

    /// Waits until the listener `all` has handled so many events, or more; gives its recording.
    ///
    /// # Errors
    ///
    /// When it has not in time.
    pub async fn wait_for_handled(&self, events: usize) -> Result<Recording> {
        let mut recording = Recording::default();
        let outcome = wait_until("the events are handled", PATIENCE, async || {
            recording = self.recording();
            recording.done_ids().len() >= events
        });
        outcome.await.with_context(|| format!("{events} expected: {:?}", recording.done_ids()))?;
        Ok(recording)
    }

    /// Waits until the recording holds every change that `mysqlbinlog` shows, and checks that
    /// nothing was invented.
    ///
    /// # Errors
    ///
    /// When changes are missing in the end, or there are some that MySQL never made.
    pub async fn wait_for_all(
        &self,
        recorded: &Path,
        server: &Mysql,
        schema: &str,
    ) -> Result<Recording> {
        self.wait_for_all_but(recorded, (server, schema), &[]).await
    }

    /// The same without the changes of some tables, of which `mysqlbinlog` does not show all.
    ///
    /// # Errors
    ///
    /// As [`Site::wait_for_all`].
    pub async fn wait_for_all_but(
        &self,
        recorded: &Path,
        (server, schema): (&Mysql, &str),
        tables: &[&str],
    ) -> Result<Recording> {
        let expected = mysqlbinlog::event_ids_but(server, schema, tables).await?;
        let handled = |recording: &Recording| -> BTreeSet<String> {
            let told = recording.done().filter(|event| !tables.contains(&&*event.table_name));
            told.map(|event| mysqlbinlog::without_split_mark(&event.ev_id).to_owned()).collect()
        };
        let mut recording = Recording::read(recorded)?;
        let complete = async || {
            recording = Recording::read(recorded).unwrap_or_default();
            handled(&recording).is_superset(&expected)
        };
        let outcome = wait_until("every change is handled", PATIENCE * 4, complete).await;
        let done = handled(&recording);
        let lost: Vec<&String> = expected.difference(&done).take(5).collect();
        outcome.with_context(|| format!("{} expected, lost {lost:?}", expected.len()))?;
        // What MySQL has made since counts, too.
        let made = match done.is_subset(&expected) {
            true => expected,
            false => mysqlbinlog::event_ids_but(server, schema, tables).await?,
        };
        let invented: Vec<&String> = done.difference(&made).take(5).collect();
        ensure!(invented.is_empty(), "events that MySQL never made: {invented:?}");
        Ok(recording)
    }
}

/// The process of a listener: the only child of the supervisor, in these tests.
///
/// # Errors
///
/// When there is none in time.
pub async fn listener_pid(supervisor: &Process) -> Result<u32> {
    let supervisor = supervisor.pid().context("the supervisor has ended")?;
    let mut found = None;
    wait_until("the supervisor starts the listener", PATIENCE, async || {
        found = children(supervisor).ok().and_then(|pids| pids.first().copied());
        found.is_some()
    })
    .await?;
    found.context("no listener")
}

/// The TOML of a listener that records with `record-handler`.
///
/// # Errors
///
/// When `record-handler` was not built.
pub fn recording_listener(id: &str, file: &Path, options: &[&str]) -> Result<String> {
    let handler = program("record-handler")?;
    let mut command = vec![handler.display().to_string(), file.display().to_string()];
    command.extend(options.iter().map(|option| (*option).to_owned()));
    Ok(format!(
        "[listeners.{id}]\nworkers = 8\nstart = \"earliest\"\n\
         retry = {{ min = \"20ms\", max = \"1s\" }}\n\
         handler = {{ exec = {command:?}, timeout = \"1s\" }}\n"
    ))
}
