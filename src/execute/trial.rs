//! One trial: its state, its life from connecting the cluster to its result.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::approve::Patience;
use super::baseline::Baseline;
use super::dispatcher::Events;
use super::judge::{Judge, Judgement, millis, span};
use super::run::Shared;
use super::slots::Slot;
use super::stop::Stop;
use super::tally::Tally;
use super::{outcome, strategy};
use crate::ansible::Workspace;
use crate::cluster::{Cluster, ObjectRef};
use crate::event::{Artifact, Event, Judged, TrialFinished};
use crate::manifest::{CheckSet, Step};
use crate::model::{ChatModel, Message};
use crate::plan::{TrialInputs, TrialSpec};

/// Real time that clean-up may take after an interruption or a time-out, beside what it may wait for the cluster.
const CLEANUP_LIMIT: Duration = Duration::from_mins(2);
/// The inventory as prompts show it: what the real one means, without paths of the machine.
const INVENTORY: &str = "[k3s_control_plane]\nlocalhost ansible_connection=local\n";
/// The command that runs a playbook, as prompts show it.
const PLAYBOOK_COMMAND: &str = "ansible-playbook -i inventory.ini playbook.yml";

/// The state of a trial that runs.
pub(super) struct Trial {
    pub(super) shared: Arc<Shared>,
    pub(super) spec: TrialSpec,
    pub(super) inputs: TrialInputs,
    pub(super) model: Arc<dyn ChatModel>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) workspace: Workspace,
    pub(super) events: Events,
    pub(super) tally: Tally,
    pub(super) baseline: Baseline,
    /// Objects that the injection created.
    pub(super) injected: Vec<ObjectRef>,
    /// Objects that the injection patched: as they were, and as they were made.
    pub(super) patched: Vec<(ObjectRef, Value, Value)>,
    /// Journaled and not yet undone.
    pub(super) owes_undo: bool,
    pub(super) conversation: Vec<Message>,
    /// Variables of templates and expressions.
    pub(super) scope: Map<String, Value>,
    /// Verdicts of the trial, by check set.
    pub(super) verdicts: Vec<(String, bool)>,
    pub(super) audit: strategy::Audit,
    pub(super) in_method: bool,
    /// Real time in which a person was asked; no limit of the trial counts it.
    pub(super) patience: Arc<Patience>,
    /// None while it waits for somebody outside.
    slot: Option<Slot>,
    stage: Option<(String, Instant)>,
}

/// What a trial needs to begin.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) spec: TrialSpec,
    pub(super) inputs: TrialInputs,
    pub(super) model: Arc<dyn ChatModel>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) workspace: Workspace,
    pub(super) events: Events,
    pub(super) slot: Slot,
}

