//! Text of any bytes, in the character set of any collation.
#![no_main]

use binlog::Charset;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((id, text)) = input.split_first_chunk() else { return };
    let Some(charset) = Charset::of_collation(u16::from_le_bytes(*id)) else { return };
    let mut out = Vec::new();
    charset.write(&mut out, text);
    assert!(std::str::from_utf8(&out).is_ok());
    // A control character takes six; `{"base64":""}` and padding the rest.
    assert!((2..=16 + 6 * text.len()).contains(&out.len()));
});
