//! A JSON document of any bytes, as the only value of a row.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// Where the table of documents stands in `tables.binlog`: `id`, `j`, `n`, `k`.
const DOCUMENTS: usize = 8;
const WRITE_ROWS: u8 = 30;
/// Table number, flags, no extra data, four columns, all there; `n` and `k` NULL, `id` 1.
const HEAD: &[u8] = b"\0\0\0\0\0\0\x01\0\x02\0\x04\x0f\x0c\x01\0\0\0\0\0\0\0";

fuzz_target!(|document: &[u8]| {
    let length = (document.len() as u32).to_le_bytes();
    let written =
        fuzz::decode_rows(DOCUMENTS, WRITE_ROWS, &[HEAD, &length, document].concat()).len();
    // A decimal of a few bytes may have 81 digits; a control character takes six.
    assert!((1..=64 + 40 * document.len()).contains(&written));
});
