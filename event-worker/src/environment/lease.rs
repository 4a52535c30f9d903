//! Until when a listener may call its handler without a new word from the bus.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::sleep};

/// A moment on the clock of this machine, which goes on while the machine or the process sleeps.
/// All processes of the machine have the same clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Moment {
    ms_since_boot: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        let (seconds, nanos) = (now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned());
        Self { ms_since_boot: seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000) }
    }

    pub(crate) fn after(self, time: Duration) -> Self {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { ms_since_boot: self.ms_since_boot.saturating_add(ms) }
    }

    /// How long it is until then; nothing when it is past.
    pub(crate) fn left(self) -> Duration {
        Duration::from_millis(self.ms_since_boot.saturating_sub(Self::now().ms_since_boot))
    }
}

/// The lease of a listener, as its holder hears of it. Nobody else may run the listener until the
/// lease has ended.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    ends: watch::Receiver<Option<Moment>>,
}

impl Lease {
    /// A lease that ends when the channel says; `None` is a lease without end.
    pub(crate) fn new(ends: watch::Receiver<Option<Moment>>) -> Self {
        Self { ends }
    }

    /// Whether nodes of another environment may wait for it.
    pub(crate) fn has_end(&self) -> bool {
        self.ends.borrow().is_some()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ends.borrow().is_some_and(|end| end.left().is_zero())
    }

    /// Waits until it is over. Cancel-safe.
    pub(crate) async fn over(&self) {
        let mut ends = self.ends.clone();
        loop {
            let left = match *ends.borrow_and_update() {
                Some(end) => end.left(),
                None => Duration::MAX,
            };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = sleep(left) => {}
                Ok(()) = ends.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_over_at_its_end_and_not_while_it_is_renewed() {
        let (renew, ends) = watch::channel(Some(Moment::now()));
        let lease = Lease::new(ends);
        assert!(lease.is_over());
        lease.over().await;
        renew.send_replace(Some(Moment::now().after(Duration::from_hours(1))));
        assert!(!lease.is_over());
        let over = tokio::spawn({
            let lease = lease.clone();
            async move { lease.over().await }
        });
        renew.send_replace(None);
        assert!(!lease.is_over());
        renew.send_replace(Some(Moment::now()));
        over.await.unwrap();
    }
}
