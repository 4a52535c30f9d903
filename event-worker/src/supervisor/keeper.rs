//! Keeps the process of one listener running: starts it, waits for it, starts it again.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use service::{Backoff, BackoffConfig};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::process_health::Unit;

/// The waits before a listener that ended by itself is started again.
const RESTART: BackoffConfig =
    BackoffConfig { min: Duration::from_secs(1), max: Duration::from_mins(5), factor: 2.0 };

/// A process that ran so long was healthy: the next failure counts as the first.
const WELL_AFTER: Duration = Duration::from_mins(1);

/// Ways to end a keeper and its process.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    /// Finish the running calls, then end.
    pub(super) stop: CancellationToken,
    /// End now.
    pub(super) kill: CancellationToken,
}

pub(super) struct Keeper {
    pub(super) unit: Arc<Unit>,
    /// Where the process reports.
    pub(super) socket: PathBuf,
    pub(super) config: PathBuf,
    pub(super) ending: Ending,
}

impl Keeper {
    /// Runs until it is stopped and its process has ended.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(RESTART);
        loop {
            let seat = tokio::select! {
                biased;
                () = self.ending.stop.cancelled() => return,
                seat = self.unit.seat.take() => seat,
            };
            let started = Instant::now();
            let how = self.run_process().await;
            let lived = started.elapsed();
            self.unit.last_words().await;
            self.unit.ended(how.as_deref());
            drop(seat);
            if lived >= WELL_AFTER {
                backoff.reset();
            }
            // After a process that reached its `lifeTime` the next one starts at once.
            let is_wanted = self.unit.seat.why_not().is_none();
            if how.is_some() || (lived < RESTART.min && is_wanted) {
                self.wait_after(how.as_deref().unwrap_or("ended at once"), &mut backoff).await;
            }
        }
    }

    async fn wait_after(&self, how: &str, backoff: &mut Backoff) {
        if self.ending.stop.is_cancelled() {
            return;
        }
        let wait = backoff.next_wait();
        let (listener, failures) = (&self.unit.id, backoff.failures());
        let mut retries = self.unit.retries();
        error!(listener, failures, restart_in = ?wait, "the listener's process {how}");
        tokio::select! {
            () = self.ending.stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
            Ok(()) = retries.changed() => info!(listener, "started again at once, as asked"),
        }
    }

    /// Runs a process to its end; `None` when the process ended with success, else how it ended.
    async fn run_process(&self) -> Option<String> {
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(error) => return Some(format!("cannot be started: {error}")),
        };
        let pid = child.id().unwrap_or_default();
        self.unit.started(pid);
        info!(listener = self.unit.id, pid, "the listener's process is started");
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = self.ending.stop.cancelled() => self.end(&mut child).await,
            () = self.unit.seat.withdrawn() => self.end(&mut child).await,
            () = self.unit.hangs() => {
                // It has hung, so its exit status does not matter.
                let _ = kill(&mut child).await;
                return Some("hung: it sent no report for seconds, and was killed".to_owned());
            }
        };
        match ended {
            Ok(status) if status.success() => None,
            Ok(status) => Some(format!("ended: {}", describe(status))),
            Err(error) => Some(format!("cannot be watched: {error}")),
        }
    }

    /// In a process group of its own: signals of our terminal (Ctrl-C) come to us alone.
    fn spawn(&self) -> std::io::Result<Child> {
        Command::from(service::init::itself()?)
            .args(["listener", "-t", &self.unit.id, "--config"])
            .arg(&self.config)
            .arg("--supervisor")
            .arg(&self.socket)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    async fn end(&self, child: &mut Child) -> std::io::Result<ExitStatus> {
        let leaves = self.unit.seat.is_contested() && self.unit.leave();
        if let Some(pid) = pid_of(child).filter(|_| !leaves) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let why = tokio::select! {
            ended = child.wait() => return ended,
            () = self.ending.kill.cancelled() => "did not end in time",
            () = self.unit.hangs() => "hung: it sent no report for seconds,",
        };
        let view = self.unit.view();
        warn!(
            listener = self.unit.id,
            unfinished_events = view.report.buffered_events,
            "the listener {why} and is killed; its unfinished events are delivered again"
        );
        kill(child).await
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

/// Kills a process with its group, and waits until it is dead.
async fn kill(child: &mut Child) -> std::io::Result<ExitStatus> {
    if let Some(pid) = pid_of(child) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    child.wait().await
}

/// The exit codes are those of `docs/running.md`.
fn describe(status: ExitStatus) -> String {
    match status.code() {
        Some(64) => format!("{status}, the config is wrong"),
        Some(69) => format!("{status}, refused by a service, or stopped for a human to fix"),
        _ => status.to_string(),
    }
}
