//! Captures MySQL changes from the binlog and publishes them.
//!
//! The rooms of a change's journey: [`replica`] stays connected as a replica, the crate [`binlog`]
//! gives the events meaning, [`publish`] turns them into records. [`pipeline`] is the corridor
//! between.

pub mod books;
pub mod bus;
pub mod capture;
pub mod check;
pub mod checkpoint;
pub mod config;
pub mod ended;
pub mod error;
pub mod full_sync;
pub mod http;
pub mod import;
pub mod let_in;
pub mod pipeline;
pub mod publish;
pub mod reload;
pub mod replica;
pub mod status;
pub mod verbs;
pub mod version;
pub mod watch;
