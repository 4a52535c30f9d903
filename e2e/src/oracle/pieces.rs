//! Random dates, times, texts and bytes, which random values are made of.

use rand::{RngExt as _, rngs::StdRng};

pub(super) fn date(rng: &mut StdRng) -> String {
    let (month, day) = (rng.random_range(1..=12), rng.random_range(1..=28));
    format!("{:04}-{month:02}-{day:02}", rng.random_range(1..9999))
}

pub(super) fn day_time(rng: &mut StdRng) -> String {
    let (hour, second) = (rng.random_range(0..24), rng.random_range(0..60));
    // Not the last minute: rounding a fraction up must not leave the range of dates.
    let minute = rng.random_range(0..59);
    format!("{hour:02}:{minute:02}:{second:02}.{:06}", rng.random_range(0..1_000_000))
}

pub(super) fn time(rng: &mut StdRng) -> String {
    let sign = ["", "-"][rng.random_range(0..2)];
    let hour = if rng.random_bool(0.3) { 0 } else { rng.random_range(0..838) };
    let (minute, second) = (rng.random_range(0..60), rng.random_range(0..60));
    format!("{sign}{hour:02}:{minute:02}:{second:02}.{:06}", rng.random_range(0..1_000_000))
}

/// Text of so many characters, with those that need care more often than they occur.
pub(super) fn text(rng: &mut StdRng, length: usize) -> String {
    let pools = [
        "abcxyz019 ",
        "\"\\/'`\n\r\t\0\u{1}\u{1f}\u{7f}",
        "éüß\u{a0}ÿ",
        "€中文\u{2028}\u{feff}",
        "😀𝄞👩",
    ];
    let pool: Vec<char> = pools[..rng.random_range(1..=pools.len())].concat().chars().collect();
    (0..length).map(|_| pool[rng.random_range(0..pool.len())]).collect()
}

pub(super) fn byte(rng: &mut StdRng) -> u8 {
    if rng.random_bool(0.3) { 0 } else { rng.random() }
}
