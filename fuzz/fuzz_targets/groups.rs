//! The events that begin and end groups, of any bytes: tagged GTIDs, statements, XA.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// QUERY, ROTATE, FORMAT_DESCRIPTION, EXECUTE_LOAD_QUERY, HEARTBEAT, GTID, ANONYMOUS_GTID,
/// XA_PREPARE, HEARTBEAT_V2, GTID_TAGGED_LOG.
const KINDS: [u8; 10] = [2, 4, 15, 18, 27, 33, 34, 38, 41, 42];

fuzz_target!(|data: &[u8]| {
    let [kind, body @ ..] = data else { return };
    fuzz::decode_in_groups(KINDS[usize::from(*kind) % KINDS.len()], body);
});
