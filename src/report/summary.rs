//! Counts, rates and means by group. Input: rows; output: one [`Summary`] a group, in order of the keys.

use std::collections::BTreeMap;

use serde::Serialize;

use super::group::GroupKey;
use super::results::{Results, Verdict};
use super::stats::{Rate, mean, median};
use crate::event::{Outcome, TrialFinished};

/// A group of trials in numbers. Means are over scored trials, failed ones included.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Values of the keys, in their order.
    pub key: Vec<String>,
    /// Scored trials.
    pub n: u64,
    /// Trials that are not scored.
    pub excluded: u64,
    /// All trials by outcome; zeros left out.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Recovered by the strict checks. Its `n` lacks scored trials without that verdict.
    pub strict: Rate,
    /// Recovered by the checks of the published benchmark.
    pub compat: Rate,
    /// The strict rate had all excluded trials failed, and had all of them passed.
    pub strict_bounds: Option<(f64, f64)>,
    /// Playbooks run.
    pub mean_attempts: Option<f64>,
    /// Seconds of repair.
    pub mean_remediation_s: Option<f64>,
    /// Seconds of repair.
    pub median_remediation_s: Option<f64>,
    /// Seconds in which the target did not serve, over the trials in which that was measured.
    pub mean_downtime_s: Option<f64>,
    /// Prompt tokens of scored trials.
    pub prompt_tokens: u64,
    /// Completion tokens of scored trials.
    pub completion_tokens: u64,
    /// Whether any token count is an estimate.
    pub tokens_estimated: bool,
    /// Dollars of scored trials; none when no trial has a price.
    pub cost_usd: Option<f64>,
}

impl Summary {
    /// Of these trials.
    pub fn of<'a>(key: Vec<String>, rows: impl IntoIterator<Item = &'a TrialFinished>) -> Self {
        let (scored, excluded): (Vec<&TrialFinished>, Vec<_>) = rows.into_iter().partition(|r| r.outcome.scored());
        let mut outcomes = BTreeMap::new();
        for row in scored.iter().chain(&excluded) {
            *outcomes.entry(row.outcome.name()).or_insert(0) += 1;
        }
        let numbers = |f: &dyn Fn(&TrialFinished) -> Option<f64>| scored.iter().filter_map(|r| f(r)).collect::<Vec<f64>>();
        let remediation = numbers(&|r| Some(r.remediation_s));
        let costs = numbers(&|r| r.cost_usd);
        let strict = rate(&scored, Verdict::Strict);
        Self {
            key,
            n: scored.len() as u64,
            excluded: excluded.len() as u64,
            outcomes,
            strict,
            compat: rate(&scored, Verdict::Compat),
            strict_bounds: bounds(strict, excluded.len() as u64),
            mean_attempts: mean(&numbers(&|r| Some(f64::from(r.attempts)))),
            mean_remediation_s: mean(&remediation),
            median_remediation_s: median(&remediation),
            mean_downtime_s: mean(&numbers(&|r| r.downtime_s)),
            prompt_tokens: scored.iter().fold(0, |sum, r| sum.saturating_add(r.usage.prompt)),
            completion_tokens: scored.iter().fold(0, |sum, r| sum.saturating_add(r.usage.completion)),
            tokens_estimated: scored.iter().any(|r| r.usage.estimated),
            cost_usd: if costs.is_empty() { None } else { Some(costs.iter().sum()) },
        }
    }

    /// The rate of a verdict.
    pub fn rate(&self, verdict: Verdict) -> Rate {
        match verdict {
            Verdict::Strict => self.strict,
            Verdict::Compat => self.compat,
        }
    }

    /// How many trials ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.name()).copied().unwrap_or(0)
    }
}

fn rate(scored: &[&TrialFinished], verdict: Verdict) -> Rate {
    let verdicts: Vec<bool> = scored.iter().filter_map(|r| verdict.recovered(r)).collect();
    Rate::of(verdicts.iter().filter(|v| **v).count() as u64, verdicts.len() as u64)
}

fn bounds(rate: Rate, excluded: u64) -> Option<(f64, f64)> {
    let all = rate.n + excluded;
    Some((Rate::of(rate.hits, all).rate?, Rate::of(rate.hits + excluded, all).rate?))
}

/// Summaries of all groups.
pub fn summary(results: &Results, by: &[GroupKey]) -> Vec<Summary> {
    let mut groups: BTreeMap<Vec<String>, Vec<&TrialFinished>> = BTreeMap::new();
    for row in &results.rows {
        groups.entry(by.iter().map(|key| key.of(row)).collect()).or_default().push(row);
    }
    groups.into_iter().map(|(key, rows)| Summary::of(key, rows)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn excluded_trials_are_counted_and_not_scored() {
        let rows = [
            fixture::row(0, "m", "o", Outcome::Recovered, Some(true), Some(true)),
            fixture::row(1, "m", "o", Outcome::NotRecovered, Some(true), Some(false)),
            fixture::row(2, "m", "o", Outcome::InjectionFailed, None, None),
            fixture::row(3, "m", "o", Outcome::InfraError, None, None),
        ];
        let s = Summary::of(Vec::new(), &rows);
        assert_eq!((s.n, s.excluded, s.strict.hits, s.compat.hits), (2, 2, 1, 2));
        assert_eq!(s.strict_bounds, Some((0.25, 0.75)));
        assert_eq!(s.count(Outcome::InfraError), 1);
    }

    #[test]
    fn nothing_scored_gives_no_numbers_and_no_nan() {
        let rows = [fixture::row(0, "m", "o", Outcome::Cancelled, None, None)];
        let s = Summary::of(Vec::new(), &rows);
        assert_eq!((s.n, s.strict.rate, s.mean_attempts, s.mean_remediation_s, s.cost_usd), (0, None, None, None, None));
        assert_eq!(s.strict_bounds, Some((0.0, 1.0)));
        assert_eq!(Summary::of(Vec::new(), &[]).strict_bounds, None);
    }

    #[test]
    fn a_missing_verdict_leaves_that_rate_only() {
        let rows =
            [fixture::row(0, "m", "o", Outcome::Recovered, None, Some(true)), fixture::row(1, "m", "o", Outcome::NoPlaybook, None, None)];
        let s = Summary::of(Vec::new(), &rows);
        assert_eq!((s.n, s.strict.n, s.strict.hits, s.compat.n, s.compat.hits), (2, 2, 1, 1, 0));
    }
}
