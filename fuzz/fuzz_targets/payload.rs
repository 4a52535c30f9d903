//! A compressed transaction: the body of a TRANSACTION_PAYLOAD event of any bytes, or with any
//! events in it.
#![no_main]

use fuzz::Packing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [is_packed, data @ ..] = data else { return };
    if is_packed % 2 == 0 {
        let unpacked: usize = fuzz::unpack(data).iter().map(|(_, event)| event.len()).sum();
        // zstd makes at most 128 KiB of four bytes.
        assert!(unpacked <= 33_000 * data.len());
    } else {
        let [plain, packed] = [Packing::None, Packing::Zstd]
            .map(|packing| fuzz::unpack(&fuzz::payload(packing, data)));
        assert_eq!(plain, packed);
        fuzz::decode_all(plain.iter().map(|(header, event)| (*header, &**event)));
    }
});
