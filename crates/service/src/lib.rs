//! What every program needs: configuration, logging, shutdown, backoff, exit codes.

pub mod backoff;
pub mod config;
pub mod exit;
pub mod logging;
pub mod secret;
pub mod shutdown;

pub use backoff::{Backoff, BackoffConfig};
pub use secret::Secret;