impl Trial {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { shared, spec, inputs, model, cluster, workspace, events, slot } = parts;
        let scope = scope(&inputs);
        Self {
            shared,
            spec,
            inputs,
            model,
            cluster,
            workspace,
            events,
            tally: Tally::default(),
            baseline: Baseline::default(),
            injected: Vec::new(),
            patched: Vec::new(),
            owes_undo: false,
            conversation: Vec::new(),
            scope,
            verdicts: Vec::new(),
            audit: strategy::Audit::default(),
            in_method: false,
            patience: Arc::default(),
            slot: Some(slot),
            stage: None,
        }
    }

    /// Runs the trial's pipeline, then its clean-up whatever happened, and reports the result. Also says whether that left the
    /// cluster as it was.
    pub(super) async fn run(mut self) -> Result<(TrialFinished, bool), Stop> {
        let begun = Instant::now();
        let limit = span(&self.inputs.budgets.trial_time)?;
        let pipeline = self.inputs.trial.clone();
        let (cancel, patience) = (self.shared.cancel.clone(), Arc::clone(&self.patience));
        self.events.send(Event::Checks { trial: self.spec.id.clone(), sets: self.inputs.checks.clone() }).await?;
        let mut end = tokio::select! {
            end = self.steps(&pipeline.steps) => end,
            () = cancel.cancelled() => Err(Stop::Cancelled),
            () = patience.without_it(limit) => Err(self.out_of_time(limit)),
        };
        if cancel.is_cancelled() && end.is_err() {
            // Whatever broke first, it broke because of the interruption.
            end = Err(Stop::Cancelled);
        }
        self.in_method = false;
        let limit = self.cleanup_limit(&pipeline.finally)?;
        let cleanup = tokio::time::timeout(limit, self.steps(&pipeline.finally)).await;
        let cleanup = cleanup.unwrap_or_else(|_| Err(Stop::Infra(format!("clean-up did not end within {} s", limit.as_secs()))));
        let clean = cleanup.is_ok();
        if let (Ok(()), Err(e)) = (&end, cleanup) {
            end = Err(e);
        }
        self.leave_stage();
        let finished = self.result(&end, begun.elapsed());
        self.events
            .artifact(Artifact::Transcript { trial: self.spec.id.clone(), messages: std::mem::take(&mut self.conversation) })
            .await?;
        if let Some(source) = &self.cluster.observations().audit {
            self.events.artifact(Artifact::Audit { trial: self.spec.id.clone(), requests: source() }).await?;
        }
        self.events.send(Event::TrialFinished(Box::new(finished.clone()))).await?;
        match end {
            Err(Stop::Journal(why)) => Err(Stop::Journal(why)),
            _ => Ok((finished, clean)),
        }
    }

    /// Where the cluster's time is real, bringing it back may take as long as the data files allow: the system has
    /// `restore.timeout` to become healthy, and its namespace as long as a deployment to go.
    fn cleanup_limit(&self, steps: &[Step]) -> Result<Duration, Stop> {
        let mut limit = CLEANUP_LIMIT;
        if !self.cluster.is_disposable() {
            limit += span(&self.inputs.system.deploy.ready_timeout)?;
            for step in steps {
                if let Step::Restore(restore) = step {
                    limit += span(&restore.timeout)?;
                }
            }
        }
        Ok(limit)
    }

    /// The real time of the trial is used up: the model's doing when it spent most of it, else ours.
    fn out_of_time(&self, limit: Duration) -> Stop {
        let text = format!("the trial did not end within its budget trial_time = {:?}", self.inputs.budgets.trial_time);
        if self.tally.model * 2 > limit { Stop::Budget(text) } else { Stop::Infra(text) }
    }

    fn result(&self, end: &Result<(), Stop>, total: Duration) -> TrialFinished {
        let verdict = |name: &str| self.verdicts.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        let (outcome, error) = outcome::of(end, verdict("strict"), &self.tally);
        let t = &self.tally;
        let (downtime_s, failed_requests) = self.interruption();
        let accounted = t.model + t.children + t.waiting + self.patience.total();
        TrialFinished {
            spec: self.spec.clone(),
            category: self.inputs.fault.category.clone(),
            outcome,
            compat: verdict("compat"),
            strict: verdict("strict"),
            strategy: self.audit.strategy.clone(),
            attempts: t.attempts,
            probes: t.probes,
            usage: t.usage,
            cost_usd: t.cost_usd,
            model_s: t.model.as_secs_f64(),
            playbook_s: t.playbook.as_secs_f64(),
            remediation_s: t.remedy_ms.map_or(0.0, |(from, to)| seconds(to.saturating_sub(from))),
            total_s: total.as_secs_f64(),
            downtime_s,
            failed_requests,
            collateral: self.audit.collateral.clone(),
            stages_ms: t.stages.iter().map(|(n, d)| (n.clone(), d.as_secs_f64() * 1000.0)).collect(),
            overhead_ms: total.saturating_sub(accounted).as_secs_f64() * 1000.0,
            error,
        }
    }

    /// Seconds in which the target answered less than half of its requests while the method worked, and the requests
    /// that failed in that time.
    fn interruption(&self) -> (Option<f64>, Option<u64>) {
        let (Some(source), Some((from, to))) = (&self.cluster.observations().traffic, self.tally.remedy_ms) else {
            return (None, None);
        };
        let series = source(&self.inputs.system.namespace, &self.spec.target, from / 1000, to / 1000 + 1);
        let down = series.iter().filter(|s| s.errors * 2.0 > s.requests).count();
        let failed: f64 = series.iter().map(|s| s.errors).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small, positive count")]
        let failed = failed.round() as u64;
        (Some(f64::from(u32::try_from(down).unwrap_or(u32::MAX))), Some(failed))
    }

    /// Enters a stage: recorded, and timed.
    pub(super) async fn enter(&mut self, stage: &str) -> Result<(), Stop> {
        self.leave_stage();
        self.stage = Some((stage.to_owned(), Instant::now()));
        self.events.send(Event::Stage { trial: self.spec.id.clone(), stage: stage.to_owned(), cluster_ms: self.now_ms() }).await
    }

    fn leave_stage(&mut self) {
        if let Some((name, since)) = self.stage.take() {
            let spent = since.elapsed();
            match self.tally.stages.iter_mut().find(|(n, _)| *n == name) {
                Some((_, d)) => *d += spent,
                None => self.tally.stages.push((name, spent)),
            }
        }
    }

    /// Leaves the cores to others until [`Trial::compute`], which the next step calls that needs them: a model or a person is
    /// waited for.
    pub(super) fn idle(&mut self) {
        self.slot = None;
    }

    /// Waits for its turn, if it has left.
    pub(super) async fn compute(&mut self) {
        if self.slot.is_some() {
            return;
        }
        let begun = Instant::now();
        self.slot = Some(self.shared.slots.take().await);
        self.tally.waiting += begun.elapsed();
    }

    /// The cluster's time.
    pub(super) fn now_ms(&self) -> u64 {
        self.cluster.pace().now_ms()
    }

    /// Lets the cluster's time pass.
    pub(super) async fn pass(&mut self, d: Duration) -> Result<(), Stop> {
        let begun = Instant::now();
        self.cluster.pace().sleep(d).await;
        self.tally.waiting += begun.elapsed();
        let limit = span(&self.inputs.budgets.cluster_time)?;
        if self.now_ms() > millis(limit) {
            return Err(Stop::Infra(format!("the trial used up its budget cluster_time = {:?}", self.inputs.budgets.cluster_time)));
        }
        Ok(())
    }

    /// The context of templates.
    pub(super) fn context(&self) -> Value {
        Value::Object(self.scope.clone())
    }

    /// A check set of the fault.
    pub(super) fn check_set(&self, name: &str) -> Result<CheckSet, Stop> {
        self.inputs
            .checks
            .get(name)
            .cloned()
            .ok_or_else(|| Stop::Infra(format!("the fault {:?} has no check set {name:?}; add [checks.{name}] to it", self.spec.fault)))
    }

    /// Evaluates a check set and records it. `once`: one sample, nothing waited for.
    pub(super) async fn judge(&mut self, name: &str, phase: &str, once: bool) -> Result<Judgement, Stop> {
        let set = self.check_set(name)?;
        let begun = Instant::now();
        let context = self.context();
        let judge = Judge {
            cluster: &self.cluster,
            namespace: &self.inputs.system.namespace,
            target: &self.spec.target,
            baseline: &self.baseline,
            injected: &self.injected,
            context: &context,
        };
        let judgement = if once { judge.once(&set).await } else { judge.evaluate(&set).await }?;
        // Checks mostly wait for the cluster; what they compute themselves is little and counts as waiting, too.
        self.tally.waiting += begun.elapsed();
        self.events
            .send(Event::Judged(Judged {
                trial: self.spec.id.clone(),
                phase: phase.to_owned(),
                set: name.to_owned(),
                passed: judgement.passed,
                samples: judgement.samples.clone(),
            }))
            .await?;
        Ok(judgement)
    }
}

/// The variables that do not change during a trial, and empty ones for those that do.
pub(super) fn scope(inputs: &TrialInputs) -> Map<String, Value> {
    let mut scope = match inputs.context() {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let mut put = |k: &str, v: Value| scope.insert(k.to_owned(), v);
    put("inventory", INVENTORY.into());
    put("playbook_command", PLAYBOOK_COMMAND.into());
    put("tools", json!(inputs.method.tools.keys().collect::<Vec<_>>()));
    put("attempt", 0.into());
    put("probes", 0.into());
    put("loop", json!({"index": 0}));
    put("reply", json!({"tool": "", "text": "", "arguments": {}, "malformed": "", "none": true}));
    put("probe", json!({"stdout": "", "stderr": "", "exit": null, "timed_out": false, "text": ""}));
    put("playbook", json!({"succeeded": false, "exit": null, "valid": false, "timed_out": false, "text": ""}));
    put("syntax", json!({"valid": false, "text": ""}));
    put("verdict", json!({"recovered": false, "checks": []}));
    scope
}

#[expect(clippy::cast_precision_loss, reason = "hours at most")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
