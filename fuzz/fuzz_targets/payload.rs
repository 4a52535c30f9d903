//! A compressed transaction: the body of a TRANSACTION_PAYLOAD event of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    // zstd makes at most 128 KiB of four bytes.
    assert!(fuzz::unpack(body) <= 33_000 * body.len());
});
