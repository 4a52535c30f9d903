//! A GEOMETRY and a VECTOR of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for written in [fuzz::geometry(bytes), fuzz::vector(bytes)] {
        assert!(std::str::from_utf8(&written).is_ok());
        // Four bytes are a number of up to 15 digits, or a list that is empty.
        assert!((2..=64 + 8 * bytes.len()).contains(&written.len()));
    }
});
