//! `event-worker listener restart` and `retry`: ask the event-worker that runs the listener.

use std::{path::Path, time::Duration};

use serde_json::Value;
use service::say;

use crate::{
    api::ListenerView,
    client::ApiClient,
    config::{Config, GroupChoice},
    error::Error,
};

const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// What to do with a running listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// Start a new process, as soon as the running one has finished its calls.
    Restart,
    /// Retry now what waits after a failure.
    Retry,
}

/// Asks the running event-worker of this config to do it, and prints what happens.
///
/// # Errors
///
/// When the config is wrong, when nothing answers, or when event-worker does not run the listener.
pub async fn steer_listener(
    file: &Path,
    groups: &GroupChoice,
    id: &str,
    steer: Steer,
) -> Result<(), Error> {
    let config = Config::open_to_call(file, groups, Some(id))?;
    config.listener(id)?;
    let api = ApiClient::new(&config.listen)?;
    let verb = match steer {
        Steer::Restart => "restart",
        Steer::Retry => "retry",
    };
    let path = format!("/api/v1/listeners/{id}/{verb}");
    let view = api.post::<ListenerView>(&path, &Value::Null, ANSWER_DEADLINE).await?;
    match steer {
        Steer::Restart => say!("{id} restarts as soon as its running calls have ended"),
        Steer::Retry => say!("{id} retries its failed events now; it was {}", view.state),
    }
    Ok(())
}
