//! A relay as a child process, and a callback that writes down what it gets.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use event_log::proto::NewRecord;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{DEADLINE, PROGRAM, STREAM, Sender, ServerProcess, record};

/// Writes each batch to `out`, on a line of its own, also after a half line of one that was killed.
/// While `answer` is there, its content is the answer, and nothing is written. While `hold` is
/// there, a call that has begun does not end.
const CALLBACK: &str = r#"
while IFS= read -r batch; do
  echo begun >> begun
  while [ -e hold ]; do sleep 0.02; done
  if [ -e answer ]; then
    printf '\n%s\n' "$batch" >> refused
    cat answer
  else
    printf '\n%s\n' "$batch" >> out
    echo true
  fi
done
"#;

/// A folder for a server and for the callbacks of relays.
pub(super) struct Site {
    pub(super) directory: TempDir,
    pub(super) server: ServerProcess,
    pub(super) sender: Sender,
    sequence: u64,
}

impl Site {
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = ServerProcess::start(directory.path());
        let sender = Sender::open(&server).await;
        Self { directory, server, sender, sequence: 0 }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Appends records at once; gives the offset of the first.
    pub(super) async fn append(&mut self, records: Vec<NewRecord>) -> u64 {
        self.sequence += 1;
        let appended = self.sender.send(&self.server, self.sequence, records).await.unwrap();
        appended.first_offset
    }

    /// Appends a record for each text.
    pub(super) async fn say(&mut self, texts: &[&str]) -> u64 {
        let plain = |text: &&str| NewRecord { r#type: 1000, ..record((*text).into()) };
        self.append(texts.iter().map(plain).collect()).await
    }

    pub(super) fn restart_server(&mut self) {
        self.server.kill();
        self.server = ServerProcess::start_at(self.directory.path(), &self.server.address.clone());
    }

    /// Where a callback works.
    pub(super) fn callback(&self, name: &str) -> Callback {
        let folder = self.directory.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("callback.sh"), CALLBACK).unwrap();
        Callback { folder }
    }

    /// The flags that read the server.
    pub(super) fn reads_server(&self) -> Vec<String> {
        vec!["--from".to_owned(), self.server.address.clone()]
    }

    /// The flags that read its files.
    pub(super) fn reads_files(&self) -> Vec<String> {
        vec![self.data().display().to_string()]
    }
}

/// What a callback did, in its folder.
pub(super) struct Callback {
    pub(super) folder: PathBuf,
}

impl Callback {
    /// Starts a relay that calls it; `flags` say what is read, and more.
    pub(super) fn relay(&self, name: &str, flags: &[String]) -> RelayProcess {
        let mut command = self.command(name, flags);
        command.args(["--exec", "sh", "callback.sh"]);
        RelayProcess::start(&mut command)
    }

    /// A relay that is not told what to call.
    pub(super) fn command(&self, name: &str, flags: &[String]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("relay").args(flags).args(["--stream", STREAM, "--name", name]);
        command.current_dir(&self.folder);
        command
    }

    pub(super) fn write(&self, name: &str, content: &str) {
        // At once, as the callback may be reading.
        let fresh = self.folder.join("fresh");
        fs::write(&fresh, content).unwrap();
        fs::rename(fresh, self.folder.join(name)).unwrap();
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.folder.join(name)).unwrap();
    }

    /// The batches in a file that the callback wrote. The last of a killed one may be half there.
    pub(super) fn batches(&self, file: &str) -> Vec<Vec<Value>> {
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The payloads that it got, as texts.
    pub(super) fn texts(&self) -> Vec<String> {
        let batches = self.batches("out").into_iter().flatten();
        batches.map(|event| event["payload"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits until it has got this last.
    pub(super) fn gets(&self, last: &str) {
        wait_until(&format!("{last} of {}", self.folder.display()), || {
            self.texts().last().is_some_and(|text| text == last)
        });
    }

    pub(super) fn has(&self, file: &str) -> bool {
        self.folder.join(file).exists()
    }
}

/// A relay; killed when it is dropped.
pub(super) struct RelayProcess {
    child: Child,
    lines: Receiver<String>,
    pub(super) said: String,
}

impl RelayProcess {
    pub(super) fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        // A child must not stop at a full pipe.
        let (to, lines) = channel();
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).for_each(|line| drop(to.send(line)));
        });
        Self { child, lines, said: String::new() }
    }

    /// Waits until it says this.
    pub(super) fn says(&mut self, text: &str) {
        while !self.said.contains(text) {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => self.said = std::mem::take(&mut self.said) + &line + "\n",
                Err(_) => panic!("{text:?} is not in {}", self.said),
            }
        }
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn term(&self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits until it ends; gives how, and all that it said.
    pub(super) fn ends(mut self) -> (ExitStatus, String) {
        let mut ended = None;
        wait_until("the end of the relay", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        self.said.extend(self.lines.iter().map(|line| line + "\n"));
        (ended.unwrap(), std::mem::take(&mut self.said))
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until it is so.
pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "{what} does not come");
        #[expect(clippy::disallowed_methods, reason = "nothing else runs on this thread")]
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a relay that shall be refused; gives its exit code and what it said.
pub(super) fn refused(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(PROGRAM);
    command.arg("relay").args(arguments).current_dir(folder).env_remove("EVENT_LOG_TOKEN");
    let (status, said) = RelayProcess::start(&mut command).ends();
    (status.code(), said)
}
