//! How far checks can be trusted: how often each passed where it must fail, and failed where it must pass. Input: results
//! whose trials have a known right answer (reference models, and methods that calibrate); output: a row for each system,
//! fault and check set, and one for each single check.

use std::collections::BTreeMap;

use serde::Serialize;

use super::discriminate::expected;
use super::document::{Block, Document};
use super::number::percent;
use super::results::{Results, Verdict};
use super::stats::Rate;
use super::table::Table;
use crate::event::{CalibratedCell, ReferenceRole, TrialFinished};

/// A check set or check that is wrong more often than this says too little.
const TOLERATED: f64 = 0.01;

/// What trials of one system and fault say about a check set, or about one kind of check in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibrated {
    /// System.
    pub system: String,
    /// Fault.
    pub fault: String,
    /// Check set.
    pub set: String,
    /// The check; none: the whole set.
    pub check: Option<String>,
    /// Passed where it must fail.
    pub false_pass: Rate,
    /// Failed where it must pass.
    pub false_fail: Rate,
    /// Passed where a reference is the floor.
    pub floor: Rate,
    /// Whether it is wrong too often. Single checks need not fail where their set must: they are never flagged for passing.
    pub flagged: bool,
}

#[derive(Default)]
struct Counts {
    fail: (u64, u64),
    pass: (u64, u64),
    floor: (u64, u64),
}

impl Counts {
    fn add(&mut self, role: ReferenceRole, passed: bool) {
        let (slot, hit) = match role {
            ReferenceRole::MustFail => (&mut self.fail, passed),
            ReferenceRole::MustPass => (&mut self.pass, !passed),
            ReferenceRole::Floor => (&mut self.floor, passed),
        };
        slot.0 += u64::from(hit);
        slot.1 += 1;
    }
}

type Key<'a> = (&'a str, &'a str, &'a str, Option<&'a str>);

/// All rows, in order: whole sets before their checks.
pub fn calibration(results: &Results) -> Vec<Calibrated> {
    let mut counts: BTreeMap<Key<'_>, Counts> = BTreeMap::new();
    for row in results.rows.iter().filter(|r| r.outcome.scored()) {
        let Some((role, of_method)) = expected(results, row) else { continue };
        let (system, fault) = (row.spec.system.as_str(), row.spec.fault.as_str());
        for verdict in Verdict::ALL {
            if let Some(passed) = said(row, verdict, role, of_method) {
                counts.entry((system, fault, verdict.name(), None)).or_default().add(role, passed);
            }
        }
        for (set, checks) in results.single_checks.get(&row.spec.id).into_iter().flatten() {
            for (check, passed) in checks {
                counts.entry((system, fault, set, Some(check))).or_default().add(role, *passed);
            }
        }
    }
    let rows = counts.into_iter().map(|((system, fault, set, check), c)| {
        let [false_pass, false_fail, floor] = [c.fail, c.pass, c.floor].map(|(hits, n)| Rate::of(hits, n));
        Calibrated {
            system: system.to_owned(),
            fault: fault.to_owned(),
            set: set.to_owned(),
            check: check.map(str::to_owned),
            flagged: too_often(&false_fail) || (check.is_none() && too_often(&false_pass)),
            false_pass,
            false_fail,
            floor,
        }
    });
    rows.collect()
}

/// What the checks said; where a model must pass, it is the model that must have made them pass.
fn said(row: &TrialFinished, verdict: Verdict, role: ReferenceRole, of_method: bool) -> Option<bool> {
    if role == ReferenceRole::MustPass && !of_method { verdict.recovered(row) } else { verdict.raw(row) }
}

fn too_often(rate: &Rate) -> bool {
    rate.rate.is_some_and(|r| r > TOLERATED)
}

/// What later runs are told: the rows of whole sets.
pub fn calibrated_cells(results: &Results) -> Vec<CalibratedCell> {
    let whole = calibration(results).into_iter().filter(|c| c.check.is_none());
    whole
        .map(|c| CalibratedCell {
            system: c.system,
            fault: c.fault,
            set: c.set,
            false_pass: (c.false_pass.hits, c.false_pass.n),
            false_fail: (c.false_fail.hits, c.false_fail.n),
        })
        .collect()
}

/// Whether an earlier calibration found a cell to say too little.
pub(super) fn untrustworthy(cell: &CalibratedCell) -> bool {
    [cell.false_pass, cell.false_fail].into_iter().any(|(hits, n)| too_often(&Rate::of(hits, n)))
}

