//! Dates and times, as MySQL prints them; the formats are those of `my_time.cc` since MySQL 5.6.4.

pub(super) mod old;
pub mod plain;

use change_event::json::digits;

use self::plain::Moment;
use crate::error::{Fault, corrupt};

/// YEAR: 0, or the years since 1900.
pub(super) fn write_year(out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Fault> {
    let year = match *raw {
        [0] => 0,
        [years] => u32::from(years).wrapping_add(1900),
        _ => return Err(impossible()),
    };
    let [[a, b], [c, d]] = four_digits(year);
    out.extend_from_slice(&[b'"', a, b, c, d, b'"']);
    Ok(())
}

/// DATE: year, month and day in 15, 4 and 5 bits.
pub(super) fn write_date(out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Fault> {
    let [a, b, c] = *raw else { return Err(impossible()) };
    let packed = u32::from_le_bytes([a, b, c, 0]);
    plain::write_date(out, (packed >> 9, packed >> 5 & 15, packed & 31))
}

/// TIME: a sign, ten bits of hours, six bits each of minutes and seconds, then the fraction. The
/// whole is one big-endian number whose sign bit is inverted.
pub(super) fn write_time(out: &mut Vec<u8>, fraction: u8, raw: &[u8]) -> Result<(), Fault> {
    if !(3..=6).contains(&raw.len()) {
        return Err(impossible());
    }
    let fraction_bytes = raw.len().saturating_sub(3);
    let fraction_bits = fraction_bytes.saturating_mul(8) as u32;
    let packed = raw.iter().fold(0_i64, |n, &byte| (n << 8) | i64::from(byte));
    let packed = packed.wrapping_sub(0x80_0000_i64.wrapping_shl(fraction_bits));
    let size = packed.unsigned_abs();
    let hms = size.wrapping_shr(fraction_bits) as u32;
    let below = size & 1_u64.wrapping_shl(fraction_bits).wrapping_sub(1);
    let time = plain::Time {
        negative: packed < 0,
        hms: (hms >> 12 & 0x3ff, hms >> 6 & 63, hms & 63),
        micros: micros(below, fraction_bytes)?,
    };
    plain::write_time(out, fraction, &time)
}

/// DATETIME: 17 bits of year times 13 plus month, five bits of day, then hour, minute and second.
pub(super) fn write_datetime(out: &mut Vec<u8>, fraction: u8, raw: &[u8]) -> Result<(), Fault> {
    let Some((&[a, b, c, d, e], below)) = raw.split_first_chunk() else { return Err(impossible()) };
    let packed = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
    let packed = packed.checked_sub(0x80_0000_0000).ok_or_else(impossible)?;
    let year_month = (packed >> 22) as u32;
    let (day, hms) = ((packed >> 17 & 31) as u32, (packed & 0x1_ffff) as u32);
    let moment = Moment {
        date: (year_month / 13, year_month % 13, day),
        hms: (hms >> 12, hms >> 6 & 63, hms & 63),
        micros: micros(big_endian(below), below.len())?,
    };
    plain::write_datetime(out, fraction, &moment)
}

/// TIMESTAMP: seconds since 1970 in UTC. All zero is not a time, but MySQL's zero timestamp.
pub(super) fn write_timestamp(out: &mut Vec<u8>, fraction: u8, raw: &[u8]) -> Result<(), Fault> {
    let Some((seconds, below)) = raw.split_first_chunk() else { return Err(impossible()) };
    let seconds = u32::from_be_bytes(*seconds);
    let micros = micros(big_endian(below), below.len())?;
    if seconds == 0 && micros == 0 {
        return plain::write_timestamp(out, fraction, &Moment::ZERO);
    }
    let second = seconds % 86_400;
    let hms = (second / 3600, second / 60 % 60, second % 60);
    plain::write_timestamp(out, fraction, &Moment { date: civil(seconds / 86_400), hms, micros })
}

/// A date, time or datetime inside a JSON document: eight bytes, always with six digits of
/// fraction (`TIME_from_longlong_packed`).
pub(super) mod packed {
    use super::{Fault, date, impossible, time, write_day_time, write_micros};

    pub(crate) fn write_date(out: &mut Vec<u8>, packed: i64) -> Result<(), Fault> {
        let ymd = (packed >> 41) as u32;
        let year_month = ymd >> 5;
        out.extend_from_slice(&date(year_month / 13, year_month % 13, ymd & 31)?);
        Ok(())
    }

    pub(crate) fn write_datetime(out: &mut Vec<u8>, packed: i64) -> Result<(), Fault> {
        if packed < 0 {
            return Err(impossible());
        }
        write_date(out, packed)?;
        out.push(b' ');
        let hms = (packed >> 24 & 0x1_ffff) as u32;
        write_day_time(out, hms >> 12, hms >> 6 & 63, hms & 63)?;
        write_micros(out, (packed & 0xff_ffff) as u32)
    }

    pub(crate) fn write_time(out: &mut Vec<u8>, packed: i64) -> Result<(), Fault> {
        let size = packed.unsigned_abs();
        let hms = (size >> 24) as u32;
        let hour = hms >> 12 & 0x3ff;
        if packed < 0 {
            out.push(b'-');
        }
        if hour >= 100 {
            out.push(b'0'.wrapping_add((hour / 100) as u8));
        }
        out.extend_from_slice(&time(hour % 100, hms >> 6 & 63, hms & 63)?);
        write_micros(out, (size & 0xff_ffff) as u32)
    }
}

fn date(year: u32, month: u32, day: u32) -> Result<[u8; 10], Fault> {
    if year > 9999 || month > 12 || day > 31 {
        return Err(impossible());
    }
    let [[a, b], [c, d]] = four_digits(year);
    let ([e, f], [g, h]) = (digits(month), digits(day));
    Ok([a, b, c, d, b'-', e, f, b'-', g, h])
}

fn time(hour: u32, minute: u32, second: u32) -> Result<[u8; 8], Fault> {
    if minute > 59 || second > 59 {
        return Err(impossible());
    }
    let ([a, b], [c, d], [e, f]) = (digits(hour), digits(minute), digits(second));
    Ok([a, b, b':', c, d, b':', e, f])
}

fn write_day_time(out: &mut Vec<u8>, hour: u32, minute: u32, second: u32) -> Result<(), Fault> {
    if hour > 23 {
        return Err(impossible());
    }
    out.extend_from_slice(&time(hour, minute, second)?);
    Ok(())
}

/// The microseconds of a fraction that is stored in this many bytes: hundredths in one byte,
/// ten-thousandths in two, millionths in three.
fn micros(value: u64, bytes: usize) -> Result<u32, Fault> {
    let (scale, limit) = match bytes {
        0 => return Ok(0),
        1 => (10_000, 100),
        2 => (100, 10_000),
        _ => (1, 1_000_000),
    };
    if value >= limit {
        return Err(impossible());
    }
    Ok(value.saturating_mul(scale) as u32)
}

/// Writes as many digits of a fraction as the column declares.
fn write_fraction(out: &mut Vec<u8>, shown: u8, micros: u32) -> Result<(), Fault> {
    if shown == 0 {
        return Ok(());
    }
    if micros > 999_999 {
        return Err(impossible());
    }
    let text = micros_text(micros);
    let end = usize::from(shown).saturating_add(1);
    out.extend_from_slice(text.get(..end).unwrap_or(&text));
    Ok(())
}

fn write_micros(out: &mut Vec<u8>, micros: u32) -> Result<(), Fault> {
    if micros > 999_999 {
        return Err(impossible());
    }
    out.extend_from_slice(&micros_text(micros));
    Ok(())
}

fn micros_text(micros: u32) -> [u8; 7] {
    let ([a, b], [c, d], [e, f]) = (digits(micros / 10_000), digits(micros / 100), digits(micros));
    [b'.', a, b, c, d, e, f]
}

fn four_digits(n: u32) -> [[u8; 2]; 2] {
    [digits(n / 100), digits(n)]
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, &byte| (n << 8) | u64::from(byte))
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(days: u32) -> (u32, u32, u32) {
    // Days since 0000-03-01, so that the leap day ends a year. No value overflows, because `days`
    // is less than 2^32 / 86400.
    let shifted = days.wrapping_add(719_468);
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let leap_days =
        (day_of_era / 1460).wrapping_add(day_of_era / 146_096).wrapping_sub(day_of_era / 36_524);
    let year_of_era = day_of_era.wrapping_sub(leap_days) / 365;
    let before =
        year_of_era.wrapping_mul(365).wrapping_add(year_of_era / 4).wrapping_sub(year_of_era / 100);
    let day_of_year = day_of_era.wrapping_sub(before);
    let from_march = day_of_year.wrapping_mul(5).wrapping_add(2) / 153;
    let day = day_of_year.wrapping_sub(from_march.wrapping_mul(153).wrapping_add(2) / 5);
    let month =
        if from_march < 10 { from_march.wrapping_add(3) } else { from_march.wrapping_sub(9) };
    let year = year_of_era.wrapping_add(era.wrapping_mul(400)).wrapping_add(u32::from(month <= 2));
    (year, month, day.wrapping_add(1))
}

#[cold]
fn impossible() -> Fault {
    corrupt("an impossible date or time")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>) -> Result<(), Fault>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn days_have_the_date_of_the_calendar() {
        let cases = [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (789, (1972, 2, 29)),
            (11_016, (2000, 2, 29)),
            (24_855, (2038, 1, 19)),
            (49_710, (2106, 2, 7)),
        ];
        for (days, expected) in cases {
            assert_eq!(civil(days), expected, "day {days}");
        }
    }

    #[test]
    fn a_negative_time_keeps_its_fraction() {
        // -00:00:00.1, TIME(1)
        assert_eq!(written(|out| write_time(out, 1, &[0x7f, 0xff, 0xff, 0xf6])), "\"-00:00:00.1\"");
        // -838:59:59, TIME
        assert_eq!(written(|out| write_time(out, 0, &[0x4b, 0x91, 0x05])), "\"-838:59:59\"");
    }

    #[test]
    fn the_zero_timestamp_is_not_1970() {
        assert_eq!(written(|out| write_timestamp(out, 3, &[0; 6])), "\"0000-00-00 00:00:00.000\"");
        assert_eq!(
            written(|out| write_timestamp(out, 3, &[0, 0, 0, 1, 0, 0])),
            "\"1970-01-01T00:00:01.000Z\""
        );
    }
}
