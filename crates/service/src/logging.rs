//! Logs: lower-case prose with fields, on standard error, as text or JSON lines.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal, Write},
};

use tracing::{error, warn};
use tracing_subscriber::{EnvFilter, fmt};

/// The variables for the level, in this order: our own, and the one that Rust programs have in
/// common.
const LEVEL: [&str; 2] = ["LOG", "RUST_LOG"];

/// Starts logging for this process. `LOG`, else `RUST_LOG`, sets the level or a filter (`info`,
/// `dts=debug`; default `info`), `LOG_FORMAT=json` makes each line a JSON object. A panic is
/// logged, too, with its place.
///
/// Standard output is left to what a program prints as its result.
pub fn init() {
    let (filter, mistake) = filter(|name| std::env::var(name).ok());
    let lines = fmt().with_env_filter(filter).with_writer(|| Lines);
    if std::env::var("LOG_FORMAT").is_ok_and(|format| format == "json") {
        lines.json().flatten_event(true).init();
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).init();
    }
    if let Some(mistake) = mistake {
        warn!("{mistake}; logging at info");
    }
    log_panics();
}

/// Standard error. A program goes on when nobody reads its log any more, or the disk is full.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // To report it would write to standard error again.
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The filter that the environment names, and what is wrong with it.
fn filter(variable: impl Fn(&str) -> Option<String>) -> (EnvFilter, Option<String>) {
    let mut set = LEVEL.iter().filter_map(|name| variable(name).map(|text| (name, text)));
    let Some((name, text)) = set.find(|(_, text)| !text.is_empty()) else {
        return (EnvFilter::new("info"), None);
    };
    match EnvFilter::try_new(&text) {
        Ok(filter) => (filter, None),
        Err(error) => {
            (EnvFilter::new("info"), Some(format!("{name}={text} is no filter: {error}")))
        }
    }
}

/// A panic is a bug: it says where, and with `RUST_BACKTRACE=1` how it came there.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        let is_captured = backtrace.status() == BacktraceStatus::Captured;
        let backtrace = is_captured.then(|| tracing::field::display(backtrace));
        error!(place, backtrace, "panic, which is a bug: {}", text.unwrap_or("no text"));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(variables: &[(&str, &str)]) -> (String, bool) {
        let value = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let (filter, mistake) = filter(value);
        (filter.to_string(), mistake.is_some())
    }

    #[test]
    fn the_level_comes_from_either_variable_and_a_wrong_one_is_told() {
        assert_eq!(level(&[]), ("info".to_owned(), false));
        assert_eq!(level(&[("RUST_LOG", "error")]), ("error".to_owned(), false));
        assert_eq!(level(&[("RUST_LOG", "error"), ("LOG", "debug")]), ("debug".to_owned(), false));
        assert_eq!(level(&[("LOG", ""), ("RUST_LOG", "warn")]), ("warn".to_owned(), false));
        assert_eq!(level(&[("LOG", "a=b=c")]), ("info".to_owned(), true));
    }
}
