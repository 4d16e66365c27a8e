//! What a run has done so far, folded from its records. Pure. Input: records in order; output: [`RunState`].

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::Value;

use crate::event::{Event, FINAL, Judged, Record, RunStarted, TrialFinished, single_checks};
use crate::ids::TrialId;
use crate::manifest::CheckSet;
use crate::model::Usage;
use crate::plan::TrialSpec;

/// A side effect that is not yet taken back.
#[derive(Debug, Clone, PartialEq)]
pub struct Debt {
    /// The trial.
    pub trial: TrialId,
    /// Name of the debt.
    pub debt: String,
    /// How to pay it.
    pub undo: Value,
}

/// What model calls have cost, those of trials that were interrupted or run again included.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spent {
    /// Model calls.
    pub calls: u64,
    /// Tokens.
    pub usage: Usage,
    /// Dollars of the calls with a price.
    pub cost_usd: f64,
}

impl Spent {
    /// Adds what somebody else spent. Token counts are what providers claim, so an absurd one must not overflow.
    pub fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.usage.prompt = self.usage.prompt.saturating_add(other.usage.prompt);
        self.usage.completion = self.usage.completion.saturating_add(other.usage.completion);
        self.usage.cached = self.usage.cached.saturating_add(other.usage.cached);
        self.usage.reasoning = self.usage.reasoning.saturating_add(other.usage.reasoning);
        self.usage.estimated |= other.usage.estimated;
        self.cost_usd += other.cost_usd;
    }
}

/// The state of a run. The order in which events of different trials are interleaved does not matter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunState {
    /// The latest start.
    pub head: Option<RunStarted>,
    /// Program versions that wrote the journal, in order, without repeats.
    pub programs: Vec<String>,
    /// Results by trial: the latest settled one, or the latest where none is settled.
    pub finished: BTreeMap<TrialId, TrialFinished>,
    /// Trials that began and have not ended since.
    pub begun: BTreeMap<TrialId, TrialSpec>,
    /// How the run ended; none while it runs or after a crash.
    pub ended: Option<String>,
    /// Check sets by trial.
    checks: BTreeMap<TrialId, IndexMap<String, CheckSet>>,
    /// What single checks said at the end of a trial: by set, by check.
    pub single_checks: BTreeMap<TrialId, BTreeMap<String, BTreeMap<String, bool>>>,
    debts: BTreeMap<TrialId, Vec<Debt>>,
    spent: BTreeMap<TrialId, Spent>,
}

impl RunState {
    /// Folds records.
    pub fn from_records<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut state = Self::default();
        for record in records {
            state.apply(&record.event);
        }
        state
    }

    /// Takes one more event into account.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::RunStarted(head) => {
                if !self.programs.contains(&head.program) {
                    self.programs.push(head.program.clone());
                }
                self.head = Some(head.clone());
                self.ended = None;
            }
            Event::TrialStarted(spec) => {
                self.begun.insert(spec.id.clone(), spec.clone());
            }
            Event::UndoOwed { trial, debt, undo } => {
                let debts = self.debts.entry(trial.clone()).or_default();
                debts.retain(|d| d.debt != *debt);
                debts.push(Debt { trial: trial.clone(), debt: debt.clone(), undo: undo.clone() });
            }
            Event::UndoPaid { trial, debt } => {
                if let Some(debts) = self.debts.get_mut(trial) {
                    debts.retain(|d| d.debt != *debt);
                    if debts.is_empty() {
                        self.debts.remove(trial);
                    }
                }
            }
            Event::Asked(asked) => {
                let call = Spent { calls: 1, usage: asked.usage, cost_usd: asked.cost_usd.unwrap_or(0.0) };
                self.spent.entry(asked.trial.clone()).or_default().add(&call);
            }
            Event::TrialFinished(result) => {
                self.begun.remove(&result.spec.id);
                self.checks.remove(&result.spec.id);
                let known = self.finished.get(&result.spec.id).is_some_and(|r| r.outcome.settled());
                if result.outcome.settled() || !known {
                    self.finished.insert(result.spec.id.clone(), (**result).clone());
                }
            }
            Event::RunFinished { how } => self.ended = Some(how.clone()),
            Event::Checks { trial, sets } => {
                self.checks.insert(trial.clone(), sets.clone());
            }
            Event::Judged(judged) => self.judged(judged),
            Event::Stage { .. } | Event::Probed(_) | Event::PlaybookRan(_) => {}
        }
    }

    /// Samples are many: only what they say in the end is kept, and no check sets of trials that are over.
    fn judged(&mut self, judged: &Judged) {
        let Some(set) = self.checks.get(&judged.trial).and_then(|sets| sets.get(&judged.set)) else { return };
        if judged.phase == FINAL {
            let singles = single_checks(set, &judged.samples);
            self.single_checks.entry(judged.trial.clone()).or_default().insert(judged.set.clone(), singles);
        }
    }

    /// Whether the trial is over for good.
    pub fn settled(&self, trial: &TrialId) -> bool {
        self.finished.get(trial).is_some_and(|result| result.outcome.settled())
    }

    /// Debts still owed, in the order in which to pay them: within a trial the last one first.
    pub fn debts(&self) -> Vec<&Debt> {
        self.debts.values().flat_map(|debts| debts.iter().rev()).collect()
    }

    /// What all model calls have cost. Summed in order of trial identities, so that the sum is the same to the last bit
    /// whatever the interleaving.
    pub fn spent(&self) -> Spent {
        let mut total = Spent::default();
        for spent in self.spent.values() {
            total.add(spent);
        }
        total
    }
}

/// The planned trials that still have to be run, in the plan's order.
pub fn outstanding<'a>(plan: impl IntoIterator<Item = &'a TrialId>, state: &RunState) -> Vec<TrialId> {
    plan.into_iter().filter(|id| !state.settled(id)).cloned().collect()
}

#[cfg(test)]
pub(super) mod tests;
