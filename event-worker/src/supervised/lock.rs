//! Only one process per listener and directory runs at a time, also after the supervisor was killed
//! and its listeners still finish their calls. Otherwise a new process with the same name would
//! push the old one out of the group while its handlers run.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

use crate::error::Error;

/// Longer than a listener needs to stop.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Waits until no other process of the listener runs. The caller must keep the file while this
/// process runs. After `patience` we do not wait any more: the bus pushes the other process out.
pub(super) async fn take(
    directory: &Path,
    listener: &str,
    patience: Duration,
) -> Result<File, Error> {
    let path = path(directory, listener);
    let failed = || Error::io(format!("cannot lock {}", path.display()));
    let file = service::private::create(&path).map_err(failed())?;
    let (began, mut is_told) = (Instant::now(), false);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
            Err(TryLockError::WouldBlock) if began.elapsed() >= patience => {
                warn!("an earlier process of this listener does not end; this one waits no longer");
                return Ok(file);
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if !is_told {
            info!("an earlier process of this listener has not ended yet; this one waits");
            is_told = true;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Whether a process of the listener runs.
pub(crate) fn is_taken(directory: &Path, listener: &str) -> bool {
    let lock = File::open(path(directory, listener));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Waits until no process of the listener runs, at most as long as the next process would.
pub(crate) async fn wait_until_free(directory: &Path, listener: &str) {
    let began = Instant::now();
    while is_taken(directory, listener) && began.elapsed() < PATIENCE {
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn path(directory: &Path, listener: &str) -> PathBuf {
    directory.join(format!("listener-{listener}.lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_process_waits_for_the_one_before_but_not_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_taken(directory.path(), "a"));
        let first = take(directory.path(), "a", PATIENCE).await.unwrap();
        assert!(is_taken(directory.path(), "a") && !is_taken(directory.path(), "b"));
        take(directory.path(), "b", PATIENCE).await.unwrap();
        take(directory.path(), "a", Duration::ZERO).await.unwrap();
        let second = take(directory.path(), "a", PATIENCE);
        tokio::pin!(second);
        let early = tokio::time::timeout(4 * ASK_AGAIN, &mut second).await;
        assert!(early.is_err(), "the first holds it");
        drop(first);
        tokio::time::timeout(PATIENCE, second).await.unwrap().unwrap();
    }
}
