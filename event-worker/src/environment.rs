//! Gray release: nodes of several environments share the listeners, and each listener runs in one
//! environment at a time, by its `version`. Whoever begins waits until the other has ended.

pub(crate) mod decide;
pub(crate) mod entry;
pub(crate) mod lease;
mod node;
mod nodes;
pub(crate) mod seat;
mod standing;

pub(crate) use self::{
    lease::{Lease, Moment},
    node::{Node, SharedStanding},
    seat::{Seat, Seats},
    standing::{ShownNode, Standing},
};