/// In words: `passed 3 of 20 where it must fail`.
pub(super) fn reason(cell: &CalibratedCell) -> String {
    let part = |(hits, n): (u64, u64), did: &str, must: &str| {
        let rate = Rate::of(hits, n);
        too_often(&rate).then(|| format!("{did} {hits} of {n} where it must {must} ({} %)", percent(&rate)))
    };
    let parts = [part(cell.false_pass, "passed", "fail"), part(cell.false_fail, "failed", "pass")];
    format!("calibration: {}", parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

/// The page of a calibration run.
pub(super) fn calibration_blocks(results: &Results) -> Vec<Block> {
    let all = calibration(results);
    let whole: Vec<&Calibrated> = all.iter().filter(|c| c.check.is_none()).collect();
    let mut blocks = vec![Block::Table(table(&whole))];
    let flagged = whole.iter().filter(|c| c.flagged).count();
    blocks.push(Block::Text(format!(
        "Per cent with Wilson 95 % intervals, of n trials. {flagged} of {} rows are wrong in more than {} % of their trials and are marked; later \
         reports flag them. Floor: how often the checks passed after a repair that knows nothing of the fault.",
        whole.len(),
        TOLERATED * 100.0
    )));
    let singles: Vec<&Calibrated> = all.iter().filter(|c| c.check.is_some()).collect();
    if !singles.is_empty() {
        blocks.push(Block::Heading("Single checks".to_owned()));
        blocks.push(Block::Table(table(&singles)));
        let note = "Checks of one kind by themselves. A set fails when one of its checks does, so that a check which guards \
                    against something else may pass where its set must fail.";
        blocks.push(Block::Text(note.to_owned()));
    }
    blocks
}

/// The same as a page of its own.
pub fn calibration_page(results: &Results) -> String {
    let blocks = calibration_blocks(results);
    super::markdown::markdown(&Document { title: format!("{}: calibration of the checks", results.title()), blocks })
}

fn table(rows: &[&Calibrated]) -> Table {
    let heads = ["must fail n", "passed %", "must pass n", "failed %", "floor n", "floor passed %"];
    let mut table = Table::new(["system", "fault", "checks", ""], heads);
    for c in rows {
        let name = c.check.as_ref().map_or_else(|| c.set.clone(), |check| format!("{} {check}", c.set));
        let mark = if c.flagged { "!" } else { "" };
        let mut row = vec![c.system.clone(), c.fault.clone(), name, mark.to_owned()];
        for rate in [&c.false_pass, &c.false_fail, &c.floor] {
            row.extend([rate.n.to_string(), percent(rate)]);
        }
        table.rows.push(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::event::Outcome;

    fn results() -> Results {
        let mut healthy = fixture::row(3, "whole", "noop", Outcome::NoPlaybook, Some(true), Some(true));
        healthy.spec.fault = "fault-0".to_owned();
        let rows = vec![
            fixture::row(0, "m", "gold", Outcome::Recovered, Some(true), Some(true)),
            fixture::row(0, "m", "noop", Outcome::NotRecovered, Some(true), Some(false)),
            fixture::row(3, "m", "noop", Outcome::NotRecovered, Some(false), Some(false)),
            fixture::row(0, "m", "restart", Outcome::NotRecovered, Some(true), Some(false)),
            fixture::row(0, "m", "model-a", Outcome::NotRecovered, Some(false), Some(true)),
            healthy,
        ];
        let method_roles = [("whole".to_owned(), ReferenceRole::MustPass)].into();
        let single = [("compat".to_owned(), [("ping".to_owned(), true)].into())].into();
        let single_checks = [(rows[1].spec.id.clone(), single)].into();
        Results { rows, roles: fixture::roles(), method_roles, single_checks, ..Results::default() }
    }

    #[test]
    fn known_answers_are_counted_by_cell_and_set() {
        let found = calibration(&results());
        let short: Vec<_> = found
            .iter()
            .map(|c| {
                let rate = |r: &Rate| (r.hits, r.n);
                (c.set.as_str(), c.check.as_deref(), rate(&c.false_pass), rate(&c.false_fail), rate(&c.floor), c.flagged)
            })
            .collect();
        assert_eq!(
            short,
            [
                ("compat", None, (1, 2), (0, 2), (1, 1), true),
                ("compat", Some("ping"), (1, 1), (0, 0), (0, 0), false),
                ("strict", None, (0, 2), (0, 2), (0, 1), false),
            ]
        );
    }

    #[test]
    fn later_reports_hear_of_what_was_wrong() {
        let cells = calibrated_cells(&results());
        assert_eq!(cells.iter().map(untrustworthy).collect::<Vec<_>>(), [true, false]);
        assert_eq!(reason(&cells[0]), "calibration: passed 1 of 2 where it must fail (50.0 [9.5, 90.5] %)");
    }

    #[test]
    fn the_page_shows_sets_and_single_checks() {
        insta::assert_snapshot!(calibration_page(&results()));
    }
}
