//! The time as events, logs and files have it: in milliseconds since the Unix epoch.

use std::time::{SystemTime, UNIX_EPOCH};

/// In a debug build: a file with so many milliseconds as the clock is ahead of that of the system.
/// So tests let days pass in programs that run.
pub const TEST_CLOCK_VARIABLE: &str = "DBEVENT_TEST_CLOCK";

/// Now, in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    since_epoch_ms(SystemTime::now()).saturating_add_signed(ahead_ms())
}

#[cfg(debug_assertions)]
fn ahead_ms() -> i64 {
    let path = std::env::var_os(TEST_CLOCK_VARIABLE);
    let ahead = path.and_then(|path| std::fs::read_to_string(path).ok());
    ahead.and_then(|ahead| ahead.trim().parse().ok()).unwrap_or_default()
}

#[cfg(not(debug_assertions))]
const fn ahead_ms() -> i64 {
    0
}

/// A time in milliseconds since the Unix epoch; an earlier one is 0.
pub fn since_epoch_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
