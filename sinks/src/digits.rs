//! Numbers as texts, compared by their digits: `1.50` and `15e-1` are the same.

use change_event::json;

/// The digits of a number that is not rounded by reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digits {
    /// Without zeros at both ends; empty for 0.
    digits: String,
    /// The place of the last digit: 0 for whole numbers, -2 for hundredths.
    last: i64,
    is_negative: bool,
}

impl Digits {
    /// `None`: the text is no number.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
        let (whole, part) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let all = format!("{whole}{part}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let kept = all.trim_end_matches('0');
        let zeros = i64::try_from(all.len() - kept.len()).ok()?;
        let digits = kept.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { digits, last: 0, is_negative: false });
        }
        let last = i64::from(exponent) - i64::try_from(part.len()).ok()? + zeros;
        Some(Self { digits, last, is_negative: mantissa.starts_with('-') })
    }

    /// How many digits stand after the point.
    pub(crate) fn after_point(&self) -> usize {
        usize::try_from(-self.last).unwrap_or_default()
    }

    /// The places of its first and last digit; `None` for 0.
    pub(crate) fn places(&self) -> Option<(i64, i64)> {
        let more =
            i64::try_from(self.digits.len()).ok()?.checked_sub(1).filter(|more| *more >= 0)?;
        Some((self.last.saturating_add(more), self.last))
    }
}

/// The number as 32 bits hold it, in the form of events: of several shortest texts of a number it
/// is the one that events have. `None` where 32 bits do not reach so far.
pub(crate) fn single(text: &str) -> Option<String> {
    let number: f32 = text.trim().parse().ok().filter(|number: &f32| number.is_finite())?;
    Some(written(|out| json::write_f32(out, number)))
}

/// The same with 64 bits.
pub(crate) fn double(text: &str) -> Option<String> {
    let number: f64 = text.trim().parse().ok().filter(|number: &f64| number.is_finite())?;
    Some(written(|out| json::write_f64(out, number)))
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_their_digits() {
        for same in ["1.5", "01.500", "15e-1", "+0.15E1"] {
            assert_eq!(Digits::of(same), Digits::of("1.5"), "{same}");
        }
        assert_eq!(Digits::of("-0.0"), Digits::of("0e9"));
        assert_ne!(Digits::of("-1"), Digits::of("1"));
        for none in ["", "-", ".", "1.2.3", "Infinity", "0x1"] {
            assert_eq!(Digits::of(none), None, "{none}");
        }
    }

    #[test]
    fn the_places_of_a_number_are_those_of_its_first_and_last_digit() {
        for (text, places) in [
            ("1200", Some((3, 2))),
            ("0.0105", Some((-2, -4))),
            ("12.50", Some((1, -1))),
            ("5e-3", Some((-3, -3))),
            ("0.00", None),
        ] {
            assert_eq!(Digits::of(text).unwrap().places(), places, "{text}");
        }
    }
}
