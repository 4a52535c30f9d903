//! Dates and times as numbers, and their JSON forms: for values from the binlog, and from a SELECT.

use super::{date, impossible, time, write_day_time, write_fraction};
use crate::error::Fault;

/// Three numbers: year, month and day; or hour, minute and second.
type Parts = (u32, u32, u32);

/// A DATETIME, or a TIMESTAMP in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Year, month and day.
    pub date: Parts,
    /// Hour, minute and second.
    pub hms: Parts,
    /// The fraction of the second, in microseconds.
    pub micros: u32,
}

impl Moment {
    /// `0000-00-00 00:00:00`.
    pub const ZERO: Self = Self { date: (0, 0, 0), hms: (0, 0, 0), micros: 0 };
}

/// A TIME: up to 838 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Whether it is below zero.
    pub negative: bool,
    /// Hour, minute and second.
    pub hms: Parts,
    /// The fraction of the second, in microseconds.
    pub micros: u32,
}

/// Writes a DATE.
///
/// # Errors
///
/// When there is no such day or time of day. The next functions fail in the same case.
pub fn write_date(out: &mut Vec<u8>, (year, month, day): Parts) -> Result<(), Fault> {
    out.push(b'"');
    out.extend_from_slice(&date(year, month, day)?);
    out.push(b'"');
    Ok(())
}

/// Writes a TIME with this many digits of fraction.
pub fn write_time(out: &mut Vec<u8>, fraction: u8, value: &Time) -> Result<(), Fault> {
    let (hour, minute, second) = value.hms;
    if hour > 999 {
        return Err(impossible());
    }
    out.push(b'"');
    if value.negative {
        out.push(b'-');
    }
    // Two digits of hours, or three (838 at most).
    if hour >= 100 {
        out.push(b'0'.wrapping_add((hour / 100) as u8));
    }
    out.extend_from_slice(&time(hour % 100, minute, second)?);
    write_fraction(out, fraction, value.micros)?;
    out.push(b'"');
    Ok(())
}

/// Writes a DATETIME with this many digits of fraction.
pub fn write_datetime(out: &mut Vec<u8>, fraction: u8, moment: &Moment) -> Result<(), Fault> {
    out.push(b'"');
    write_parts(out, fraction, (moment, b' '))?;
    out.push(b'"');
    Ok(())
}

/// Writes a TIMESTAMP with this many digits of fraction. The zero timestamp, which is not a time,
/// is written as MySQL prints it.
pub fn write_timestamp(out: &mut Vec<u8>, fraction: u8, moment: &Moment) -> Result<(), Fault> {
    if *moment == Moment::ZERO {
        return write_datetime(out, fraction, moment);
    }
    out.push(b'"');
    write_parts(out, fraction, (moment, b'T'))?;
    out.extend_from_slice(b"Z\"");
    Ok(())
}

fn write_parts(
    out: &mut Vec<u8>,
    fraction: u8,
    (moment, between): (&Moment, u8),
) -> Result<(), Fault> {
    let ((year, month, day), (hour, minute, second)) = (moment.date, moment.hms);
    out.extend_from_slice(&date(year, month, day)?);
    out.push(between);
    write_day_time(out, hour, minute, second)?;
    write_fraction(out, fraction, moment.micros)
}
