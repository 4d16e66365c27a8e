//! The statistics of the reports. Pure numbers in, pure numbers out; none of them is ever NaN.

/// A rate with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Rate {
    /// Successes.
    pub hits: u64,
    /// Of how many.
    pub n: u64,
    /// `hits / n`; none when `n` is zero.
    pub rate: Option<f64>,
    /// Lower end of the Wilson interval.
    pub low: Option<f64>,
    /// Upper end of the Wilson interval.
    pub high: Option<f64>,
}

/// The 97.5 % quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

impl Rate {
    /// A rate with its Wilson score interval, which behaves at 0 and 1 and for small `n`.
    pub fn of(hits: u64, n: u64) -> Self {
        let hits = hits.min(n);
        if n == 0 {
            return Self { hits, n, rate: None, low: None, high: None };
        }
        let (count, p) = (float(n), float(hits) / float(n));
        let spread = Z * (p * (1.0 - p) / count + Z * Z / (4.0 * count * count)).sqrt();
        let middle = p + Z * Z / (2.0 * count);
        let scale = 1.0 + Z * Z / count;
        // At the ends the formula is exact; rounding would print -0.000.
        let low = if hits == 0 { 0.0 } else { ((middle - spread) / scale).max(0.0) };
        let high = if hits == n { 1.0 } else { ((middle + spread) / scale).min(1.0) };
        Self { hits, n, rate: Some(p), low: Some(low), high: Some(high) }
    }
}

/// The exact two-sided p value of `McNemar`'s test, from the pairs in which only the one or only the other succeeded.
pub fn mcnemar_exact(only_first: u64, only_second: u64) -> f64 {
    let n = only_first + only_second;
    let few = only_first.min(only_second);
    // Binomial coefficients by logarithms: exact enough for p values, and no overflow for large n.
    let mut log_term = -float(n) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=few {
        tail += log_term.exp();
        log_term += (float(n - k) / float(k + 1)).ln();
    }
    (2.0 * tail).min(1.0)
}

/// Holm's step-down adjustment: p values that stay valid however many comparisons were made. Same order as the input.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p.get(*a).partial_cmp(&p.get(*b)).unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(b)));
    let mut adjusted = vec![1.0_f64; p.len()];
    let mut running = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        if let (Some(value), Some(slot)) = (p.get(index), adjusted.get_mut(index)) {
            running = running.max((value * float((p.len() - rank) as u64)).min(1.0));
            *slot = running;
        }
    }
    adjusted
}

/// The mean; none of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / float(values.len() as u64)) }
}

/// The median; none of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get((sorted.len() / 2).checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

#[expect(clippy::cast_precision_loss, reason = "counts of trials and tokens are far below 2^52")]
pub(super) fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn wilson_matches_known_values() {
        // As printed for the score method without continuity correction in Newcombe (1998) and by other programs.
        for (hits, n, low, high) in [(5, 10, 0.236_6, 0.763_4), (1, 20, 0.008_9, 0.236_1), (81, 263, 0.255_3, 0.366_2)] {
            let rate = Rate::of(hits, n);
            assert!((rate.low.unwrap() - low).abs() < 5e-5 && (rate.high.unwrap() - high).abs() < 5e-5, "{rate:?}");
        }
        let none = Rate::of(0, 10);
        assert!(close(none.low.unwrap(), 0.0) && (none.high.unwrap() - 0.277_533).abs() < 1e-5);
        let all = Rate::of(10, 10);
        assert!((all.low.unwrap() - 0.722_467).abs() < 1e-5 && close(all.high.unwrap(), 1.0));
    }

    #[test]
    fn nothing_has_no_rate() {
        let rate = Rate::of(0, 0);
        assert_eq!((rate.rate, rate.low, rate.high), (None, None, None));
        assert_eq!((mean(&[]), median(&[])), (None, None));
    }

    #[test]
    fn mcnemar_matches_binomial_tails() {
        assert!(close(mcnemar_exact(0, 0), 1.0));
        assert!(close(mcnemar_exact(0, 5), 0.0625));
        assert!(close(mcnemar_exact(6, 0), 0.03125));
        assert!(close(mcnemar_exact(2, 8), 0.109_375));
        assert!(close(mcnemar_exact(8, 2), 0.109_375));
        assert!(close(mcnemar_exact(5, 5), 1.0));
        // 2 * P(Bin(53, 1/2) <= 16), summed with exact integers.
        assert!((mcnemar_exact(37, 16) - 0.005_486_3).abs() < 1e-6, "{}", mcnemar_exact(37, 16));
        assert!(mcnemar_exact(0, 100_000) < 1e-300 && mcnemar_exact(50_000, 50_000) <= 1.0);
    }

    #[test]
    fn holm_steps_down() {
        let adjusted = holm(&[0.04, 0.01, 0.03, 0.5]);
        for (got, want) in adjusted.iter().zip([0.09, 0.04, 0.09, 0.5]) {
            assert!(close(*got, want), "{adjusted:?}");
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    proptest! {
        #[test]
        fn intervals_hold_their_rate(n in 1..10_000_u64, share in 0.0..1.0_f64) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of n is a count")]
            let rate = Rate::of((float(n) * share) as u64, n);
            let (p, low, high) = (rate.rate.unwrap(), rate.low.unwrap(), rate.high.unwrap());
            prop_assert!(0.0 <= low && low <= p && p <= high && high <= 1.0, "{rate:?}");
        }

        #[test]
        fn p_values_are_probabilities_and_symmetric(a in 0..300_u64, b in 0..300_u64) {
            let p = mcnemar_exact(a, b);
            prop_assert!((0.0..=1.0).contains(&p));
            prop_assert!((p - mcnemar_exact(b, a)).abs() < 1e-12);
        }
    }
}
