//! The version, and the commit that it was built from.

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit; `unknown` if there was no repository.
pub const COMMIT: &str = env!("DBEVENT_COMMIT");

/// Both, as `--version` shows them.
pub const FULL: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("DBEVENT_COMMIT"), ")");
