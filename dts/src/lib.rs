//! Captures MySQL changes from the binlog and publishes them.
//!
//! The rooms of a change's journey: [`replica`] stays connected as a replica, [`decode`] gives the
//! events meaning, [`publish`] makes records of them; [`pipeline`] is the corridor between.

pub mod bus;
pub mod capture;
pub mod check;
pub mod config;
pub mod error;
pub mod finding;
pub mod full_sync;
pub mod http;
pub mod import;
pub mod last_bus;
pub mod loss;
pub mod pipeline;
pub mod position;
pub mod publish;
pub mod reload;
pub mod replica;
pub mod seq;
pub mod status;
pub mod touched;
pub mod verbs;
pub mod version;
pub mod watch;
