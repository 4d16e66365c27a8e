//! Durations as people write them: `500ms`, `10s`, `5m`, `1h30m`.

use std::time::Duration;

/// Longest duration accepted: a year. Anything above is a slip of the pen, and sums of them cannot overflow.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration; write for example 500ms, 10s, 5m or 1h30m")]
pub struct DurationError(pub String);

/// Reads a duration: one or more numbers, each with its unit (`ms`, `s`, `m`, `h`, `d`), largest unit first, each unit once.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let wrong = || DurationError(text.to_owned());
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut last_unit = u64::MAX;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let value = number.parse::<u64>().ok().and_then(|n| n.checked_mul(millis)).ok_or_else(wrong)?;
        if millis >= last_unit {
            return Err(wrong());
        }
        last_unit = millis;
        total = total.saturating_add(Duration::from_millis(value));
        rest = after;
    }
    if total > LONGEST { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_sums() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h30m", 5_400_000), ("0s", 0), ("1m500ms", 60_500)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "10", "s", "10 s", "-1s", "1.5s", "10sec", "30m1h", "1s1s", "99999999999999999999s", "400d", "1µs"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
