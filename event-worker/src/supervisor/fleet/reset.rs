//! Sets a listener to another place: its process ends first, and starts again after that.

use std::time::Duration;

use event_bus::Reset;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Fleet;
use crate::{
    error::Error,
    reset::{self, Move},
};

/// How long the bus may take to notice that the listener has left its group. For a member with a
/// name (`instance`), the bus notices it only after the session time-out of the group.
const RELEASE_DEADLINE: Duration = Duration::from_mins(1);

/// The result of a reset. Dropped when the listener is stopped before that.
type ResetAnswer = oneshot::Receiver<Result<Vec<Reset>, Error>>;

impl Fleet {
    /// Lets a listener's process end, sets its group, and starts it again, also when that failed;
    /// `None` if there is none of this id.
    ///
    /// # Errors
    ///
    /// When the bus of the config cannot be opened. Then nothing has happened.
    pub(crate) fn reset(&self, id: &str, change: Move) -> Result<Option<ResetAnswer>, Error> {
        let mut inner = self.lock();
        let config = &inner.accepted.config;
        let Some(listener) = config.listeners.get(id).filter(|_| inner.kept.contains_key(id))
        else {
            return Ok(None);
        };
        let wanted = listener.subscription(id, &config.bus);
        let bus = event_bus::open(&config.bus)?;
        let (answer_to, outcome) = oneshot::channel();
        let listener = id.to_owned();
        info!(listener, ?change, "the listener is stopped, to set it to another place");
        inner.launch_after(id, &self.socket, async move |unit| {
            let set = reset::set(&*bus, &wanted, &change, RELEASE_DEADLINE).await;
            unit.update_lag(|lag, _| lag.forget());
            match &set {
                Ok(resets) => info!(listener, ?resets, "the listener is set to another place"),
                Err(error) => warn!(listener, %error, "the listener continues at its old place"),
            }
            // The caller may be gone.
            let _ = answer_to.send(set);
        });
        Ok(Some(outcome))
    }
}
