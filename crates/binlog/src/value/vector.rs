//! VECTOR as an array of numbers: 32 bits for each, IEEE 754, little-endian ("The VECTOR Type" in
//! the MySQL manual). MariaDB stores vectors in the same form.

use change_event::json;

/// Writes a vector; bytes that are no vector become base64 in an object.
pub fn write(out: &mut Vec<u8>, raw: &[u8]) {
    let (numbers, rest) = raw.as_chunks::<4>();
    let numbers = || numbers.iter().map(|bytes| f32::from_le_bytes(*bytes));
    if !rest.is_empty() || !numbers().all(f32::is_finite) {
        return json::write_unreadable(out, raw);
    }
    out.push(b'[');
    for (at, number) in numbers().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::write_f32(out, number);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(raw: &[u8]) -> String {
        let mut out = Vec::new();
        write(&mut out, raw);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_number_is_as_short_as_a_float_of_32_bits() {
        let raw = [0.1_f32, -0.0, 1.0, f32::MAX].map(f32::to_le_bytes).concat();
        assert_eq!(written(&raw), "[0.1,-0.0,1.0,3.4028235e+38]");
        assert_eq!(written(&[]), "[]");
    }

    #[test]
    fn bytes_that_are_no_vector_come_as_they_are() {
        assert_eq!(written(b"\0\0\x80\x3f\xff"), r#"{"base64":"AACAP/8="}"#);
        assert_eq!(written(&f32::NAN.to_le_bytes()), r#"{"base64":"AADAfw=="}"#);
    }
}
