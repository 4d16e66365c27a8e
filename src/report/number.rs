//! How numbers are written. Locale-free, fixed places, never NaN.

use super::stats::Rate;

/// A number with fixed places; empty when there is none.
pub(super) fn fixed(value: Option<f64>, places: usize) -> String {
    match value {
        Some(v) if v.is_finite() => {
            let text = format!("{v:.places$}");
            // A tiny negative number would print as -0.000.
            if text.trim_matches(['-', '0', '.']).is_empty() { text.trim_start_matches('-').to_owned() } else { text }
        }
        _ => String::new(),
    }
}

/// The same with a dash where there is nothing.
pub(super) fn shown(value: Option<f64>, places: usize) -> String {
    let text = fixed(value, places);
    if text.is_empty() { "-".to_owned() } else { text }
}

/// `66.7 [20.8, 93.9]`: per cent with the interval.
pub(super) fn percent(rate: &Rate) -> String {
    match (rate.rate, rate.low, rate.high) {
        (Some(p), Some(low), Some(high)) => {
            format!("{} [{}, {}]", fixed(Some(p * 100.0), 1), fixed(Some(low * 100.0), 1), fixed(Some(high * 100.0), 1))
        }
        _ => "-".to_owned(),
    }
}

/// `3 trials`, `1 trial`.
pub(super) fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_negative_zero_and_no_nan() {
        assert_eq!(fixed(Some(-0.0001), 3), "0.000");
        assert_eq!(fixed(Some(-1.5), 3), "-1.500");
        assert_eq!(fixed(Some(f64::NAN), 3), "");
        assert_eq!(shown(None, 1), "-");
        assert_eq!(percent(&Rate::of(0, 0)), "-");
        assert_eq!(percent(&Rate::of(2, 3)), "66.7 [20.8, 93.9]");
    }
}
