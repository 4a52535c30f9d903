//! A partial JSON update: a document and differences of any bytes, as the values of a row.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// Where the table of documents stands in `tables.binlog`: `id`, `j`, `n`, `k`.
const DOCUMENTS: usize = 8;
const PARTIAL_UPDATE_ROWS: u8 = 39;
/// Table number, flags, no extra data, four columns, `id` and `j` there before and after.
const HEAD: &[u8] = b"\0\0\0\0\0\0\x01\0\x02\0\x04\x03\x03";
/// No NULL, `id` 1.
const ROW: &[u8] = b"\0\x01\0\0\0\0\0\0\0";
/// Partial JSON, and `j` is a difference.
const OPTIONS: &[u8] = b"\x01\x01";

fuzz_target!(|data: &[u8]| {
    let [split, rest @ ..] = data else { return };
    let (document, diffs) = rest.split_at(usize::from(*split).min(rest.len()));
    let length = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
    let before = [ROW, &length(document), document].concat();
    let after = [OPTIONS, ROW, &length(diffs), diffs].concat();
    let rows = [HEAD, &before, &after].concat();
    let written = fuzz::decode_rows(DOCUMENTS, PARTIAL_UPDATE_ROWS, &rows);
    assert!(written.len() <= 128 + 80 * data.len());
});
