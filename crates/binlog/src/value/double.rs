//! A DOUBLE inside a JSON document, as the server prints it. A full sync gets only that text, which
//! does not show whether a number is a DECIMAL or a DOUBLE. So both keep the server's form.
//!
//! The digits are the fewest that read back as the same number. The notation is that of `my_gcvt`
//! in the server's `dtoa.cc`: without an exponent from 1e-15 up to 1e15, and also above that, where
//! a digit follows the point.

use change_event::json;

use crate::error::Fault;

/// An `f64` has 17 digits at most.
const MAX_DIGITS: usize = 20;

/// Writes a number as SELECT prints it in a document.
pub(super) fn write(out: &mut Vec<u8>, n: f64) -> Result<(), Fault> {
    if !n.is_finite() {
        return Err(super::not_finite());
    }
    let mut text = [0; MAX_DIGITS];
    let (count, point) = digits_of(n.abs(), &mut text);
    let digits = text.get(..count).unwrap_or_default();
    if n.is_sign_negative() {
        out.push(b'-');
    }
    match point {
        -14..=0 => {
            out.extend_from_slice(b"0.");
            out.resize(out.len().saturating_add(point.unsigned_abs() as usize), b'0');
            out.extend_from_slice(digits);
        }
        1.. if point <= 15 || count > point as usize => write_around(out, digits, point as usize),
        _ => write_exponent(out, digits, point.saturating_sub(1)),
    }
    Ok(())
}

/// Digits with the point after the first `point` of them; zeros are added where digits are missing.
fn write_around(out: &mut Vec<u8>, digits: &[u8], point: usize) {
    let (whole, fraction) = digits.split_at_checked(point).unwrap_or((digits, b""));
    out.extend_from_slice(whole);
    let zeros = point.saturating_sub(whole.len());
    out.resize(out.len().saturating_add(zeros), b'0');
    out.push(b'.');
    out.extend_from_slice(if fraction.is_empty() { b"0" } else { fraction });
}

fn write_exponent(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    let (first, rest) = digits.split_at_checked(1).unwrap_or_default();
    out.extend_from_slice(first);
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    out.push(b'e');
    json::write_i64(out, exponent.into());
}

/// The digits of a number without zeros around them, their number, and the digit before which the
/// point is.
fn digits_of(n: f64, digits: &mut [u8; MAX_DIGITS]) -> (usize, i32) {
    let mut text = Vec::with_capacity(32);
    json::write_f64(&mut text, n);
    let mut parts = text.split(|byte| *byte == b'e');
    let (mantissa, exponent) = (parts.next().unwrap_or_default(), parts.next());
    let exponent = exponent.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let mut point: i32 = exponent.unwrap_or(0);
    let (mut count, mut end, mut is_fraction) = (0_usize, 0_usize, false);
    for byte in mantissa {
        if *byte == b'.' {
            is_fraction = true;
            continue;
        }
        point = point.wrapping_add(i32::from(!is_fraction));
        if count == 0 && *byte == b'0' {
            point = point.wrapping_sub(1);
            continue;
        }
        if let Some(place) = digits.get_mut(count) {
            *place = *byte;
            count = count.wrapping_add(1);
            end = if *byte == b'0' { end } else { count };
        }
    }
    match digits.first_mut() {
        // Zero has one digit, before the point.
        Some(first) if end == 0 => {
            *first = b'0';
            (1, 1)
        }
        _ => (end, point),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(n: f64) -> String {
        let mut out = Vec::new();
        write(&mut out, n).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// What MySQL 8.0.31 and 9.7 print.
    #[test]
    fn numbers_have_the_servers_notation() {
        for (n, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (100.0, "100.0"),
            (1e14, "100000000000000.0"),
            (123_456_789_012_345.0, "123456789012345.0"),
            (999_999_999_999_999.5, "999999999999999.5"),
            (1e15, "1e15"),
            (1_125_899_906_842_624.0 + 0.25, "1125899906842624.2"),
            (1_125_899_906_842_624.0, "1.125899906842624e15"),
            (12_345_678_901_234_567.0, "1.2345678901234568e16"),
            (1e22, "1e22"),
            (f64::MAX, "1.7976931348623157e308"),
            (5e-324, "5e-324"),
            (1e-5, "0.00001"),
            (1.5e-6, "0.0000015"),
            (1e-15, "0.000000000000001"),
            (1.5e-15, "0.0000000000000015"),
            (9.5e-16, "9.5e-16"),
            (1e-16, "1e-16"),
            (1.234_567_890_123_456_7e-14, "0.000000000000012345678901234567"),
        ] {
            assert_eq!(written(n), expected, "{n:e}");
        }
        assert!(write(&mut Vec::new(), f64::NAN).is_err());
    }
}
