//! A place in a stream, as a user says it: an offset, a day or a time.

use std::str::FromStr;

use event_log::Start;
use service::clock::since_epoch_ms;

const MS_PER_DAY: u64 = 86_400_000;

/// A place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    Offset(u64),
    /// The first millisecond of a UTC day.
    Day(u64),
    Time(u64),
}

/// A UTC day, by its first millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DayPoint(pub(crate) u64);

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(offset) = text.parse()
        {
            return Ok(Self::Offset(offset));
        }
        if let Ok(DayPoint(day)) = text.parse() {
            return Ok(Self::Day(day));
        }
        humantime::parse_rfc3339_weak(text).map(|time| Self::Time(since_epoch_ms(time))).map_err(
            |_| {
                "write an offset (1234), a UTC day (2026-03-01) or a UTC time \
                 (2026-03-01T10:00:00Z)"
                    .to_owned()
            },
        )
    }
}

impl FromStr for DayPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let day = humantime::parse_rfc3339(&format!("{text}T00:00:00Z"));
        day.map(|day| Self(since_epoch_ms(day)))
            .map_err(|_| "write a UTC day, as 2026-03-01".to_owned())
    }
}

/// A place to begin.
pub(crate) fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ => text.parse().map(Point::start).map_err(|_| {
            "write earliest, latest, an offset (1234), a UTC day (2026-03-01) or a UTC time \
             (2026-03-01T10:00:00Z)"
                .to_owned()
        }),
    }
}

impl Point {
    /// To begin there.
    pub(crate) fn start(self) -> Start {
        match self {
            Self::Offset(offset) => Start::Offset(offset),
            Self::Day(time_ms) | Self::Time(time_ms) => Start::Time(time_ms),
        }
    }

    /// Whether a record is later than this, the day or moment itself counted in.
    pub(crate) fn is_before(self, offset: u64, time_ms: u64) -> bool {
        match self {
            Self::Offset(last) => offset > last,
            Self::Day(day) => time_ms >= day.saturating_add(MS_PER_DAY),
            Self::Time(last) => time_ms > last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_a_day_and_a_time_are_told_apart() {
        let day = 1_772_323_200_000;
        assert_eq!("20260301".parse(), Ok(Point::Offset(20_260_301)));
        assert_eq!("2026-03-01".parse(), Ok(Point::Day(day)));
        assert_eq!("2026-03-01T10:00:00.5Z".parse(), Ok(Point::Time(day + 36_000_500)));
        assert_eq!("2026-03-01 10:00:00".parse(), Ok(Point::Time(day + 36_000_000)));
        for wrong in ["", "-1", "yesterday", "2026-02-30", "99999999999999999999"] {
            assert!(wrong.parse::<Point>().unwrap_err().contains("2026-03-01"), "{wrong}");
        }
    }

    #[test]
    fn the_last_day_is_read_whole() {
        let day: Point = "2026-03-01".parse().unwrap();
        assert!(!day.is_before(7, 1_772_409_599_999) && day.is_before(7, 1_772_409_600_000));
        assert!(!Point::Offset(7).is_before(7, 0) && Point::Offset(7).is_before(8, 0));
    }
}
