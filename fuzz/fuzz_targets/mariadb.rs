//! What only MariaDB writes: its own events, and rows and values that are compressed.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// ANNOTATE_ROWS, BINLOG_CHECKPOINT, GTID, GTID_LIST, START_ENCRYPTION, QUERY_COMPRESSED.
const EVENTS: [u8; 6] = [160, 161, 162, 163, 164, 165];
/// WRITE_ROWS, UPDATE_ROWS and DELETE_ROWS, as MariaDB writes them.
const ROWS: [u8; 3] = [23, 24, 25];
/// Where the table of COMPRESSED columns stands in `tables.binlog`: `id`, a BLOB, a VARCHAR.
const COMPRESSED: usize = 12;
/// Table number, flags, three columns, all there; the last NULL, `id` 1.
const HEAD: &[u8] = b"\0\0\0\0\0\0\x01\0\x03\x07\x04\x01\0\0\0\0\0\0\0";

fuzz_target!(|data: &[u8]| {
    let [what, table, body @ ..] = data else { return };
    let (kind, table) = (what / 4, usize::from(*table));
    let rows = ROWS[usize::from(kind) % ROWS.len()];
    match what % 4 {
        0 => fuzz::decode_in_groups(EVENTS[usize::from(kind) % EVENTS.len()], body),
        1 => drop(fuzz::decode_rows(table, fuzz::mariadb::compressed_kind(rows), body)),
        2 => {
            let Some(packed) = fuzz::mariadb::compressed_rows(rows == 24, body) else { return };
            let compressed = fuzz::mariadb::compressed_kind(rows);
            let values = fuzz::decode_rows(table, compressed, &packed);
            assert_eq!(values, fuzz::decode_rows(table, rows, body));
        }
        _ => {
            let length = (body.len() as u16).to_le_bytes();
            let written = fuzz::decode_rows(COMPRESSED, 23, &[HEAD, &length, body].concat());
            // Deflated bytes become 1,032 times as many at most; base64 makes four of three.
            assert!(written.len() <= 64 + 1400 * body.len());
        }
    }
});
