//! Expansion of an experiment: the matrix stays an arithmetic description, trials are made when asked for.

use std::collections::BTreeMap;

use crate::diagnostic::did_you_mean;
use crate::ids::TrialId;
use crate::manifest::{Agent, Catalog, ExperimentManifest, Kind, TRIAL_PIPELINE};
use indexmap::IndexMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::TrialSpec;
use super::digest;
use super::draw::Slot;
use super::inputs::{with_namespace, with_options, with_params};

/// What of an experiment is wanted; empty lists and `None` keep what the experiment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Systems instead of the matrix's.
    pub systems: Vec<String>,
    /// Sequences instead of the matrix's.
    pub sequences: Vec<String>,
    /// Only trials of these faults; positions in the sequence stay what they are.
    pub faults: Vec<String>,
    /// Methods instead of the matrix's.
    pub methods: Vec<String>,
    /// Models instead of the matrix's.
    pub models: Vec<String>,
    /// Repeats instead of the experiment's.
    pub repeats: Option<u32>,
    /// Seed instead of the experiment's.
    pub seed: Option<u64>,
    /// Only this part of the trials.
    pub shard: Option<Shard>,
}

/// One of several parts of a plan, for several machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 1.
    pub index: u32,
    /// Of how many.
    pub count: u32,
}

impl std::str::FromStr for Shard {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let wrong = || PlanError::Shard(text.to_owned());
        let (index, count) = text.split_once('/').ok_or_else(wrong)?;
        let shard = Self { index: index.parse().map_err(|_| wrong())?, count: count.parse().map_err(|_| wrong())? };
        if shard.index == 0 || shard.index > shard.count { Err(wrong()) } else { Ok(shard) }
    }
}

/// Why an experiment cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Something named does not exist.
    #[error("there is no {kind} `{name}`{}", help.as_ref().map(|h| format!("; {h}")).unwrap_or_default())]
    Unknown {
        /// What it should be.
        kind: &'static str,
        /// The name.
        name: String,
        /// Advice.
        help: Option<String>,
    },
    /// The manifest exists and has mistakes.
    #[error("the {kind} `{name}` has mistakes; run `microremed check`")]
    Broken {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A fault has no service that it may hit.
    #[error("the fault `{fault}` may hit no service of the system `{system}`")]
    NoTarget {
        /// The system.
        system: String,
        /// The fault.
        fault: String,
    },
    /// Nothing is left.
    #[error("no trial is left: {0}")]
    Empty(String),
    /// A shard that is none.
    #[error("`{0}` is no shard; write for example 1/4")]
    Shard(String),
    /// An axis names something twice.
    #[error("the {kind} `{name}` is named twice")]
    Twice {
        /// The axis.
        kind: &'static str,
        /// The name.
        name: String,
    },
}

/// A system and a sequence: a block of consecutive trials.
#[derive(Debug, Clone)]
struct Block {
    system: String,
    system_digest: String,
    sequence: String,
    entries: Vec<Entry>,
}

/// A place in a sequence with one combination of parameters.
#[derive(Debug, Clone)]
struct Entry {
    index: u32,
    fault: String,
    target: String,
    params: BTreeMap<String, Value>,
    sees_injector: bool,
}

/// Every combination of the values of some axes, the last axis fastest; one empty combination where there is none.
fn combinations(axes: Option<&IndexMap<String, Vec<Value>>>) -> Vec<BTreeMap<String, Value>> {
    let mut all = vec![BTreeMap::new()];
    for (key, values) in axes.into_iter().flatten() {
        all = all
            .iter()
            .flat_map(|c| {
                values.iter().map(move |v| {
                    let mut c = c.clone();
                    c.insert(key.clone(), v.clone());
                    c
                })
            })
            .collect();
    }
    all
}

/// A method with a model.
#[derive(Debug, Clone)]
struct Arm {
    method: String,
    method_digest: String,
    model: String,
    model_digest: String,
}

/// Trials, in order, without being stored.
#[derive(Debug, Clone)]
pub struct Plan {
    experiment: ExperimentManifest,
    blocks: Vec<Block>,
    fault_digests: BTreeMap<String, String>,
    /// Methods with models, the models innermost.
    arms: Vec<Arm>,
    common_digest: String,
    shard: Option<Shard>,
    bounds: super::bound::Bounds,
}

fn known(catalog: &Catalog, kind: Kind, name: &str) -> Result<(), PlanError> {
    let names = if kind == Kind::Pipeline { catalog.methods() } else { catalog.names(kind) };
    let word = if kind == Kind::Pipeline { "method" } else { kind.name() };
    if !names.contains(name) {
        return Err(PlanError::Unknown { kind: word, name: name.to_owned(), help: did_you_mean(name, names.iter().copied()) });
    }
    let whole = match kind {
        Kind::System => catalog.systems.contains_key(name),
        Kind::Fault => catalog.faults.contains_key(name),
        Kind::Pipeline => catalog.pipelines.contains_key(name),
        Kind::Sequence => catalog.sequences.contains_key(name),
        Kind::Experiment => catalog.experiments.contains_key(name),
        Kind::Model => catalog.models.contains_key(name),
    };
    if whole { Ok(()) } else { Err(PlanError::Broken { kind: word, name: name.to_owned() }) }
}

