//! What the measuring programs share: processor time and memory of this process.

use std::time::Duration;

/// What a run cost this process so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// The largest resident set.
    pub peak_rss_bytes: u64,
}

impl Usage {
    /// As the kernel accounts it now.
    pub fn now() -> Self {
        Self { cpu: cpu_time(), peak_rss_bytes: peak_rss_bytes() }
    }
}

/// User and system time from `/proc/self/stat`, fields 14 and 15, in ticks of 10 ms (proc(5)).
fn cpu_time() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u32 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u32>().ok())
        .sum();
    TICK * ticks
}

fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
