//! `event-worker listener restart` and `retry`: ask the event-worker that runs the listener.

use std::{path::Path, time::Duration};

use serde_json::Value;
use service::say;

use crate::{api::ListenerView, client::ApiClient, config::Config, error::Error};

const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// What is to be done with a listener that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// A new process takes the place of the one that runs, once that has finished what is begun.
    Restart,
    /// What waits after a failure is tried now.
    Retry,
}

/// Has it done by the event-worker that runs with this config, and says how the listener is.
///
/// # Errors
///
/// When the config is wrong, when nothing answers, or when that does not run the listener.
pub async fn steer_listener(file: &Path, id: &str, steer: Steer) -> Result<(), Error> {
    let config = Config::open_to_call(file)?;
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
