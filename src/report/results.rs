//! The rows of a report. Input: the records of one or more journals; output: one result a trial, in a fixed order.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::event::{CalibratedCell, Outcome, Record, ReferenceRole, TrialFinished};
use crate::ids::TrialId;
use crate::record::{RunState, Spent};

/// One of the two judgements of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// By the strict checks.
    Strict,
    /// By the checks of the published benchmark.
    Compat,
}

impl Verdict {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Strict, Self::Compat];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Compat => "compat",
        }
    }

    /// What the checks said; none when they were not evaluated.
    pub fn raw(self, row: &TrialFinished) -> Option<bool> {
        match self {
            Self::Strict => row.strict,
            Self::Compat => row.compat,
        }
    }

    /// Whether a scored trial counts as recovered. Without a playbook that ran it never does, whatever the checks say:
    /// a fault that mended itself is nobody's merit. None: not scored, or the checks were not evaluated.
    pub fn recovered(self, row: &TrialFinished) -> Option<bool> {
        match row.outcome {
            Outcome::Recovered | Outcome::NotRecovered | Outcome::PlaybookFailed => self.raw(row),
            Outcome::NoPlaybook | Outcome::InvalidPlaybook | Outcome::BudgetExhausted => Some(false),
            Outcome::InjectionFailed | Outcome::UnhealthyBefore | Outcome::InfraError | Outcome::Cancelled => None,
        }
    }
}

/// Everything that a report says, before it is laid out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Results {
    /// Names of the experiments.
    pub experiments: Vec<String>,
    /// Versions of the programs that ran them.
    pub programs: Vec<String>,
    /// Clusters: `embedded` or addresses.
    pub clusters: Vec<String>,
    /// What held playbooks and probes.
    pub sandboxes: Vec<String>,
    /// Versions of the tools.
    pub tools: BTreeMap<String, String>,
    /// Roles of reference models.
    pub roles: BTreeMap<String, ReferenceRole>,
    /// Names in the experiment's order, by axis.
    pub axes: BTreeMap<String, Vec<String>>,
    /// Roles of methods that calibrate the checks.
    pub method_roles: BTreeMap<String, ReferenceRole>,
    /// What a calibration run had found beforehand.
    pub calibration: Vec<CalibratedCell>,
    /// What single checks said in the end, by trial, set and check.
    pub single_checks: BTreeMap<TrialId, BTreeMap<String, BTreeMap<String, bool>>>,
    /// Trials planned.
    pub planned: u64,
    /// Trials that began and never ended.
    pub unfinished: u64,
    /// Side effects that nobody took back.
    pub debts: u64,
    /// What all model calls have cost, those of trials run again included.
    pub spent: Spent,
    /// One a trial, by system, sequence, repeat, index, method, model.
    pub rows: Vec<TrialFinished>,
}

impl Results {
    /// From the records of one journal.
    pub fn from_records(records: &[Record]) -> Self {
        Self::from_runs([records])
    }

