//! Parked events as a human sees them: read from the bus, whichever node has them.

mod call;
mod command;
mod view;

pub use self::command::{
    ParkedChoice, ParkedVerb, drop_parked, list_parked, show_parked, steer_parked,
};
pub(crate) use self::{
    call::{CallOutcome, carry_out},
    view::{ParkedList, queues},
};
