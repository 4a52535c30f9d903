//! A listener as a child of the supervisor: runs the config that it gets, reports, and stops by
//! itself when the supervisor is gone.

pub(crate) mod lock;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{broadcast, watch},
    time::{Instant, MissedTickBehavior, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    config::Config,
    environment::{Lease, Moment},
    error::Error,
    link::{FromListener, Link, ListenerStart, ToListener},
    listener::{
        Listener, ListenerControl,
        parking::command::ParkedCommand,
        status::{Report, Status},
    },
};

/// How often to look whether there is something new to report.
const REPORT_CHECK: Duration = Duration::from_millis(200);

/// Reports are sent at least so often.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Wishes for parked events that wait for the listener.
const MAX_WISHES: usize = 1024;

/// How long the supervisor may take to answer.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// The directory of the supervisor that runs the listener, if one of this config does, for all
/// listeners or for some groups.
pub(crate) fn runs_in(config: &Config, listener: &str) -> Option<PathBuf> {
    let own = config.directory.clone();
    let of_groups = std::fs::read_dir(own.join("groups")).into_iter().flatten().flatten();
    let of_groups = of_groups.map(|entry| entry.path());
    std::iter::once(own).chain(of_groups).find(|directory| lock::is_taken(directory, listener))
}

/// Runs the listener `id` for the supervisor at `socket`, until `stop` or until the supervisor is
/// gone.
///
/// # Errors
///
/// What only a human can fix.
pub async fn run_supervised(socket: &Path, id: &str, stop: CancellationToken) -> Result<(), Error> {
    let what = format!("cannot reach the supervisor at {}", socket.display());
    let started = timeout(START_DEADLINE, start(socket, id)).await;
    let (mut link, ListenerStart { file, text, paused, instance, lease }) = started
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map_err(Error::io(what))?;
    let config = Config::parse(&file, &text)?;
    let listener = Listener::new(&config, id, event_bus::open(&config.bus)?)?;
    let listener = listener.known_as(instance);
    let status = listener.status();
    let (pause, paused) = watch::channel(paused);
    let (tell_topics, topics) = watch::channel(0);
    let (renew, ends) = watch::channel(lease);
    let leaves = Arc::<AtomicBool>::default();
    let (tell_wishes, wishes) = broadcast::channel(MAX_WISHES);
    let control = ListenerControl {
        wishes,
        stop: stop.clone(),
        paused,
        topics,
        lease: Lease::new(ends),
        leaves: Arc::clone(&leaves),
    };
    let lease = control.lease.clone();
    let levers = Levers {
        pause,
        topics: tell_topics,
        renew,
        lease,
        leaves,
        stop: stop.clone(),
        wishes: tell_wishes,
    };
    let directory = socket.parent().unwrap_or(Path::new("."));
    let run = async {
        let _lock = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            lock = lock::take(directory, id, lock::PATIENCE) => lock?,
        };
        listener.run_configured(control).await
    };
    tokio::pin!(run);
    let over = levers.lease.clone();
    let ended = tokio::select! {
        ended = &mut run => ended,
        () = over.over() => {
            warn!(
                "the lease of this node has ended, so another environment may begin: the listener \
                 ends; the supervisor starts it again when it may run"
            );
            leave(&levers);
            run.await
        }
        () = serve(&mut link, &status, &levers) => {
            warn!("the supervisor is gone: the listener finishes its running calls and ends");
            // Where there is a lease, others may wait for our place.
            levers.leaves.store(levers.lease.has_end(), Relaxed);
            stop.cancel();
            run.await
        }
    };
    // The last report. The supervisor may be gone.
    let _ = link.send(&FromListener::Report(Box::new(status.report()))).await;
    ended
}

/// What the supervisor moves in a running listener.
struct Levers {
    pause: watch::Sender<bool>,
    topics: watch::Sender<u64>,
    renew: watch::Sender<Option<Moment>>,
    lease: Lease,
    leaves: Arc<AtomicBool>,
    stop: CancellationToken,
    wishes: broadcast::Sender<ParkedCommand>,
}

/// Lets the listener end, and leave its group for good.
fn leave(levers: &Levers) {
    levers.leaves.store(true, Relaxed);
    levers.stop.cancel();
}

async fn start(socket: &Path, id: &str) -> std::io::Result<(Link, ListenerStart)> {
    let mut link = Link::connect(socket).await?;
    let hello = FromListener::Hello { listener: id.to_owned(), pid: std::process::id() };
    link.send(&hello).await?;
    match link.next().await {
        Some(ToListener::Start(start)) => Ok((link, start)),
        _ => Err(std::io::ErrorKind::ConnectionAborted.into()),
    }
}

/// Sends reports and carries out commands, until the supervisor is gone.
async fn serve(link: &mut Link, status: &Status, levers: &Levers) {
    let mut check = tokio::time::interval(REPORT_CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = (Report::default(), Instant::now());
    loop {
        tokio::select! {
            message = link.next() => match message {
                Some(ToListener::Pause(paused)) => {
                    levers.pause.send_replace(paused);
                }
                Some(ToListener::Topics(seen)) => {
                    levers.topics.send_replace(seen);
                }
                Some(ToListener::Lease(end)) => {
                    levers.renew.send_replace(end);
                }
                Some(ToListener::Leave) => leave(levers),
                Some(ToListener::Retry) => status.retry_now(),
                // Who asked sees that nothing happens.
                Some(ToListener::Parked(wish)) => drop(levers.wishes.send(wish)),
                Some(ToListener::Start(_)) => {}
                None => return,
            },
            _ = check.tick() => {
                let report = status.report();
                if report == last.0 && last.1.elapsed() < REPORT_EVERY {
                    continue;
                }
                last = (report.clone(), Instant::now());
                if link.send(&FromListener::Report(Box::new(report))).await.is_err() {
                    return;
                }
            }
        }
    }
}
