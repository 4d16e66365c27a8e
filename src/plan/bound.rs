//! A bound on the time that a trial can take: every wait, window and time-out used up, every repeat to its last round.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::TrialSpec;
use super::inputs::{with_options, with_params};
use crate::manifest::pipeline::Step;
use crate::manifest::{Catalog, CheckSet, ExperimentManifest, FaultManifest, TRIAL_PIPELINE, Undo, duration};
use crate::model::ModelSpec;
use crate::template;

/// Bounds by combination of system, fault, method and model: all that a bound depends on.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    by_cell: BTreeMap<(String, String, String, String), Duration>,
}

struct Cell<'a> {
    deploy: Duration,
    fault: &'a FaultManifest,
    ask: Duration,
    method: &'a [Step],
    context: &'a Value,
}

fn time(text: &str) -> Duration {
    duration::parse(text).unwrap_or_default()
}

impl Bounds {
    pub(super) fn new(catalog: &Catalog, experiment: &ExperimentManifest) -> Self {
        let mut by_cell = BTreeMap::new();
        let Some(trial) = catalog.pipelines.get(TRIAL_PIPELINE) else { return Self::default() };
        let matrix = &experiment.matrix;
        let limit = time(&experiment.budgets.trial_time);
        for system in matrix.system.iter().filter_map(|n| catalog.systems.get(n)) {
            for fault in matrix.sequence.iter().filter_map(|n| catalog.sequences.get(n)).flat_map(|s| &s.faults) {
                let Some(merged) = catalog.faults.get(fault).map(|f| with_params(f, experiment)) else { continue };
                for method in matrix.method.iter().filter_map(|n| catalog.pipelines.get(n)) {
                    let merged_method = with_options(method, experiment);
                    let context = json!({ "options": merged_method.options, "budgets": experiment.budgets });
                    for model in matrix.model.iter().filter_map(|n| catalog.models.get(n)) {
                        let key = (system.name.clone(), fault.clone(), method.name.clone(), model.name.clone());
                        if by_cell.contains_key(&key) {
                            continue;
                        }
                        let deploy = time(&system.deploy.ready_timeout);
                        let cell = Cell { deploy, fault: &merged, ask: asking(model), method: &merged_method.steps, context: &context };
                        let bound = cell.steps(&trial.steps).min(limit).saturating_add(cell.steps(&trial.finally));
                        by_cell.insert(key, bound);
                    }
                }
            }
        }
        Self { by_cell }
    }

    pub(super) fn trial(&self, trial: &TrialSpec) -> Duration {
        let key = (trial.system.clone(), trial.fault.clone(), trial.method.clone(), trial.model.clone());
        self.by_cell.get(&key).copied().unwrap_or_default()
    }
}

/// The longest that one answer can take.
fn asking(model: &ModelSpec) -> Duration {
    let Some(endpoint) = model.provider.endpoint() else { return Duration::ZERO };
    let pauses = time(&endpoint.retry.pause_max).saturating_mul(endpoint.retry.attempts.saturating_sub(1));
    time(&endpoint.timeout).saturating_mul(endpoint.retry.attempts.max(1)).saturating_add(pauses)
}

fn checking(set: &CheckSet) -> Duration {
    let waited = |limit: &Option<String>| limit.as_deref().map_or(Duration::ZERO, time);
    let stages = set.stages.iter().flat_map(|s| [waited(&s.ready_wait), time(&s.window)]).fold(Duration::ZERO, Duration::saturating_add);
    waited(&set.ready_wait).saturating_add(time(&set.settle)).saturating_add(stages)
}

impl Cell<'_> {
    fn steps(&self, steps: &[Step]) -> Duration {
        steps.iter().map(|s| self.step(s)).fold(Duration::ZERO, Duration::saturating_add)
    }

    fn sets(&self, names: &[String]) -> Duration {
        names.iter().filter_map(|n| self.fault.checks.get(n)).map(checking).fold(Duration::ZERO, Duration::saturating_add)
    }

    fn step(&self, step: &Step) -> Duration {
        match step {
            Step::Say(_) | Step::Set(_) | Step::Inject(_) => Duration::ZERO,
            Step::Ask(_) => self.ask,
            Step::Probe(p) => time(&p.timeout),
            Step::Playbook(p) => time(&p.timeout),
            Step::CheckSyntax(c) => time(&c.timeout),
            Step::Verify(v) => self.sets(&v.checks),
            Step::Wait(w) => template::render("wait", &w.duration, self.context).map(|t| time(t.trim())).unwrap_or_default(),
            Step::Repeat(r) => {
                let rounds = template::evaluate(&r.max, self.context).ok().and_then(|v| v.as_u64()).unwrap_or(1);
                self.steps(&r.steps).saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
            }
            Step::When(w) => self.steps(&w.then).max(self.steps(&w.otherwise)),
            Step::Deploy(_) => self.deploy,
            Step::Healthy(h) => self.sets(&h.checks).saturating_add(self.deploy).saturating_mul(h.redeploys.saturating_add(1)),
            Step::Baseline(b) => time(&b.watch),
            Step::Confirm(_) => time(&self.fault.confirm.timeout),
            Step::Remedy(_) => self.steps(self.method),
            Step::Undo(_) => match &self.fault.undo {
                Undo::Delete(d) => time(&d.timeout),
                Undo::All(a) => time(&a.timeout),
                Undo::Restore(_) => Duration::ZERO,
            },
            Step::Restore(r) => time(&r.timeout),
        }
    }
}
