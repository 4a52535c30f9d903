//! Runs listeners: batches of changes, handlers that are called until they succeed.
//!
//! The journey of an event, in the order of its rooms: `listener` takes deliveries from the bus
//! and gives them to lanes by key; a lane calls a [`Handler`] until it succeeds; what is done is
//! committed. `supervisor` runs each listener as a process of its own, `api` shows them.

mod alone;
mod api;
mod background;
mod check;
mod client;
mod config;
mod environment;
mod error;
mod event;
mod full_sync;
mod groups;
mod handler;
mod link;
mod listener;
mod output;
mod parked;
mod reach;
mod rehearsal;
mod replay;
mod reset;
mod status;
mod steer;
mod supervised;
mod supervisor;
mod table;
mod table_facts;
mod table_name;
mod tail;
mod trial;
mod user;
pub mod version;
mod versions;

pub use alone::{run, run_alone};
pub use background::{BackgroundFiles, start_in_background};
pub use check::check;
pub use config::{
    Actions, BigInt, Config, EnvironmentConfig, ExecConfig, GroupChoice, HandlerConfig, HttpConfig,
    ListenerConfig, ParkAfter, ParkConfig, Proxy, UserConfig,
};
pub use error::Error;
pub use full_sync::{
    FullSyncPart, FullSyncWish, list_full_syncs, start_full_sync, watch_full_syncs, wish_full_sync,
};
pub use groups::{forget_group, list_groups};
pub use handler::{Batch, Event, Failure, Handler, Outcome, Place, json_array};
pub use listener::Listener;
pub use output::Output;
pub use parked::{ParkedChoice, ParkedVerb, drop_parked, list_parked, show_parked, steer_parked};
pub use rehearsal::{Rehearsal, RehearsedHandler, rehearse};
pub use replay::{
    ReplayBound, ReplayWish, WantedEvents, list_replays, start_replay, watch_replay, wish_replay,
};
pub use reset::{ResetMode, ResetPart, ResetPlace, SkippedRecord, reset_listener, skip_record};
pub use status::{healthy, show_status};
pub use steer::{Steer, steer_listener};
pub use supervised::run_supervised;
pub use supervisor::{Run, supervise};
pub use tail::{TailRange, tail};
pub use trial::try_handler;
pub use versions::show_versions;
