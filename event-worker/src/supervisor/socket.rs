//! The supervisor's directory and the socket in it, where its listeners report.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use service::private;
use tokio::{net::UnixListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::{Supervisor, process_health::Unit};
use crate::{
    config::Config,
    error::Error,
    link::{FromListener, Link, ToListener},
    user,
};

/// How long a process that connects may take to say who it is.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

pub(super) struct Socket {
    pub(super) path: PathBuf,
    listener: UnixListener,
}

/// Creates the directory, readable by us alone, if it is missing. Locks it as long as the file is
/// open.
pub(super) fn lock(config: &Config) -> Result<File, Error> {
    let directory = &config.directory;
    let name = directory.display();
    let open = || {
        private::create_dir_all(directory)?;
        private::create(&directory.join("lock"))
    };
    let what = format!("cannot use the directory {name} ([supervisor])");
    let file = open().map_err(|error| match &config.user {
        Some(user) if error.kind() == ErrorKind::PermissionDenied => {
            let what = format!("{what} as user {}: {error}", user.name);
            Error::cannot_start(what, user::how_to_let_in(user, directory))
        }
        _ => Error::io(what)(error),
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::cannot_start(
            format!("another event-worker runs with the directory {name}"),
            format!(
                "stop that one (scripts/startDbEventWorker.sh stop{}), or set another directory in \
                 [supervisor]",
                config.groups.flags()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(Error::io(format!("cannot lock {name}"))(error)),
    }
}

/// Opens the socket. Nobody uses an old one, because the directory is locked.
pub(super) fn listen(directory: &Path) -> Result<Socket, Error> {
    let path = directory.join("supervisor.sock");
    let open = || {
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let listener = open().map_err(Error::io(format!(
        "cannot make the socket {} (its name may have 107 bytes at most)",
        path.display()
    )))?;
    Ok(Socket { path, listener })
}

/// Takes connections of listeners until `stop`, and after that until each listener has ended.
pub(super) async fn serve(socket: Socket, supervisor: Arc<Supervisor>, stop: CancellationToken) {
    let links = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = socket.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                links.spawn(attend(Link::new(stream), Arc::clone(&supervisor)));
            }
            Err(error) => {
                warn!(%error, "cannot accept a listener's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    links.close();
    links.wait().await;
}

/// Talks with one listener until it is gone.
async fn attend(mut link: Link, supervisor: Arc<Supervisor>) {
    let hello = timeout(HELLO_DEADLINE, link.next()).await;
    let Ok(Some(FromListener::Hello { listener, pid })) = hello else { return };
    let Some(unit) = unit_of(&supervisor, &listener, pid).await else {
        warn!(listener, pid, "a process that we did not start wanted to report; it is refused");
        return;
    };
    unit.set_connected(true);
    let talked = exchange(&mut link, &unit).await;
    unit.set_connected(false);
    if let Err(error) = talked {
        warn!(listener, pid, %error, "lost the connection to a listener");
    }
}

async fn unit_of(supervisor: &Supervisor, listener: &str, pid: u32) -> Option<Arc<Unit>> {
    let unit = supervisor.fleet.unit(listener)?;
    unit.is_process(pid).await.then_some(unit)
}

async fn exchange(link: &mut Link, unit: &Unit) -> std::io::Result<()> {
    let (mut paused, mut topics) = (unit.paused(), unit.topics());
    let (mut retries, mut leaves) = (unit.retries(), unit.leaves());
    let (mut lease, mut wishes) = (unit.seat.lease_ends(), unit.seat.wishes());
    let start = unit.start(*paused.borrow_and_update());
    link.send(&ToListener::Start(start)).await?;
    loop {
        tokio::select! {
            message = link.next() => match message {
                Some(FromListener::Report(report)) => unit.take_report(*report),
                Some(FromListener::Hello { .. }) => {}
                None => return Ok(()),
            },
            Ok(()) = paused.changed() => {
                let paused = *paused.borrow_and_update();
                link.send(&ToListener::Pause(paused)).await?;
            }
            Ok(()) = topics.changed() => {
                let topics = *topics.borrow_and_update();
                link.send(&ToListener::Topics(topics)).await?;
            }
            Ok(()) = lease.changed() => {
                let end = *lease.borrow_and_update();
                link.send(&ToListener::Lease(end)).await?;
            }
            Ok(()) = leaves.changed() => {
                if *leaves.borrow_and_update() {
                    link.send(&ToListener::Leave).await?;
                }
            }
            Ok(wish) = wishes.recv() => link.send(&ToListener::Parked(wish)).await?,
            Ok(()) = retries.changed() => link.send(&ToListener::Retry).await?,
        }
    }
}
