//! What the supervisor, its API and its tasks share.

use std::{path::PathBuf, sync::Arc};

use event_bus::Bus;
use tokio::sync::{Notify, mpsc, oneshot};

use super::fleet::{Fleet, Reloaded};
use crate::{environment::SharedStanding, error::Error, full_sync::FullSyncs, replay::ReplayCalls};

/// A request for a reload. The answer says what changed, or why nothing changed.
pub(crate) type Reload = oneshot::Sender<Result<Reloaded, Error>>;

/// What the supervisor, its API and its tasks share.
pub(crate) struct Supervisor {
    pub(crate) file: PathBuf,
    pub(crate) fleet: Fleet,
    pub(crate) bus: Arc<dyn Bus>,
    /// What is known of the nodes of all environments.
    pub(crate) nodes: SharedStanding,
    pub(crate) full_syncs: FullSyncs,
    pub(crate) replays: ReplayCalls,
    pub(crate) reloads: mpsc::Sender<Reload>,
    /// The config was reloaded: the tables of the listeners must be looked up again.
    pub(super) reloaded: Notify,
}
