//! Replays: past events of the bus once more to one listener.
//!
//! An event-worker that is asked writes into the control table of the bus what is wanted. The
//! members of the listener's group carry it out (`listener/replay`), and write there how far they
//! are. So a replay survives the end of every process.

mod calls;
mod command;
mod entry;
mod form;
mod plan;
mod refusal;
mod sweep;
mod view;

pub(crate) use self::{
    calls::ReplayCalls,
    entry::{KnownReplay, Replay, ReplayPlace, ReplayRange, ReplayTable, place_entry},
    refusal::RefusedReplay,
    sweep::sweep,
    view::{ReplayList, ReplayView},
};
pub use self::{
    calls::ReplayWish,
    command::{list_replays, start_replay, watch_replay, wish_replay},
    form::{ReplayBound, WantedEvents},
};
