//! Paired comparisons: methods, or models, that met the same faults on the same services in the same order.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::results::{Results, Verdict};
use super::stats::{holm, mcnemar_exact};
use crate::event::TrialFinished;
use crate::plan::TrialSpec;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Two methods, with the same model.
    Method,
    /// Two models, with the same method.
    Model,
}

impl Axis {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Model => "model",
        }
    }

    fn compared(self, spec: &TrialSpec) -> &str {
        match self {
            Self::Method => &spec.method,
            Self::Model => &spec.model,
        }
    }

    fn held(self, spec: &TrialSpec) -> &str {
        match self {
            Self::Method => &spec.model,
            Self::Model => &spec.method,
        }
    }
}

/// Two methods or models on the trials that both met and in which both were scored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What is compared.
    pub axis: Axis,
    /// The model or method that both have in common.
    pub within: String,
    /// One.
    pub first: String,
    /// The other.
    pub second: String,
    /// By which verdict.
    pub verdict: Verdict,
    /// Common trials.
    pub pairs: u64,
    /// Both recovered.
    pub both: u64,
    /// Only the first recovered.
    pub only_first: u64,
    /// Only the second recovered.
    pub only_second: u64,
    /// `McNemar`'s exact two-sided p value.
    pub p: f64,
    /// The same after Holm's adjustment over all comparisons by this verdict.
    pub p_holm: f64,
}

/// What a trial is apart from its method and model.
type Circumstances<'a> = (&'a str, &'a str, u32, &'a str, &'a str, (u32, u64, bool), String);

fn circumstances(spec: &TrialSpec) -> Circumstances<'_> {
    let params: Vec<String> = spec.params.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let rest = (spec.repeat, spec.seed, spec.sees_injector);
    (&spec.system, &spec.sequence, spec.index, &spec.fault, &spec.target, rest, params.join(";"))
}

/// All comparisons that the trials allow. References that must pass or must fail are left out: they say something about
/// cells, and every comparison more weakens the others.
pub fn comparisons(results: &Results) -> Vec<Comparison> {
    let rows: Vec<&TrialFinished> = results.rows.iter().filter(|r| !results.is_calibration(&r.spec.model)).collect();
    families(&rows, |_| true)
}

/// The comparisons of these two methods or models, in either order; references are welcome. Empty when they have no trial
/// in common.
pub fn comparisons_between(results: &Results, one: &str, other: &str) -> Vec<Comparison> {
    let wanted = |c: &Comparison| (c.first == one && c.second == other) || (c.first == other && c.second == one);
    families(&results.rows.iter().collect::<Vec<_>>(), wanted)
}

fn families(rows: &[&TrialFinished], wanted: impl Fn(&Comparison) -> bool) -> Vec<Comparison> {
    let mut all = Vec::new();
    for verdict in Verdict::ALL {
        let found = [Axis::Method, Axis::Model].into_iter().flat_map(|axis| along(axis, verdict, rows));
        let mut family: Vec<Comparison> = found.filter(|c| wanted(c)).collect();
        let adjusted = holm(&family.iter().map(|c| c.p).collect::<Vec<_>>());
        for (comparison, p) in family.iter_mut().zip(adjusted) {
            comparison.p_holm = p;
        }
        all.extend(family);
    }
    all
}

type Verdicts<'a> = BTreeMap<Circumstances<'a>, bool>;

fn along(axis: Axis, verdict: Verdict, rows: &[&TrialFinished]) -> Vec<Comparison> {
    let mut by_held: BTreeMap<&str, BTreeMap<&str, Verdicts<'_>>> = BTreeMap::new();
    for row in rows {
        if let Some(recovered) = verdict.recovered(row) {
            let arms = by_held.entry(axis.held(&row.spec)).or_default();
            arms.entry(axis.compared(&row.spec)).or_default().insert(circumstances(&row.spec), recovered);
        }
    }
    let mut found = Vec::new();
    for (within, arms) in &by_held {
        for (first, a) in arms {
            for (second, b) in arms.range(*first..).skip(1) {
                let mut comparison = Comparison {
                    axis,
                    within: (*within).to_owned(),
                    first: (*first).to_owned(),
                    second: (*second).to_owned(),
                    verdict,
                    pairs: 0,
                    both: 0,
                    only_first: 0,
                    only_second: 0,
                    p: 1.0,
                    p_holm: 1.0,
                };
                let common: BTreeSet<&Circumstances<'_>> = a.keys().filter(|k| b.contains_key(*k)).collect();
                for key in common {
                    comparison.pairs += 1;
                    match (a.get(key), b.get(key)) {
                        (Some(true), Some(true)) => comparison.both += 1,
                        (Some(true), _) => comparison.only_first += 1,
                        (_, Some(true)) => comparison.only_second += 1,
                        _ => {}
                    }
                }
                if comparison.pairs > 0 {
                    comparison.p = mcnemar_exact(comparison.only_first, comparison.only_second);
                    found.push(comparison);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::event::Outcome;

    fn results(rows: Vec<TrialFinished>) -> Results {
        Results { rows, ..Results::default() }
    }

    #[test]
    fn only_common_scored_trials_are_paired() {
        let good = |i, model| fixture::row(i, "m", model, Outcome::Recovered, Some(true), Some(true));
        let bad = |i, model| fixture::row(i, "m", model, Outcome::NotRecovered, Some(true), Some(false));
        let mut rows: Vec<TrialFinished> = (0..6).map(|i| good(i, "a")).chain((0..5).map(|i| bad(i, "b"))).collect();
        rows.push(good(6, "a"));
        rows.push(fixture::row(6, "m", "b", Outcome::InfraError, None, None));
        let all = comparisons(&results(rows));
        let strict = all.iter().find(|c| c.verdict == Verdict::Strict).unwrap();
        assert_eq!((strict.pairs, strict.only_first, strict.only_second, strict.both), (5, 5, 0, 0));
        assert!((strict.p - 0.0625).abs() < 1e-9);
        let compat = all.iter().find(|c| c.verdict == Verdict::Compat).unwrap();
        assert_eq!((compat.both, compat.p.to_bits()), (5, 1.0_f64.to_bits()));
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn models_of_different_methods_are_not_compared() {
        let rows = vec![
            fixture::row(0, "x", "a", Outcome::Recovered, Some(true), Some(true)),
            fixture::row(0, "y", "b", Outcome::Recovered, Some(true), Some(true)),
        ];
        assert!(comparisons(&results(rows)).is_empty());
    }

    #[test]
    fn two_names_give_their_comparisons_in_either_order() {
        let results = Results::from_records(&fixture::records());
        let found = comparisons_between(&results, "model-a", "gold");
        let names: Vec<&str> = found.iter().map(|c| c.within.as_str()).collect();
        assert_eq!(names, ["solo", "solo"]);
        assert_eq!(found, comparisons_between(&results, "gold", "model-a"));
        assert_eq!((found[0].pairs, found[0].only_first, found[0].only_second), (4, 1, 0));
        assert!(comparisons_between(&results, "model-a", "nobody").is_empty());
    }

    #[test]
    fn references_are_left_out_and_floors_are_not() {
        let rows = ["a", "gold", "restart"].map(|m| fixture::row(0, "x", m, Outcome::Recovered, Some(true), Some(true))).to_vec();
        let mut results = results(rows);
        results.roles = fixture::roles();
        let names: Vec<String> = comparisons(&results).into_iter().map(|c| format!("{} {}", c.first, c.second)).collect();
        assert_eq!(names, ["a restart", "a restart"]);
    }
}
