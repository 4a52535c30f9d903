//! The events that begin and end groups, of any bytes: tagged GTIDs, statements, XA.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// QUERY, EXECUTE_LOAD_QUERY, GTID, ANONYMOUS_GTID, XA_PREPARE, HEARTBEAT_V2, GTID_TAGGED_LOG.
const KINDS: [u8; 7] = [2, 18, 33, 34, 38, 41, 42];

fuzz_target!(|data: &[u8]| {
    let [kind, body @ ..] = data else { return };
    fuzz::decode_in_xa(KINDS[usize::from(*kind) % KINDS.len()], body);
});
