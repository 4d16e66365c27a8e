//! Durations as the coreutils and as Go write them.

use std::time::Duration;

/// GNU: a number with one of the suffixes s, m, h, d; seconds without.
pub(super) fn gnu(text: &str) -> Option<Duration> {
    let (number, unit) = match text.char_indices().last()? {
        (at, 's') => (text.get(..at)?, 1.0),
        (at, 'm') => (text.get(..at)?, 60.0),
        (at, 'h') => (text.get(..at)?, 3600.0),
        (at, 'd') => (text.get(..at)?, 86_400.0),
        _ => (text, 1.0),
    };
    // "inf" and "nan" parse as numbers, but are no time that can pass.
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()
}

/// Go: numbers with units, added up (`1m30s`, `500ms`); a bare zero; negative ones are not taken.
pub(super) fn go(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(total).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gnu_durations() {
        let ms = |t| gnu(t).map(|d| d.as_millis());
        assert_eq!(["5", "1.5", "2m", "0.5h", "1d", "3s"].map(ms), [5000, 1500, 120_000, 1_800_000, 86_400_000, 3000].map(Some));
        assert_eq!(["", "s", "infinity", "-1", "5x", "--help"].map(ms), [None; 6]);
    }

    #[test]
    fn go_durations() {
        let ms = |t| go(t).map(|d| d.as_millis());
        assert_eq!(["0", "30s", "1m30s", "500ms", "1.5h"].map(ms), [0, 30_000, 90_000, 500, 5_400_000].map(Some));
        assert_eq!(["", "30", "-1s", "5x", "s"].map(ms), [None; 5]);
    }
}
