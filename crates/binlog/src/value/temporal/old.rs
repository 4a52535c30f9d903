//! TIMESTAMP, TIME and DATETIME in the format before MySQL 5.6.4, without fractions: numbers with
//! the low byte first. Those of TIME and DATETIME have two decimal digits for each part
//! (`Field_timestamp`, `Field_time` and `Field_datetime` in the server's `field.cc`).
//!
//! Later versions of MySQL do not make such columns, but a table that was never rebuilt keeps them,
//! and MariaDB makes them with `mysql56_temporal_format = OFF`.

use super::{date, impossible, time, write_day_time};
use crate::error::Fault;

/// TIMESTAMP: seconds since 1970 in UTC.
pub(in crate::value) fn write_timestamp(out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Fault> {
    let mut seconds: [u8; 4] = raw.try_into().map_err(|_| impossible())?;
    seconds.reverse();
    super::write_timestamp(out, 0, &seconds)
}

/// TIME: the digits HHHMMSS, with a sign.
pub(in crate::value) fn write_time(out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Fault> {
    const MAX_HOUR: u32 = 838;
    let [a, b, c] = *raw else { return Err(impossible()) };
    // Three bytes in the upper part of four, then shifted down with their sign.
    let digits = i32::from_le_bytes([0, a, b, c]).wrapping_shr(8);
    let size = digits.unsigned_abs();
    let hour = size / 10_000;
    if hour > MAX_HOUR {
        return Err(impossible());
    }
    out.push(b'"');
    if digits < 0 {
        out.push(b'-');
    }
    if hour >= 100 {
        out.push(b'0'.wrapping_add((hour / 100) as u8));
    }
    out.extend_from_slice(&time(hour % 100, size / 100 % 100, size % 100)?);
    out.push(b'"');
    Ok(())
}

/// DATETIME: the digits YYYYMMDDHHMMSS.
pub(in crate::value) fn write_datetime(out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Fault> {
    let digits = u64::from_le_bytes(raw.try_into().map_err(|_| impossible())?);
    let ymd = u32::try_from(digits / 1_000_000).map_err(|_| impossible())?;
    let hms = (digits % 1_000_000) as u32;
    out.push(b'"');
    out.extend_from_slice(&date(ymd / 10_000, ymd / 100 % 100, ymd % 100)?);
    out.push(b' ');
    write_day_time(out, hms / 10_000, hms / 100 % 100, hms % 100)?;
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datetime(digits: u64) -> Result<String, Fault> {
        let mut out = Vec::new();
        write_datetime(&mut out, &digits.to_le_bytes())?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn time_of(digits: i32) -> Result<String, Fault> {
        let mut out = Vec::new();
        write_time(&mut out, &digits.to_le_bytes()[..3])?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_datetime_is_its_digits() {
        for (digits, expected) in [
            (0, "\"0000-00-00 00:00:00\""),
            (20_240_229_123_456, "\"2024-02-29 12:34:56\""),
            (20_260_010_000_000, "\"2026-00-10 00:00:00\""),
            (99_991_231_235_959, "\"9999-12-31 23:59:59\""),
            (101_000_000, "\"0000-01-01 00:00:00\""),
        ] {
            assert_eq!(datetime(digits).unwrap(), expected);
        }
        for digits in [20_241_301_000_000, 20_240_132_000_000, 20_240_101_240_000, u64::MAX] {
            assert!(datetime(digits).is_err(), "{digits}");
        }
        assert!(write_datetime(&mut Vec::new(), &[0; 7]).is_err());
    }

    #[test]
    fn a_time_is_its_digits_with_a_sign() {
        for (digits, expected) in [
            (0, "\"00:00:00\""),
            (123_456, "\"12:34:56\""),
            (8_385_959, "\"838:59:59\""),
            (-8_385_959, "\"-838:59:59\""),
            (-1, "\"-00:00:01\""),
            (1_000_000, "\"100:00:00\""),
        ] {
            assert_eq!(time_of(digits).unwrap(), expected);
        }
        for digits in [8_390_000 - 1, 6_000, 60, i32::MIN >> 8] {
            assert!(time_of(digits).is_err(), "{digits}");
        }
    }

    #[test]
    fn a_timestamp_has_its_low_byte_first() {
        let written = |seconds: u32| {
            let mut out = Vec::new();
            write_timestamp(&mut out, &seconds.to_le_bytes()).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(0), "\"0000-00-00 00:00:00\"");
        assert_eq!(written(1), "\"1970-01-01T00:00:01Z\"");
        assert_eq!(written(1_709_210_096), "\"2024-02-29T12:34:56Z\"");
        assert_eq!(written(0x7fff_ffff), "\"2038-01-19T03:14:07Z\"");
    }
}
