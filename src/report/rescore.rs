//! A run judged again by other thresholds. Inputs: its records and the changes wanted; output: its results as they would
//! have been, and how many verdicts are others. Nothing is measured: what the samples cannot tell is left undecided.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use indexmap::IndexMap;
use serde_json::Value;

use super::results::{Results, Verdict};
use crate::event::{Event, FINAL, Outcome, Record, Said, TrialFinished, rejudge, single_checks};
use crate::ids::TrialId;
use crate::manifest::CheckSet;

/// Keys of a stage that stored samples can be judged by again.
const OF_A_STAGE: [&str; 2] = ["need", "window"];
/// The same of checks.
const OF_A_CHECK: [(&str, &[&str]); 6] = [
    ("usage", &["below", "limit", "without_limit"]),
    ("ping", &["max_loss_percent", "max_average_ms"]),
    ("exec", &["pass"]),
    ("limits", &["at_most_times"]),
    ("restored", &["resources_at_least"]),
    ("requests", &["max_extra_error_rate", "max_latency_times"]),
];

/// Why a run cannot be judged again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RescoreError {
    /// Not `checks.SET.KEY=VALUE`.
    #[error("`{0}` is no setting of a check set")]
    Form(String),
    /// A name that does not exist, or that samples cannot be judged by.
    #[error("there is no {what} `{name}` to set")]
    Unknown {
        /// What it should be.
        what: &'static str,
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A value of the wrong kind.
    #[error("the setting `{setting}` does not fit: {message}")]
    Unfit {
        /// The setting.
        setting: String,
        /// Why.
        message: String,
    },
    /// The journal holds no check sets.
    #[error("the journal holds no samples of final verdicts")]
    NoSets,
}

/// One change: `checks.strict.need=5`, `checks.strict.usage.below=0.6`. It applies to every stage and check that has the key.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    text: String,
    set: String,
    check: Option<String>,
    key: String,
    value: Value,
}

impl FromStr for Change {
    type Err = RescoreError;

    fn from_str(text: &str) -> Result<Self, RescoreError> {
        let form = || RescoreError::Form(text.to_owned());
        let (path, value) = text.split_once('=').ok_or_else(form)?;
        let parts: Vec<&str> = path.split('.').collect();
        let (set, check, key) = match parts.as_slice() {
            ["checks", set, key] => (*set, None, *key),
            ["checks", set, check, key] => (*set, Some(*check), *key),
            _ => return Err(form()),
        };
        known(check, key)?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        let (set, check, key) = (set.to_owned(), check.map(str::to_owned), key.to_owned());
        Ok(Self { text: text.to_owned(), set, check, key, value })
    }
}

fn known(check: Option<&str>, key: &str) -> Result<(), RescoreError> {
    let unknown = |what: &'static str, name: &str, known: &[&str]| {
        Err(RescoreError::Unknown { what, name: name.to_owned(), known: known.iter().map(|k| (*k).to_owned()).collect() })
    };
    let Some(check) = check else {
        return if OF_A_STAGE.contains(&key) { Ok(()) } else { unknown("key", key, &OF_A_STAGE) };
    };
    match OF_A_CHECK.iter().find(|(name, _)| *name == check) {
        None => unknown("check", check, &OF_A_CHECK.map(|(name, _)| name)),
        Some((_, keys)) if keys.contains(&key) => Ok(()),
        Some((_, keys)) => unknown("key", key, keys),
    }
}

impl Change {
    /// The set with this change, and whether it has such a key.
    fn apply(&self, set: &CheckSet) -> Result<(CheckSet, bool), RescoreError> {
        let unfit = |e: serde_json::Error| RescoreError::Unfit { setting: self.text.clone(), message: e.to_string() };
        let mut whole = serde_json::to_value(set).map_err(unfit)?;
        let mut met = false;
        for stage in whole["stages"].as_array_mut().into_iter().flatten() {
            match &self.check {
                None => {
                    stage[&self.key] = self.value.clone();
                    met = true;
                }
                Some(check) => {
                    for one in stage["all"].as_array_mut().into_iter().flatten() {
                        if let Some(body) = one.get_mut(check) {
                            body[&self.key] = self.value.clone();
                            met = true;
                        }
                    }
                }
            }
        }
        let changed: CheckSet = serde_json::from_value(whole).map_err(unfit)?;
        for stage in changed.stages.iter().filter(|_| self.key == "window") {
            crate::manifest::duration::parse(&stage.window)
                .map_err(|e| RescoreError::Unfit { setting: self.text.clone(), message: e.to_string() })?;
        }
        Ok((changed, met))
    }
}

