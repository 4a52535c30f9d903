//! What every client of Kafka brokers needs, whatever it does with them: how it is made from the
//! config, where its logs go, what errors mean, and which records the brokers have taken.

mod acks;
mod properties;
pub mod topic_id;
mod transaction;
mod voice;

pub use self::{
    acks::{Acks, Goal, RefusedRecord},
    properties::{Properties, check_addresses},
    transaction::{commit, transaction_error, wait_until_forgotten},
    voice::{Voice, is_fenced, remedy},
};
