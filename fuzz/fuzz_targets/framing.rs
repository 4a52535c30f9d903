//! A whole binlog of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let written = fuzz::decode_all(fuzz::events(data)).len();
    // As in `dts/tests/mutation.rs`: a member of a SET may be as long as the table map.
    assert!(written <= data.len() * (1400 + 6 * data.len()) || written >= fuzz::MAX_BYTES);
});
