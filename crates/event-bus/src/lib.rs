//! Where changes are kept between the program that captures them and those that use them.
//!
//! A [`Bus`] is one of several backends with two small traits. A [`Producer`] appends batches
//! together with its checkpoint; a [`Consumer`] is a member of a group and gets the records of the
//! partitions that the group gives it. One suite, `tests/contract`, holds for all backends:
//!
//! - records of one key are delivered in the order in which they were appended;
//! - an append is durable when it returns, batch and checkpoint are there together or not at all;
//! - what was not committed is delivered again to the next owner of its partition, what was
//!   committed is not;
//! - every record is handled by one member of a group, and another takes over when that one dies;
//! - a commit for a partition that is no longer ours is refused;
//! - what is put into the control table is durable, and everybody who listens hears of it.

mod batch;
mod book;
mod bus;
mod checkpoint;
mod config;
mod consumer;
mod control;
mod error;
mod kafka;
mod kept;
mod known;
mod log;
mod memory;
mod open;
mod outside;
mod producer;
mod reset;
mod standing;
mod topic;

pub use batch::{Batch, BatchMark, Headers, Record};
pub use book::{BOOK_HEADER, BOOK_PREFIX, Book, Mark, TopicLines, lines_in};
pub use bus::Bus;
pub use checkpoint::{Checkpoint, CheckpointChange};
pub use config::{BusConfig, BusKind, OnOversize};
pub use consumer::{
    Assignment, Committing, Consumer, Delivery, GroupTable, Kept, KeptChange, LookingUp, Partition,
    Polled, Progress, Start, Subscription, Survey,
};
pub use control::{Control, ControlChange};
pub use error::Error;
pub use kafka::{Guarantee, KafkaConfig};
pub use known::{KnownGroup, Room};
pub use log::{EmbeddedLog, LogConfig};
pub use memory::MemoryBus;
pub use open::open;
pub use producer::{ChangedTopic, Durability, Producer, TopicChange};
pub use reset::{Reset, ResetTo};
pub use standing::Standing;
pub use topic::{TopicFilter, TopicName};

/// A result of the bus.
pub type Result<T> = std::result::Result<T, Error>;
