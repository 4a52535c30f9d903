//! Sets of GTIDs: as text, and as PREVIOUS_GTIDS and GTID_LIST events have them.
#![no_main]

use binlog::{GtidSet, read_gtid_list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [kind, body @ ..] = data else { return };
    let set = match kind % 3 {
        0 => GtidSet::decode(body),
        1 => read_gtid_list(body).ok().map(GtidSet::from_iter),
        _ => std::str::from_utf8(body).ok().and_then(|text| text.parse().ok()),
    };
    let Some(set) = set else { return };
    assert!(set.minus(&set).is_empty());
    // A server's own text has only tags that can be read again.
    if kind % 3 > 0 {
        assert_eq!(set.to_string().parse::<GtidSet>().as_ref(), Ok(&set));
    }
});