    /// From the records of several journals, as those of shards.
    pub fn from_runs<'a>(runs: impl IntoIterator<Item = &'a [Record]>) -> Self {
        Self::from_states(runs.into_iter().map(RunState::from_records))
    }

    /// From journals that were folded while they were read, which need not fit into memory. A trial that is in more than
    /// one counts once, by the latest settled result.
    pub fn from_states(runs: impl IntoIterator<Item = RunState>) -> Self {
        let mut results = Self::default();
        let mut rows: BTreeMap<TrialId, TrialFinished> = BTreeMap::new();
        for state in runs {
            results.add_head(&state);
            results.single_checks.extend(state.single_checks);
            // Planned twice and counted once.
            let again = state.finished.keys().filter(|id| rows.contains_key(*id)).count();
            results.planned = results.planned.saturating_sub(again as u64);
            for (id, row) in state.finished {
                if row.outcome.settled() || !rows.get(&id).is_some_and(|r| r.outcome.settled()) {
                    rows.insert(id, rounded(row));
                }
            }
        }
        results.rows = rows.into_values().collect();
        results.rows.sort_by(|a, b| order(a).cmp(&order(b)));
        results
    }

    fn add_head(&mut self, state: &RunState) {
        for program in &state.programs {
            push_new(&mut self.programs, program);
        }
        if let Some(head) = &state.head {
            push_new(&mut self.experiments, &head.experiment);
            push_new(&mut self.clusters, &head.cluster);
            push_new(&mut self.sandboxes, &head.sandbox);
            self.tools.extend(head.tools.clone());
            self.roles.extend(head.roles.clone());
            for (axis, names) in &head.axes {
                let known = self.axes.entry(axis.clone()).or_default();
                for name in names {
                    push_new(known, name);
                }
            }
            self.method_roles.extend(head.method_roles.clone());
            for cell in &head.calibration {
                if !self.calibration.contains(cell) {
                    self.calibration.push(cell.clone());
                }
            }
            self.planned = self.planned.saturating_add(head.planned);
        }
        self.unfinished += state.begun.keys().filter(|id| !state.finished.contains_key(*id)).count() as u64;
        self.debts += state.debts().len() as u64;
        self.spent.add(&state.spent());
        self.spent.cost_usd = round(self.spent.cost_usd);
    }

    /// SHA-256 over what the journals say of the trials, real time apart. Equal digests: equal results, whatever the order of
    /// events and the machine's speed.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for row in &self.rows {
            let timeless =
                TrialFinished { model_s: 0.0, playbook_s: 0.0, total_s: 0.0, overhead_ms: 0.0, stages_ms: Vec::new(), ..row.clone() };
            // Rows came from JSON and go back into it.
            hash.update(serde_json::to_vec(&timeless).unwrap_or_default());
            hash.update(b"\n");
        }
        hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// Trials planned of which nothing is known.
    pub fn missing(&self) -> u64 {
        self.planned.saturating_sub(self.rows.len() as u64)
    }

    /// The name of the whole.
    pub fn title(&self) -> String {
        if self.experiments.is_empty() { "unnamed run".to_owned() } else { self.experiments.join(", ") }
    }

    /// Whether a model is a reference that says something about the cells, not about itself.
    pub fn is_calibration(&self, model: &str) -> bool {
        matches!(self.roles.get(model), Some(ReferenceRole::MustPass | ReferenceRole::MustFail))
    }
}

fn push_new(list: &mut Vec<String>, value: &str) {
    if !list.iter().any(|v| v == value) {
        list.push(value.to_owned());
    }
}

type Order<'a> = (&'a str, &'a str, u32, u32, &'a str, &'a str, &'a TrialId);

fn order(row: &TrialFinished) -> Order<'_> {
    let s = &row.spec;
    (&s.system, &s.sequence, s.repeat, s.index, &s.method, &s.model, &s.id)
}

/// A number that survives being written as JSON and read again may differ in its last bit from one that was not; the
/// report at the end of a run and one made later must not.
fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn rounded(mut row: TrialFinished) -> TrialFinished {
    for value in [&mut row.model_s, &mut row.playbook_s, &mut row.remediation_s, &mut row.total_s, &mut row.overhead_ms] {
        *value = round(*value);
    }
    row.cost_usd = row.cost_usd.map(round);
    row.downtime_s = row.downtime_s.map(round);
    for (_, ms) in &mut row.stages_ms {
        *ms = round(*ms);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn rows_are_in_plan_order_and_one_a_trial() {
        let results = Results::from_records(&fixture::records());
        let names: Vec<String> = results.rows.iter().map(|r| format!("{}/{}/{}", r.spec.index, r.spec.method, r.spec.model)).collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(names, sorted);
        assert_eq!(results.rows.len(), fixture::TRIALS);
    }

    #[test]
    fn the_same_trial_in_two_runs_counts_once() {
        let records = fixture::records();
        let twice = Results::from_runs([records.as_slice(), records.as_slice()]);
        let once = Results::from_records(&records);
        assert_eq!(twice.rows, once.rows);
        assert_eq!(twice.digest(), once.digest());
        assert_eq!(twice.experiments, once.experiments);
    }

    #[test]
    fn the_digest_is_of_the_results_and_not_of_the_machine() {
        let records = fixture::records();
        let mut results = Results::from_records(&records);
        let before = results.digest();
        let row = results.rows.first_mut().unwrap();
        (row.total_s, row.overhead_ms) = (row.total_s + 1.0, row.overhead_ms + 1.0);
        assert_eq!(results.digest(), before);
        results.rows.first_mut().unwrap().remediation_s += 0.01;
        assert_ne!(results.digest(), before);
    }

    #[test]
    fn without_a_playbook_nothing_is_recovered() {
        let mut row = fixture::row(0, "m", "o", Outcome::NoPlaybook, Some(true), Some(true));
        assert_eq!(Verdict::Strict.recovered(&row), Some(false));
        row.outcome = Outcome::InfraError;
        assert_eq!(Verdict::Strict.recovered(&row), None);
        row.outcome = Outcome::PlaybookFailed;
        assert_eq!(Verdict::Compat.recovered(&row), Some(true));
    }
}
