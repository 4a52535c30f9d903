//! Rows of a real table, of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// WRITE_ROWS, UPDATE_ROWS and DELETE_ROWS follow each other from here.
const WRITE_ROWS: u8 = 30;

fuzz_target!(|data: &[u8]| {
    let [table, kind, body @ ..] = data else { return };
    let written = fuzz::decode_rows(usize::from(*table), WRITE_ROWS + kind % 3, body).len();
    // The longest members of the real tables have a dozen bytes, 64 of them in a value of eight.
    // What is COMPRESSED becomes 1,032 times as much at most, and each byte of it six.
    assert!(written <= 6200 * data.len() || written >= fuzz::MAX_BYTES);
});