fn axis(catalog: &Catalog, kind: Kind, chosen: &[String], own: &mut Vec<String>) -> Result<(), PlanError> {
    if !chosen.is_empty() {
        own.clear();
        own.extend_from_slice(chosen);
    }
    let word = if kind == Kind::Pipeline { "method" } else { kind.name() };
    if own.is_empty() {
        return Err(PlanError::Empty(format!("the experiment names no {word}")));
    }
    for (i, name) in own.iter().enumerate() {
        known(catalog, kind, name)?;
        if own.iter().take(i).any(|n| n == name) {
            return Err(PlanError::Twice { kind: word, name: name.clone() });
        }
    }
    Ok(())
}

/// Expands an experiment. `tools` is what the versions of Ansible, kubectl and the like are known by: it is part of every identity.
pub fn expand(catalog: &Catalog, experiment: &ExperimentManifest, selection: &Selection, tools: &str) -> Result<Plan, PlanError> {
    let mut experiment = experiment.clone();
    experiment.seed = selection.seed.unwrap_or(experiment.seed);
    experiment.repeats = selection.repeats.unwrap_or(experiment.repeats);
    axis(catalog, Kind::System, &selection.systems, &mut experiment.matrix.system)?;
    axis(catalog, Kind::Sequence, &selection.sequences, &mut experiment.matrix.sequence)?;
    axis(catalog, Kind::Pipeline, &selection.methods, &mut experiment.matrix.method)?;
    axis(catalog, Kind::Model, &selection.models, &mut experiment.matrix.model)?;
    for fault in &selection.faults {
        known(catalog, Kind::Fault, fault)?;
    }
    if selection.shard.is_some_and(|s| s.index == 0 || s.index > s.count) {
        return Err(PlanError::Shard(selection.shard.map(|s| format!("{}/{}", s.index, s.count)).unwrap_or_default()));
    }

    let sights = match experiment.matrix.sees_injector.as_slice() {
        [] => vec![experiment.agent.sees_injector],
        several => several.to_vec(),
    };
    let mut fault_digests = BTreeMap::new();
    let mut blocks = Vec::new();
    for system_name in &experiment.matrix.system {
        let Some(system) = catalog.systems.get(system_name) else { continue };
        let system_digest = digest::system(catalog, &with_namespace(system, &experiment));
        for sequence_name in &experiment.matrix.sequence {
            let Some(sequence) = catalog.sequences.get(sequence_name) else { continue };
            let mut entries = Vec::new();
            let length = u32::try_from(sequence.faults.len()).unwrap_or(u32::MAX);
            let rounds = (0..experiment.targets.max(1)).flat_map(|round| sequence.faults.iter().map(move |fault| (round, fault)));
            for (index, (round, fault)) in (0u32..).zip(rounds) {
                if !selection.faults.is_empty() && !selection.faults.contains(fault) {
                    continue;
                }
                if !fault_digests.contains_key(fault) {
                    known(catalog, Kind::Fault, fault)?;
                    let merged = catalog.faults.get(fault).map(|f| with_params(f, &experiment));
                    fault_digests.insert(fault.clone(), merged.map(|f| digest::fault(catalog, &f)).unwrap_or_default());
                }
                let targets = system.targets_of(fault);
                if round as usize >= targets.len().max(1) {
                    continue;
                }
                // Further rounds take the services after the one drawn, so that each is another one.
                let slot =
                    Slot { seed: experiment.seed, system: system_name, sequence: sequence_name, index: index % length.max(1), fault };
                let target = slot
                    .choose(targets.len())
                    .and_then(|i| targets.get((i + round as usize) % targets.len().max(1)))
                    .ok_or_else(|| PlanError::NoTarget { system: system_name.clone(), fault: fault.clone() })?;
                for params in combinations(experiment.matrix.params.get(fault)) {
                    for &sees_injector in &sights {
                        let (fault, target, params) = (fault.clone(), (*target).to_owned(), params.clone());
                        entries.push(Entry { index, fault, target, params, sees_injector });
                    }
                }
            }
            let (system, sequence) = (system_name.clone(), sequence_name.clone());
            blocks.push(Block { system, system_digest: system_digest.clone(), sequence, entries });
        }
    }

    let models: Vec<(&String, String)> =
        experiment.matrix.model.iter().filter_map(|name| Some((name, digest::model(catalog.models.get(name)?)))).collect();
    let mut arms = Vec::new();
    for method in &experiment.matrix.method {
        let Some(pipeline) = catalog.pipelines.get(method) else { continue };
        let method_digest = digest::pipeline(catalog, &with_options(pipeline, &experiment));
        let only = experiment.matrix.only.get(method);
        for (model, model_digest) in models.iter().filter(|(name, _)| only.is_none_or(|o| o.contains(name))) {
            let (method, model) = (method.clone(), (*model).clone());
            arms.push(Arm { method, method_digest: method_digest.clone(), model, model_digest: model_digest.clone() });
        }
    }
    let trial = catalog.pipelines.get(TRIAL_PIPELINE).ok_or_else(|| PlanError::Unknown {
        kind: "pipeline",
        name: TRIAL_PIPELINE.to_owned(),
        help: None,
    })?;
    let budgets = experiment.budgets.of_a_trial();
    let trial_digest = digest::pipeline(catalog, &with_options(trial, &experiment));
    // Left out where they say nothing, so that trials without them stay who they are.
    let confined = (experiment.sandbox.of_a_trial(), (!experiment.policy.is_default()).then_some(&experiment.policy));
    let confined = (confined != (None, None)).then(|| digest::of(&confined));
    let rights = (experiment.agent.rights != Agent::default().rights).then(|| digest::rights(catalog, &experiment.agent));
    let tools = format!("{tools}{}{}", confined.unwrap_or_default(), rights.unwrap_or_default());
    let common = (trial_digest, budgets, &experiment.time, env!("CARGO_PKG_VERSION"), tools);
    let plan = Plan {
        common_digest: digest::of(&common),
        arms,
        bounds: super::bound::Bounds::new(catalog, &experiment),
        experiment,
        blocks,
        fault_digests,
        shard: selection.shard,
    };
    if plan.is_empty() {
        return Err(PlanError::Empty("the filters exclude every trial".to_owned()));
    }
    Ok(plan)
}

