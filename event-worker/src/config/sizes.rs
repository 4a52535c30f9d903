//! Numbers and sizes with a smallest and a largest value.

use bytesize::ByteSize;
use service::config::Section;

/// A number from 1 to `max`.
pub(super) fn read_count(section: &Section, key: &str, default: usize, max: usize) -> usize {
    let count = section.or(key, default);
    if !(1..=max).contains(&count) {
        let remedy = format!("write a number from 1 to {max}");
        section.note(key, &format!("{count} is out of range"), &remedy);
    }
    count.clamp(1, max)
}

/// A size in bytes.
pub(super) fn read_bytes(section: &Section, key: &str, default: ByteSize) -> usize {
    const MIN: ByteSize = ByteSize::kib(64);
    const MAX: ByteSize = ByteSize::gib(16);
    let size = section.or(key, default);
    if !(MIN..=MAX).contains(&size) {
        section.note(key, &format!("{size} is out of range"), "write a size from 64KiB to 16GiB");
    }
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}
