//! What every client of Kafka brokers needs, whatever it does with them: how it is made from the
//! config, where its logs go, what errors mean, which records the brokers have taken, and whether
//! readers see them.

mod acks;
mod properties;
mod send;
mod sight;
pub mod topic_id;
mod transaction;
mod voice;

pub use self::{
    acks::{Acks, Goal, RefusedRecord},
    properties::{Properties, check_addresses},
    send::{Unsent, send},
    sight::{Place, Records, Sight, Written},
    transaction::{Fate, commit, is_filler, transaction_error, undo_left},
    voice::{Voice, is_fenced, remedy},
};
