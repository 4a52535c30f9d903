//! What every program needs: configuration, addresses, globs, HTTP, the clock, logging, shutdown,
//! backoff, exit codes, the line that says why.

pub mod address;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod exit;
pub mod glob;
pub mod http;
pub mod init;
pub mod listen;
pub mod logging;
pub mod memory;
pub mod private;
pub mod said;
pub mod secret;
pub mod shutdown;
pub mod tls;
pub mod token;
pub mod why;

pub use address::Address;
pub use backoff::{Backoff, BackoffConfig};
pub use listen::Listen;
pub use secret::Secret;
pub use token::Token;