impl Plan {
    /// The experiment as planned: seed, repeats and axes as selected.
    pub fn experiment(&self) -> &ExperimentManifest {
        &self.experiment
    }

    fn block_len(&self, block: &Block) -> u64 {
        [block.entries.len(), self.arms.len()].iter().fold(u64::from(self.experiment.repeats), |n, f| n.saturating_mul(*f as u64))
    }

    /// Trials of all shards.
    pub fn total(&self) -> u64 {
        self.blocks.iter().fold(0, |n, b| n.saturating_add(self.block_len(b)))
    }

    /// Number of trials.
    pub fn len(&self) -> u64 {
        let total = self.total();
        match self.shard {
            Some(Shard { index, count }) => total.saturating_add(u64::from(count) - u64::from(index)) / u64::from(count),
            None => total,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The trials in order: by system, sequence, repeat and position; methods and models innermost, so that a drift of the
    /// machine or of a provider hits all of them alike.
    pub fn iter(&self) -> impl Iterator<Item = TrialSpec> + '_ {
        (0..self.len()).filter_map(|n| self.get(n))
    }

    /// A trial by its number.
    pub fn get(&self, number: u64) -> Option<TrialSpec> {
        let mut rest = match self.shard {
            Some(Shard { index, count }) => number.checked_mul(u64::from(count))?.checked_add(u64::from(index) - 1)?,
            None => number,
        };
        for block in &self.blocks {
            let length = self.block_len(block);
            if rest < length {
                return self.trial(block, rest);
            }
            rest -= length;
        }
        None
    }

    fn trial(&self, block: &Block, number: u64) -> Option<TrialSpec> {
        let mut rest = number;
        let mut digit = |base: usize| {
            let base = base as u64;
            let digit = rest % base;
            rest /= base;
            usize::try_from(digit).ok()
        };
        let Arm { method, method_digest, model, model_digest } = self.arms.get(digit(self.arms.len())?)?;
        let Entry { index, fault, target, params, sees_injector } = block.entries.get(digit(block.entries.len())?)?;
        let repeat = u32::try_from(rest).ok()?;
        let slot = Slot { seed: self.experiment.seed, system: &block.system, sequence: &block.sequence, index: *index, fault };
        let seed = slot.cluster_seed(repeat);
        let mut hash = Sha256::new();
        for part in [
            &self.common_digest,
            &block.system_digest,
            self.fault_digests.get(fault)?,
            method_digest,
            model_digest,
            &block.system,
            &block.sequence,
            fault,
            target,
            method,
            model,
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        for n in [u64::from(*index), u64::from(repeat), seed, self.experiment.seed] {
            hash.update(n.to_le_bytes());
        }
        if !params.is_empty() {
            hash.update(digest::of(params).as_bytes());
        }
        if !sees_injector {
            hash.update(b"the injector is hidden");
        }
        let id = crate::manifest::source::hex(hash.finalize().get(..8)?);
        Some(TrialSpec {
            id: TrialId(id),
            system: block.system.clone(),
            sequence: block.sequence.clone(),
            index: *index,
            fault: fault.clone(),
            target: target.clone(),
            method: method.clone(),
            model: model.clone(),
            repeat,
            seed,
            params: params.clone(),
            sees_injector: *sees_injector,
        })
    }

    /// A bound on the time of one trial: every wait, window and time-out used up.
    pub fn worst_case(&self, trial: &TrialSpec) -> std::time::Duration {
        self.bounds.trial(trial)
    }
}
