//! UTC days, as the names of directories.

use std::fmt;

const MS_PER_DAY: u64 = 86_400_000;

/// A UTC day, as days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Day(u32);

impl Day {
    /// The day of a time in milliseconds since the Unix epoch.
    pub(crate) fn of(time_ms: u64) -> Self {
        Self(u32::try_from(time_ms / MS_PER_DAY).unwrap_or(u32::MAX))
    }

    /// The day that is so many days earlier.
    pub(crate) fn before(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }

    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Its first millisecond since the Unix epoch.
    pub(crate) fn begins_ms(self) -> u64 {
        u64::from(self.0) * MS_PER_DAY
    }

    /// `YYYYMMDD` as a number.
    pub(crate) fn number(self) -> u32 {
        let (year, month, day) = civil_from_days(self.0);
        year.saturating_mul(10_000).saturating_add(month * 100 + day)
    }

    /// The day of such a number.
    pub(crate) fn of_number(number: u32) -> Option<Self> {
        Self::parse(&format!("{number:08}"))
    }

    /// Reads `YYYYMMDD`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if name.len() != 8 || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: u32 = name.parse().ok()?;
        let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
        let parsed = Self(days_from_civil(year, month, day)?);
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0);
        write!(out, "{year:04}{month:02}{day:02}")
    }
}

/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: u32, month: u32, day: u32) -> Option<u32> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

/// The same source, `civil_from_days`.
fn civil_from_days(days: u32) -> (u32, u32, u32) {
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u32::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_named_as_the_calendar_has_them() {
        let cases = [
            (0, "19700101"),
            (951_782_399_999, "20000228"),
            (951_782_400_000, "20000229"),
            (951_868_800_000, "20000301"),
            (1_700_000_000_123, "20231114"),
            (4_107_542_400_000, "21000301"),
        ];
        for (time_ms, name) in cases {
            assert_eq!(Day::of(time_ms).to_string(), name);
            assert_eq!(Day::parse(name), Some(Day::of(time_ms)));
            assert_eq!(Day::of(time_ms).number().to_string(), name);
            assert_eq!(Day::of_number(name.parse().unwrap()), Some(Day::of(time_ms)));
        }
    }

    #[test]
    fn every_day_of_a_century_is_read_back_and_follows_the_one_before() {
        for days in 0..60_000 {
            assert_eq!(Day::parse(&Day(days).to_string()), Some(Day(days)));
            assert!(Day(days).to_string() < Day(days + 1).to_string());
        }
    }

    #[test]
    fn what_is_not_a_day_is_refused() {
        for name in ["", "2023111", "20231314", "20230231", "19691231", "2023-1-1", "+2023111"] {
            assert_eq!(Day::parse(name), None, "{name}");
        }
    }
}
