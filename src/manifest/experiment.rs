//! experiments/NAME.toml and experiments/sequences/NAME.toml.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::catalog::rights_path;
use super::confinement::{PolicySection, SandboxSection};

/// An experiment: a matrix that expands into trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExperimentManifest {
    /// Name; the file's name.
    pub name: String,
    /// What it is, one line.
    #[serde(default)]
    pub description: String,
    /// Seed of targets and of the embedded clusters.
    #[serde(default = "seed")]
    pub seed: u64,
    /// How often each cell is run.
    #[serde(default = "one")]
    pub repeats: u32,
    /// On how many different services each fault of a sequence is run, where the system has so many that it may hit.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub targets: u32,
    /// The matrix.
    pub matrix: Matrix,
    /// What the model's playbooks and probes may see and do.
    #[serde(default, skip_serializing_if = "Agent::is_default")]
    pub agent: Agent,
    /// Folder of a calibration run (`microremed calibrate`) whose findings the reports of this experiment show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<String>,
    /// Bounds.
    #[serde(default)]
    pub budgets: Budgets,
    /// How time passes on the embedded cluster.
    #[serde(default)]
    pub time: TimeSection,
    /// What holds playbooks and probes.
    #[serde(default, skip_serializing_if = "SandboxSection::is_default")]
    pub sandbox: SandboxSection,
    /// What playbooks may ask for.
    #[serde(default, skip_serializing_if = "PolicySection::is_default")]
    pub policy: PolicySection,
    /// Overrides of fault parameters: `[params.network-loss] loss = 80`.
    #[serde(default)]
    pub params: IndexMap<String, IndexMap<String, Value>>,
    /// Options of the published program, under its names.
    #[serde(default, skip_serializing_if = "Runner::is_empty")]
    pub runner: Runner,
    /// Overrides of method options: `[options.thinkremed] t_max = 3`.
    #[serde(default)]
    pub options: IndexMap<String, IndexMap<String, Value>>,
}

fn seed() -> u64 {
    42
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(n: &u32) -> bool {
    *n == 1
}

/// What the model's playbooks and probes may see and do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// Whether they see the injector: its objects, its kinds, its events and the names that it leaves on pods.
    pub sees_injector: bool,
    /// What they may do in the cluster: the roles of `pipelines/rights/NAME.yaml.j2`, bound to an account of their own; `admin`:
    /// whatever the runner may.
    pub rights: String,
}

impl Default for Agent {
    fn default() -> Self {
        Self { sees_injector: true, rights: "repair".to_owned() }
    }
}

impl Agent {
    /// The rights that are the runner's.
    pub const ADMIN: &'static str = "admin";

    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The file with the roles; none: the runner's rights.
    pub fn roles(&self) -> Option<String> {
        (self.rights != Self::ADMIN).then(|| rights_path(&self.rights))
    }
}

/// The axes. A trial is one combination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Systems.
    pub system: Vec<String>,
    /// Sequences of faults (experiments/sequences/NAME.toml).
    pub sequence: Vec<String>,
    /// Methods.
    pub method: Vec<String>,
    /// Models.
    pub model: Vec<String>,
    /// Values of fault parameters to go through: `[matrix.params.network-loss] loss = [10, 30, 50, 80]`. Every trial of the
    /// fault is run once for each combination, on the same target and cluster.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub params: IndexMap<String, IndexMap<String, Vec<Value>>>,
    /// Models of a method that is not run with all of them: `[matrix.only] no-fault = ["noop"]`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub only: IndexMap<String, Vec<String>>,
    /// Values of `agent.sees_injector` to go through; empty: the one of `[agent]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sees_injector: Vec<bool>,
}

/// Options of the published program, under its names; those that are not given leave everything as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Runner {
    /// Seconds between looks at whether a fault shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_interval: Option<u32>,
    /// Seconds within which it must show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub injection_timeout: Option<u32>,
    /// Whether a system that is not healthy before the fault is deployed again (once).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_strict_restart: Option<bool>,
    /// Namespaces by system, instead of the systems' own.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub namespace: IndexMap<String, String>,
    /// Folder for the run's folder, where `--out` names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_path: Option<String>,
}

impl Runner {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Bounds of a trial and a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// Real time of a trial.
    pub trial_time: String,
    /// The cluster's time of a trial.
    pub cluster_time: String,
    /// Model calls of a trial.
    pub calls: u32,
    /// Probe commands of a trial.
    pub probes: u32,
    /// Playbook runs of a trial.
    pub playbooks: u32,
    /// Tokens of a trial.
    pub tokens_per_trial: u64,
    /// Dollars of a trial; none: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_per_trial_usd: Option<f64>,
    /// Real time of a trial's model calls; none: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_time: Option<String>,
    /// Dollars of a run; none: no bound.
    pub cost_total_usd: Option<f64>,
    /// Model calls of a run; none: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_total: Option<u64>,
    /// Tokens of a run; none: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_total: Option<u64>,
    /// Real time of a run, after which no trial begins and no model is asked; none: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_time: Option<String>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            trial_time: "20m".to_owned(),
            cluster_time: "4h".to_owned(),
            calls: 40,
            probes: 20,
            playbooks: 5,
            tokens_per_trial: 200_000,
            cost_per_trial_usd: None,
            model_time: None,
            cost_total_usd: None,
            calls_total: None,
            tokens_total: None,
            run_time: None,
        }
    }
}

/// How time passes on the embedded cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeSection {
    /// `skip`, `scaled` or `real`.
    pub clock: String,
    /// Simulated seconds a second, with `scaled`.
    pub speed: f64,
    /// What a model's thinking costs in simulated time: `free` or `charged`.
    pub model: String,
}

impl Default for TimeSection {
    fn default() -> Self {
        Self { clock: "skip".to_owned(), speed: 1.0, model: "free".to_owned() }
    }
}

impl Budgets {
    /// The bounds of a trial alone: those of the run change no trial's result.
    #[must_use]
    pub fn of_a_trial(&self) -> Self {
        Self { cost_total_usd: None, calls_total: None, tokens_total: None, run_time: None, ..self.clone() }
    }
}

/// An ordered list of faults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SequenceManifest {
    /// Name; the file's name.
    pub name: String,
    /// What it is, one line.
    #[serde(default)]
    pub description: String,
    /// Fault names, in order.
    pub faults: Vec<String>,
}