/// A run judged again.
#[derive(Debug, Clone, PartialEq)]
pub struct Rescored {
    /// Its results.
    pub results: Results,
    /// Verdicts that are others now, by what they became (`strict passed`).
    pub changed: BTreeMap<String, u64>,
    /// Verdicts that cannot be known.
    pub undecided: u64,
    /// Verdicts judged again.
    pub judged: u64,
}

type Sets = IndexMap<String, CheckSet>;

/// Judges a run again while its journal is read, which need not fit into memory.
#[derive(Debug)]
pub struct Rescoring<'a> {
    results: Results,
    changes: &'a [Change],
    /// Trials of the faults that are asked for.
    wanted: BTreeSet<TrialId>,
    /// What trials under way are judged by.
    sets: BTreeMap<TrialId, Sets>,
    /// Names of all sets that were met.
    names: Vec<String>,
    /// Whether a change had something to change.
    met: Vec<bool>,
    verdicts: BTreeMap<(TrialId, String), Said>,
}

impl<'a> Rescoring<'a> {
    /// Of these results; only the trials of `faults`, where some are named.
    pub fn new(results: Results, changes: &'a [Change], faults: &[String]) -> Result<Self, RescoreError> {
        let all: BTreeSet<&str> = results.rows.iter().map(|r| r.spec.fault.as_str()).collect();
        if let Some(fault) = faults.iter().find(|f| !all.contains(f.as_str())) {
            let known = all.iter().map(|f| (*f).to_owned()).collect();
            return Err(RescoreError::Unknown { what: "fault", name: fault.clone(), known });
        }
        let touched = results.rows.iter().filter(|row| faults.is_empty() || faults.contains(&row.spec.fault));
        let wanted = touched.map(|row| row.spec.id.clone()).collect();
        let (sets, verdicts) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { results, changes, wanted, sets, names: Vec::new(), met: vec![false; changes.len()], verdicts })
    }

    /// Takes the next record of the journal.
    pub fn read(&mut self, record: &Record) -> Result<(), RescoreError> {
        match &record.event {
            Event::Checks { trial, sets } => {
                self.names.extend(sets.keys().filter(|n| !self.names.contains(n)).cloned().collect::<Vec<_>>());
                self.sets.insert(trial.clone(), sets.clone());
            }
            Event::TrialFinished(row) => {
                self.sets.remove(&row.spec.id);
            }
            Event::Judged(judged) if judged.phase == FINAL && self.wanted.contains(&judged.trial) => {
                let Some(taken_by) = self.sets.get(&judged.trial).and_then(|s| s.get(&judged.set)) else { return Ok(()) };
                let mut set = taken_by.clone();
                for (change, met) in self.changes.iter().zip(&mut self.met).filter(|(c, _)| c.set == judged.set) {
                    let (changed, has) = change.apply(&set)?;
                    (set, *met) = (changed, *met || has);
                }
                self.verdicts.insert((judged.trial.clone(), judged.set.clone()), rejudge(&set, taken_by, judged));
                let singles = single_checks(&set, &judged.samples);
                self.results.single_checks.entry(judged.trial.clone()).or_default().insert(judged.set.clone(), singles);
            }
            _ => {}
        }
        Ok(())
    }

    /// The results, once all records have been read.
    pub fn finish(self) -> Result<Rescored, RescoreError> {
        let Self { results, changes, names, met, verdicts, .. } = self;
        if verdicts.is_empty() {
            return Err(RescoreError::NoSets);
        }
        for (change, met) in changes.iter().zip(met) {
            if !names.contains(&change.set) {
                return Err(RescoreError::Unknown { what: "check set", name: change.set.clone(), known: names });
            }
            if !met {
                let message = format!("no check set `{}` of these trials has it", change.set);
                return Err(RescoreError::Unfit { setting: change.text.clone(), message });
            }
        }
        let mut rescored = Rescored { results, changed: BTreeMap::new(), undecided: 0, judged: verdicts.len() as u64 };
        for row in &mut rescored.results.rows {
            for verdict in Verdict::ALL {
                let Some(said) = verdicts.get(&(row.spec.id.clone(), verdict.name().to_owned())) else { continue };
                let now = match said {
                    Said::Passed => Some(true),
                    Said::Failed => Some(false),
                    Said::Undecided => None,
                };
                rescored.undecided += u64::from(now.is_none());
                if now.is_some() && now != verdict.raw(row) {
                    let became = if now == Some(true) { "passed" } else { "failed" };
                    *rescored.changed.entry(format!("{} {became}", verdict.name())).or_default() += 1;
                }
                match verdict {
                    Verdict::Strict => row.strict = now,
                    Verdict::Compat => row.compat = now,
                }
            }
            row.outcome = outcome(row);
        }
        Ok(rescored)
    }
}

