//! The whole journey over Kafka, on brokers of the tests' own.

mod brokers;
mod cluster;
mod equal_keys;
mod huge;
mod kills;
mod lost_ends;
mod offsets;
mod secure;
mod standby;
