//! What a server sends over the replication connection, of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [split, stream @ ..] = data else { return };
    let (first, second) = stream.split_at(usize::from(*split).min(stream.len()));
    assert!(fuzz::wire::read_stream(first, second) <= stream.len());
});
