//! Cells that say nothing about a model: those where a reference that must pass fails, or one that must fail passes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::results::{Results, Verdict};
use crate::event::{ReferenceRole, TrialFinished};

/// A cell that a reference shows not to discriminate by one verdict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Misjudged {
    /// System.
    pub system: String,
    /// Fault.
    pub fault: String,
    /// Target.
    pub target: String,
    /// By which verdict.
    pub verdict: Verdict,
    /// The reference.
    pub model: String,
    /// With which method.
    pub method: String,
    /// What it should have done.
    pub role: ReferenceRole,
    /// In how many trials it did otherwise.
    pub wrong: u64,
    /// Of how many.
    pub n: u64,
    /// The method has the role, not the model.
    #[serde(skip)]
    pub of_method: bool,
}

impl Misjudged {
    /// What is wrong, in words.
    pub fn reason(&self) -> String {
        let did = if self.role == ReferenceRole::MustPass { "must pass and failed" } else { "must fail and passed" };
        format!("{} {did} {} of {}", if self.of_method { &self.method } else { &self.model }, self.wrong, self.n)
    }
}

/// What a trial's references say that its checks must do, and whether it is the method that says so.
pub(super) fn expected(results: &Results, row: &TrialFinished) -> Option<(ReferenceRole, bool)> {
    let of_method = results.method_roles.get(&row.spec.method).map(|role| (*role, true));
    of_method.or_else(|| results.roles.get(&row.spec.model).map(|role| (*role, false)))
}

type Cell<'a> = (&'a str, &'a str, &'a str, Verdict, &'a str, &'a str);

/// All such cells, in order.
pub fn misjudged(results: &Results) -> Vec<Misjudged> {
    let mut counts: BTreeMap<Cell<'_>, (ReferenceRole, bool, u64, u64)> = BTreeMap::new();
    for row in results.rows.iter().filter(|r| r.outcome.scored()) {
        let Some((role, of_method)) = expected(results, row) else { continue };
        let expected = match role {
            ReferenceRole::MustPass => true,
            ReferenceRole::MustFail => false,
            ReferenceRole::Floor => continue,
        };
        for verdict in Verdict::ALL {
            // For one that must fail the checks alone count: a fault that went away by itself is exactly the point.
            let passed = if expected && !of_method { verdict.recovered(row) } else { verdict.raw(row) };
            let Some(passed) = passed else { continue };
            let s = &row.spec;
            let entry = counts.entry((&s.system, &s.fault, &s.target, verdict, &s.model, &s.method)).or_insert((role, of_method, 0, 0));
            entry.2 += u64::from(passed != expected);
            entry.3 += 1;
        }
    }
    counts
        .into_iter()
        .filter(|(_, (_, _, wrong, _))| *wrong > 0)
        .map(|((system, fault, target, verdict, model, method), (role, of_method, wrong, n))| Misjudged {
            system: system.to_owned(),
            fault: fault.to_owned(),
            target: target.to_owned(),
            verdict,
            model: model.to_owned(),
            method: method.to_owned(),
            role,
            wrong,
            n,
            of_method,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::event::Outcome;

    #[test]
    fn roles_decide_what_is_wrong() {
        let rows = vec![
            fixture::row(0, "m", "gold", Outcome::NotRecovered, Some(true), Some(false)),
            fixture::row(1, "m", "gold", Outcome::Recovered, Some(true), Some(true)),
            fixture::row(0, "m", "noop", Outcome::NoPlaybook, Some(true), Some(false)),
            fixture::row(0, "m", "restart", Outcome::NotRecovered, Some(false), Some(false)),
            fixture::row(2, "m", "gold", Outcome::InjectionFailed, None, None),
        ];
        let results = Results { rows, roles: fixture::roles(), ..Results::default() };
        let found: Vec<String> = misjudged(&results).iter().map(|m| format!("{} {} {}", m.fault, m.verdict.name(), m.reason())).collect();
        assert_eq!(found, ["fault-0 strict gold must pass and failed 1 of 1", "fault-0 compat noop must fail and passed 1 of 1"]);
    }
}