/// What the model did stays what it was; the strict verdict decides whether that recovered the system.
fn outcome(row: &TrialFinished) -> Outcome {
    match (row.outcome, row.strict) {
        (Outcome::NotRecovered | Outcome::PlaybookFailed, Some(true)) => Outcome::Recovered,
        (Outcome::Recovered, Some(false)) => Outcome::NotRecovered,
        (outcome, _) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture;
    use super::*;
    use crate::event::{Judged, Sample};

    /// Two trials that were judged by usage below 0.5: one at 0.4 three times, one at 0.7 to the end.
    fn records() -> Vec<Record> {
        let set: CheckSet = serde_json::from_value(json!({"stages": [{"window": "4s", "poll": "2s", "need": 3, "all": [
            {"usage": {"resource": "cpu", "below": 0.5}}]}]}))
        .unwrap();
        let mut events = vec![fixture::head()];
        for (index, used, passed) in [(0, 0.4, true), (1, 0.7, false)] {
            let outcome = if passed { Outcome::Recovered } else { Outcome::NotRecovered };
            let row = fixture::row(index, "solo", "model-a", outcome, Some(passed), Some(passed));
            let trial = row.spec.id.clone();
            events.push(Event::TrialStarted(row.spec.clone()));
            events.push(Event::Checks { trial: trial.clone(), sets: [("strict".to_owned(), set.clone())].into_iter().collect() });
            let samples = (0..3).map(|round| Sample {
                cluster_ms: u64::from(round) * 2000,
                stage: 0,
                round,
                position: 0,
                check: "cpu_usage".to_owned(),
                subject: String::new(),
                value: Some(used),
                passed,
                note: String::new(),
                numbers: [("used".to_owned(), used), ("limit".to_owned(), 1.0)].into(),
            });
            let samples = samples.collect();
            events.push(Event::Judged(Judged { trial, phase: FINAL.to_owned(), set: "strict".to_owned(), passed, samples }));
            events.push(Event::TrialFinished(Box::new(row)));
        }
        fixture::number(events)
    }

    fn again(settings: &[&str]) -> Result<Rescored, RescoreError> {
        let changes: Vec<Change> = settings.iter().map(|s| s.parse()).collect::<Result<_, _>>()?;
        let records = records();
        let mut rescoring = Rescoring::new(Results::from_records(&records), &changes, &[])?;
        records.iter().try_for_each(|record| rescoring.read(record))?;
        rescoring.finish()
    }

    #[test]
    fn nothing_changes_without_a_change() {
        let same = again(&[]).unwrap();
        assert_eq!((same.changed.len(), same.undecided, same.judged), (0, 0, 2));
        assert_eq!(same.results.rows, Results::from_records(&records()).rows);
    }

    #[test]
    fn thresholds_change_verdicts_and_outcomes() {
        let lax = again(&["checks.strict.usage.below=0.8"]).unwrap();
        assert_eq!(lax.changed, [("strict passed".to_owned(), 1)].into());
        assert!(lax.results.rows.iter().all(|r| r.outcome == Outcome::Recovered));
        let strict = again(&["checks.strict.usage.below=0.3"]).unwrap();
        assert_eq!((strict.changed.len(), strict.undecided), (0, 1), "it might have passed later");
        assert_eq!(strict.results.rows.iter().map(|r| r.strict).collect::<Vec<_>>(), [None, Some(false)]);
        let short = again(&["checks.strict.window=1s"]).unwrap();
        assert_eq!(short.changed, [("strict failed".to_owned(), 1)].into());
    }

    #[test]
    fn names_that_there_are_not_are_said() {
        let name = |e: Result<Rescored, RescoreError>| match e {
            Err(RescoreError::Unknown { name, .. }) => name,
            other => format!("{other:?}"),
        };
        assert_eq!(name(again(&["checks.strict.usage.belov=1"])), "belov");
        assert_eq!(name(again(&["checks.strict.usaeg.below=1"])), "usaeg");
        assert_eq!(name(again(&["checks.strikt.need=1"])), "strikt");
        assert_eq!(again(&["strict.need=1"]), Err(RescoreError::Form("strict.need=1".to_owned())));
        assert!(matches!(again(&["checks.strict.need=many"]), Err(RescoreError::Unfit { .. })));
        assert!(matches!(again(&["checks.strict.ping.max_average_ms=1"]), Err(RescoreError::Unfit { .. })));
    }
}
