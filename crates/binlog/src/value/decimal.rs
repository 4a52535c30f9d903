//! DECIMAL: groups of nine digits in four bytes, most significant first, the sign in the first bit.
//!
//! The format is that of `decimal2bin` in the server's `strings/decimal.cc`.

use change_event::json;

use crate::{
    column::DIGITS_BYTES,
    error::{Fault, corrupt},
};

/// A column has 65 at most; inside a JSON document the server rounds up to whole groups of nine.
const MAX_DIGITS: usize = 81;

/// Writes a decimal as SELECT prints it, without quotes: every digit of the scale, and no zeros at
/// the beginning apart from one before a point.
pub(super) fn write(
    out: &mut Vec<u8>,
    (precision, scale): (u8, u8),
    raw: &[u8],
) -> Result<(), Fault> {
    let mut digits = [b'0'; MAX_DIGITS];
    let digits = digits.get_mut(..usize::from(precision)).ok_or_else(impossible)?;
    let whole = precision.checked_sub(scale).ok_or_else(impossible)?;
    let (whole, fraction) = digits.split_at_mut_checked(whole.into()).ok_or_else(impossible)?;
    let negative = raw.first().is_some_and(|byte| byte & 0x80 == 0);
    let mut groups = DigitGroups { rest: raw, flip: if negative { 0xff } else { 0 }, sign: 0x80 };
    let left_over = whole.len() % 9;
    let (first, whole_groups) = whole.split_at_mut_checked(left_over).ok_or_else(impossible)?;
    groups.read(first)?;
    for group in whole_groups.chunks_mut(9).chain(fraction.chunks_mut(9)) {
        groups.read(group)?;
    }
    if !groups.rest.is_empty() {
        return Err(corrupt("a decimal is longer than its precision"));
    }
    if negative {
        out.push(b'-');
    }
    write_digits(out, whole, fraction);
    Ok(())
}

fn write_digits(out: &mut Vec<u8>, whole: &[u8], fraction: &[u8]) {
    let zeros = whole.iter().take_while(|&&digit| digit == b'0').count();
    match whole.get(zeros..) {
        Some([]) | None => out.push(b'0'),
        Some(whole) => out.extend_from_slice(whole),
    }
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

/// Takes the groups of digits from the front.
struct DigitGroups<'a> {
    rest: &'a [u8],
    /// Every bit of a negative number is inverted,
    flip: u8,
    /// and the very first bit of any number is, too.
    sign: u8,
}

impl DigitGroups<'_> {
    /// Reads the next group; it has as many digits as `digits` has places.
    fn read(&mut self, digits: &mut [u8]) -> Result<(), Fault> {
        let length = DIGITS_BYTES.get(digits.len()).copied().unwrap_or(4);
        let (group, rest) = self.rest.split_at_checked(length.into()).ok_or_else(impossible)?;
        self.rest = rest;
        let mut number = 0_u32;
        for &byte in group {
            number = (number << 8) | u32::from(byte ^ self.flip ^ self.sign);
            self.sign = 0;
        }
        for pair in digits.rchunks_mut(2) {
            let [tens, ones] = json::digits(number);
            if let [high, low] = pair {
                [*high, *low] = [tens, ones];
                number /= 100;
            } else {
                pair.fill(ones);
                number /= 10;
            }
        }
        if number == 0 { Ok(()) } else { Err(corrupt("a decimal has more digits than its column")) }
    }
}

#[cold]
fn impossible() -> Fault {
    corrupt("a decimal does not fit its precision")
}
