//! Logs: lower-case prose with fields, on standard error, as text or JSON lines.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging for this process. `LOG` sets the level or a filter (`info`, `dts=debug`; default
/// `info`), `LOG_FORMAT=json` makes each line a JSON object.
///
/// Standard output is left to what a program prints as its result.
pub fn init() {
    let filter = EnvFilter::try_from_env("LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var("LOG_FORMAT").is_ok_and(|format| format == "json") {
        lines.json().flatten_event(true).init();
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
