//! What the supervisor, its API and its tasks share.

use std::{path::PathBuf, sync::Arc};

use event_bus::Bus;
use tokio::sync::{Notify, mpsc, oneshot};

use super::fleet::{Fleet, Reloaded};
use crate::{error::Error, full_sync::FullSyncs};

/// Asks for a reload; the answer says what changed, or why nothing did.
pub(crate) type Reload = oneshot::Sender<Result<Reloaded, Error>>;

/// What the supervisor, its API and its tasks share.
pub(crate) struct Supervisor {
    pub(crate) file: PathBuf,
    pub(crate) fleet: Fleet,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) full_syncs: FullSyncs,
    pub(crate) reloads: mpsc::Sender<Reload>,
    /// The listeners are others: what they reach is to be looked up.
    pub(super) reloaded: Notify,
}
