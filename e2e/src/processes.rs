//! A program as a process: its output goes to a file, and it dies with the test.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    iter::repeat_with,
    net::TcpListener,
    ops::Range,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::{Child, Command};

/// How long anything may take that a test waits for, unless the test says more.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(20);

/// A process that is killed when it is dropped, and also when the test is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    /// Bytes of the log that are of those before it.
    before: usize,
    child: Child,
    /// Whether it may say that the books do not balance.
    may_find_an_imbalance: bool,
}

/// What `dts` and `event-worker` log when records are missing, or too many.
const IMBALANCE: &str = "the books do not balance";

impl Process {
    /// Starts a program. Its output is appended to `{name}.log` in `folder`, where it also runs.
    ///
    /// # Errors
    ///
    /// When the program or the log file is missing.
    pub fn start(folder: &Path, name: &str, command: &[&str]) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = OpenOptions::new().create(true).append(true).open(&log)?;
        let before = usize::try_from(output.metadata()?.len())?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(command)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let name = name.to_owned();
        Ok(Self { name, log, before, child, may_find_an_imbalance: false })
    }

    /// The test loses or forges a record, and wants to hear of it.
    pub fn may_find_an_imbalance(&mut self) {
        self.may_find_an_imbalance = true;
    }

    /// The process id; none once the process has ended and was waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Everything that the process, and those before it with the same name, have printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// Sends a signal by its name, such as `TERM` or `STOP`.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} has ended", self.name))?;
        send(pid, signal).await
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    ///
    /// When it still runs after [`PATIENCE`].
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        Ok(status.with_context(|| format!("{} does not end", self.name))??)
    }

    /// Waits until the process ends by itself, and gives what it has printed.
    ///
    /// # Errors
    ///
    /// As [`Process::ended`], with what it has printed so far.
    pub async fn told(mut self) -> Result<(ExitStatus, String)> {
        let ended = self.ended().await;
        let output = self.output().split_off(self.before);
        Ok((ended.with_context(|| output.clone())?, output))
    }

    /// Whether the process has not ended.
    ///
    /// # Errors
    ///
    /// When the system refuses to tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// The most memory that was resident at once, in KiB (`VmHWM` of proc(5)).
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn peak_resident_kib(&self) -> Result<u64> {
        let pid = self.pid().with_context(|| format!("{} has ended", self.name))?;
        peak_resident_kib(pid)
    }
}

impl Drop for Process {
    /// The books of each program must balance to its end, in every test.
    fn drop(&mut self) {
        if self.may_find_an_imbalance || std::thread::panicking() {
            return;
        }
        // Other output may not be UTF-8.
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(log.get(self.before..).unwrap_or_default());
        let told = log.lines().find(|line| line.contains(IMBALANCE));
        assert!(told.is_none(), "{}: {}", self.name, told.unwrap_or_default());
    }
}

/// `VmHWM` of any process, in KiB.
///
/// # Errors
///
/// When there is no such process.
pub fn peak_resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    let figure = line.split_whitespace().nth(1).context("VmHWM has no figure")?;
    Ok(figure.parse()?)
}

/// User and system time that a process has used, in clock ticks of 10 ms (proc(5)).
///
/// # Errors
///
/// When there is no such process.
pub fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = after_name(&stat)?.split_whitespace().collect();
    let field = |index: usize| {
        fields.get(index).context("a field is missing")?.parse::<u64>().map_err(anyhow::Error::from)
    };
    Ok(field(11)? + field(12)?)
}

/// The processes whose parent is `pid`.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for candidate in all()? {
        // One that ends while we look is no child any more.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{candidate}/stat")) else { continue };
        let mut fields = after_name(&stat)?.split_whitespace();
        let (state, parent) = (fields.next(), fields.next());
        if state != Some("Z") && parent == Some(pid.to_string().as_str()) {
            found.push(candidate);
        }
    }
    Ok(found)
}

/// The processes that run in a folder or below it, each with its command line.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub fn running_in(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for pid in all()? {
        // One that has ended, waited for or not, is nowhere.
        let Ok(place) = std::fs::read_link(format!("/proc/{pid}/cwd")) else { continue };
        if place.starts_with(folder) {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            found.push(format!("{pid} {}", command.trim_end()));
        }
    }
    Ok(found)
}

fn all() -> Result<Vec<u32>> {
    let names = std::fs::read_dir("/proc")?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<OsString> = names.collect::<Result<_>>()?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// The fields of `/proc/PID/stat` after the name, which may hold spaces.
fn after_name(stat: &str) -> Result<&str> {
    Ok(stat.rsplit_once(") ").context("not the form of /proc/PID/stat")?.1)
}

/// Sends a signal to any process.
///
/// # Errors
///
/// When there is no such process.
pub async fn send(pid: u32, signal: &str) -> Result<()> {
    let status =
        Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().await?;
    ensure!(status.success(), "cannot send {signal} to {pid}");
    Ok(())
}

/// Asks until the answer is yes, for at most `patience`.
///
/// # Errors
///
/// When the time is over; the message says `what` was waited for.
pub async fn wait_until(
    what: &str,
    patience: Duration,
    mut asked: impl AsyncFnMut() -> bool,
) -> Result<()> {
    let began = Instant::now();
    while !asked().await {
        if began.elapsed() > patience {
            bail!("waited {} s in vain: {what}", patience.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// A TCP port of loopback that nobody listens on now, and that this process gives to nobody else.
/// It lies below those that the system gives to connections (`ip_local_port_range`): while a
/// program is down, its clients, and all others that connect, would sooner or later take it.
///
/// # Errors
///
/// When there is none.
pub fn free_port() -> Result<u16> {
    static OURS: LazyLock<Option<(File, Range<u16>)>> = LazyLock::new(own_ports);
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| rand::random::<u32>().into());
    let (_, ports) = OURS.as_ref().context("all ports belong to other test programs that run")?;
    let given = || ports.start + (NEXT.fetch_add(1, Relaxed) % ports.len() as u32) as u16;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = repeat_with(given).take(ports.len()).find(free);
    port.with_context(|| format!("no free port in {ports:?}"))
}

/// Ports that no other test program takes, as long as the file is locked.
fn own_ports() -> Option<(File, Range<u16>)> {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 1_000;
    (0..10).find_map(|at| {
        let path = std::env::temp_dir().join(format!("dbevent-test-ports-{at}"));
        let file = File::options().create(true).append(true).open(path).ok()?;
        file.try_lock().is_ok().then(|| (file, FIRST + at * COUNT..FIRST + (at + 1) * COUNT))
    })
}

/// Reads a whole file that another process appends to; empty when it is not there yet.
///
/// # Errors
///
/// When it exists and cannot be read.
pub fn read_growing(path: &Path) -> Result<String> {
    match File::open(path) {
        Ok(file) => Ok(std::io::read_to_string(file)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}
