//! The whole journey over Kafka, on brokers of the tests' own.

mod brokers;
mod kills;
mod standby;
