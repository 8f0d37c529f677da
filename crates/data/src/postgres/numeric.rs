//! `NUMERIC` on the wire: what `sum` and `avg` give.
//!
//! Four words (how many digits, the power of the first one, the sign, the decimals), then digits to
//! the base of 10,000.

use bytes::{BufMut, BytesMut};

use crate::Value;

const NEGATIVE: u16 = 0x4000;

/// An integer when it has no decimals and fits, as a sum of integers in SQLite; a real otherwise.
pub(super) fn read(raw: &[u8]) -> Option<Value> {
    let mut words = raw
        .chunks_exact(2)
        .map(|two| u16::from_be_bytes([two[0], two[1]]));
    let count = words.next()?;
    let weight = i32::from(words.next()? as i16);
    let sign = words.next()?;
    let decimals = words.next()?;
    let digits: Vec<u16> = words.collect();
    if usize::from(count) != digits.len() {
        return None;
    }
    let signed = match sign {
        0 => 1.0,
        NEGATIVE => -1.0,
        0xD000 => return Some(Value::Real(f64::INFINITY)),
        0xF000 => return Some(Value::Real(f64::NEG_INFINITY)),
        _ => return Some(Value::Real(f64::NAN)),
    };
    if decimals == 0 && (0..5).contains(&weight) {
        let mut whole: i128 = 0;
        for place in 0..=weight as usize {
            whole = whole * 10_000 + i128::from(digits.get(place).copied().unwrap_or(0));
        }
        if sign == NEGATIVE {
            whole = -whole;
        }
        if let Ok(whole) = i64::try_from(whole) {
            return Some(Value::Integer(whole));
        }
    }
    if digits.is_empty() && decimals == 0 {
        return Some(Value::Integer(0));
    }
    // Through the decimal form, which is rounded once.
    let mantissa: String = digits.iter().map(|digit| format!("{digit:04}")).collect();
    let exponent = (weight + 1 - i32::from(count)) * 4;
    let number: f64 = format!("{mantissa:0>1}e{exponent}").parse().ok()?;
    Some(Value::Real(signed * number))
}

/// From a decimal form without an exponent, such as `-12.5`; `None` for any other text.
pub(super) fn write(text: &str, out: &mut BytesMut) -> Option<()> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (0, text),
    };
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let is_digits = |part: &str| part.bytes().all(|letter| letter.is_ascii_digit());
    if unsigned.is_empty() || !is_digits(whole) || !is_digits(decimals) || unsigned.len() > 4000 {
        return None;
    }
    let groups = whole.len().div_ceil(4);
    let padded = format!(
        "{}{whole}{decimals}{}",
        "0".repeat(groups * 4 - whole.len()),
        "0".repeat(decimals.len().next_multiple_of(4) - decimals.len()),
    );
    let digits: Vec<u16> = padded
        .as_bytes()
        .chunks(4)
        .map(|four| {
            four.iter()
                .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
        })
        .collect();
    out.put_u16(digits.len() as u16);
    out.put_i16(groups as i16 - 1);
    out.put_u16(sign);
    out.put_u16(decimals.len() as u16);
    for digit in digits {
        out.put_u16(digit);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(text: &str) -> Option<Value> {
        let mut bytes = BytesMut::new();
        write(text, &mut bytes)?;
        read(&bytes)
    }

    #[test]
    fn numbers_come_back_as_they_went() {
        for whole in [0, 1, -1, 9999, 10_000, -123_456_789, i64::MAX, i64::MIN] {
            assert_eq!(
                there_and_back(&whole.to_string()),
                Some(Value::Integer(whole))
            );
        }
        for real in [0.5, -12.25, 10_000.000_1, 0.000_012_5] {
            assert_eq!(
                there_and_back(&real.to_string()),
                Some(Value::Real(real)),
                "{real}"
            );
        }
        for text in ["", "-", "1e5", "NaN", "one", "1.2.3"] {
            assert_eq!(there_and_back(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_number_comes_back_as_it_went(whole: i64, real in proptest::num::f64::NORMAL) {
            prop_assert_eq!(there_and_back(&whole.to_string()), Some(Value::Integer(whole)));
            let back = match there_and_back(&real.to_string()) {
                Some(Value::Real(back)) => back,
                Some(Value::Integer(back)) => back as f64,
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert_eq!(back, real);
        }

        #[test]
        fn nothing_that_comes_makes_it_panic(raw: Vec<u8>, text: String) {
            let _ = read(&raw);
            let _ = write(&text, &mut BytesMut::new());
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert_eq!(read(&[0, 9]), None);
        assert_eq!(read(&[0, 9, 0, 0, 0, 0, 0, 0]), None);
    }
}
