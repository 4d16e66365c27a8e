//! Events: everything that happens in a run, in the order in which it is recorded. The journal is a list of these.
//!
//! A report is computed from events alone, so whatever a report needs is in here. Version: [`JOURNAL_VERSION`].

mod rejudge;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::TrialId;
use crate::plan::TrialSpec;

pub use rejudge::{LATENCY_SLACK_MS, Said, rejudge, single_checks};

/// Grows whenever an event gains, loses or changes a field.
pub const JOURNAL_VERSION: u32 = 3;

/// A line of events.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Number of the event in its run, from 0, without gaps.
    pub n: u64,
    /// Real time, RFC 3339.
    pub at: String,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The run began or was resumed.
    RunStarted(RunStarted),
    /// A trial began.
    TrialStarted(TrialSpec),
    /// A trial entered a stage (`deploy`, `confirm`, `remedy`, ...).
    Stage {
        /// The trial.
        trial: TrialId,
        /// The stage.
        stage: String,
        /// Milliseconds of the cluster's time.
        cluster_ms: u64,
    },
    /// A side effect is about to happen; how to take it back.
    UndoOwed {
        /// The trial.
        trial: TrialId,
        /// Name of the debt, unique in its trial.
        debt: String,
        /// How to pay it: cluster, objects, patches.
        undo: Value,
    },
    /// A debt was paid.
    UndoPaid {
        /// The trial.
        trial: TrialId,
        /// The debt.
        debt: String,
    },
    /// The model was asked.
    Asked(Asked),
    /// A probe command ran.
    Probed(Probed),
    /// A playbook ran.
    PlaybookRan(PlaybookRan),
    /// The check sets that a trial is judged by, as they are after all overrides.
    Checks {
        /// The trial.
        trial: TrialId,
        /// Check sets by name.
        sets: indexmap::IndexMap<String, crate::manifest::CheckSet>,
    },
    /// A check set was evaluated.
    Judged(Judged),
    /// A trial ended.
    TrialFinished(Box<TrialFinished>),
    /// The run ended.
    RunFinished {
        /// `done`, `interrupted` or `failed`.
        how: String,
    },
}

/// The head of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// [`JOURNAL_VERSION`] of the writer.
    pub version: u32,
    /// Program version.
    pub program: String,
    /// Experiment's name.
    pub experiment: String,
    /// Number of trials planned.
    pub planned: u64,
    /// Versions of the tools (Ansible, kubectl, ...).
    pub tools: BTreeMap<String, String>,
    /// `embedded` or the address of the cluster.
    pub cluster: String,
    /// What held playbooks and probes: the layers, or that there were none.
    #[serde(default)]
    pub sandbox: String,
    /// True when this continues an earlier start.
    pub resumed: bool,
    /// What is known beforehand of models that are references, by model; models under test are not in it.
    #[serde(default)]
    pub roles: BTreeMap<String, ReferenceRole>,
    /// The same of methods that calibrate the checks, by method.
    #[serde(default)]
    pub method_roles: BTreeMap<String, ReferenceRole>,
    /// Names in the experiment's order, by axis (`system`, `sequence`, `method`, `model`).
    #[serde(default)]
    pub axes: BTreeMap<String, Vec<String>>,
    /// What a calibration run has found of the cells of this one.
    #[serde(default)]
    pub calibration: Vec<CalibratedCell>,
}

/// How often a check set was wrong about one fault of one system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CalibratedCell {
    /// System.
    pub system: String,
    /// Fault.
    pub fault: String,
    /// Check set.
    pub set: String,
    /// Trials that must fail and passed, and how many there were.
    pub false_pass: (u64, u64),
    /// Trials that must pass and failed, and how many there were.
    pub false_fail: (u64, u64),
}

/// What a reference policy is in an experiment for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceRole {
    /// It must recover every cell: a cell where it fails cannot be solved.
    MustPass,
    /// It must recover no cell: a cell where it passes mends itself.
    MustFail,
    /// What it earns is the floor that a model has to beat.
    Floor,
}

/// A model call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The trial.
    pub trial: TrialId,
    /// Number of the call in the trial, from 1.
    pub call: u32,
    /// Tool called, or empty.
    pub tool: String,
    /// Tokens.
    pub usage: crate::model::Usage,
    /// Dollars; none without a price.
    pub cost_usd: Option<f64>,
    /// Real seconds.
    pub real_s: f64,
    /// Infrastructure errors before it succeeded.
    pub retries: u32,
    /// How the tool call was found: `native`, `text`, `none`; and what was done to read its arguments.
    pub dialect: String,
    /// What is wrong with the call, so that it could not be used; empty when nothing is.
    #[serde(default)]
    pub malformed: String,
    /// Whether the model was asked again because its call before could not be used.
    #[serde(default)]
    pub correction: bool,
}

/// A probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    /// The trial.
    pub trial: TrialId,
    /// The command line.
    pub command: String,
    /// What came of it.
    pub outcome: crate::ansible::CommandOutcome,
}

/// A playbook run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlaybookRan {
    /// The trial.
    pub trial: TrialId,
    /// Number of the playbook in the trial, from 1.
    pub attempt: u32,
    /// The playbook.
    pub code: String,
    /// What its text says it uses.
    #[serde(default)]
    pub uses: crate::ansible::Uses,
    /// What a person said who was asked whether it may run; none: nobody was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// What came of it.
    pub outcome: crate::ansible::PlaybookOutcome,
}

/// A person's word on a playbook.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// Whether it might run.
    pub allowed: bool,
    /// Real seconds until the word came, those in which another trial's question was open included. They count in no limit.
    pub waited_s: f64,
}

/// Phase of the verdicts of a trial.
pub const FINAL: &str = "final";

/// A check set's evaluation, samples included so that it can be done again later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The trial.
    pub trial: TrialId,
    /// When in the trial: `healthy`, `confirm`, `method`, `final`.
    pub phase: String,
    /// Name of the check set.
    pub set: String,
    /// Whether all stages passed.
    pub passed: bool,
    /// Samples in order.
    pub samples: Vec<Sample>,
}

/// One check of one sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Milliseconds of the cluster's time.
    pub cluster_ms: u64,
    /// Stage of the set, from 0.
    pub stage: u32,
    /// Sample of the stage, from 0: what belongs together.
    #[serde(default)]
    pub round: u32,
    /// Position of the check in the stage.
    #[serde(default)]
    pub position: u32,
    /// The check (`usage`, `ping`, ...).
    pub check: String,
    /// What was measured on (`hello-service-abc/hello-service`), or empty.
    pub subject: String,
    /// The number measured; none when it could not be.
    pub value: Option<f64>,
    /// Whether it passed.
    pub passed: bool,
    /// Why not, or a note.
    pub note: String,
    /// Everything that was measured, by name, so that it can be judged by other thresholds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, f64>,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The last playbook ran and the strict verdict is positive.
    Recovered,
    /// A playbook ran to its end, and the system has not recovered.
    NotRecovered,
    /// The model gave no playbook.
    NoPlaybook,
    /// The last playbook was no YAML or no play.
    InvalidPlaybook,
    /// The last playbook failed or was cut off.
    PlaybookFailed,
    /// A budget of the trial was used up before a playbook came.
    BudgetExhausted,
    /// The fault did not bite: not scored.
    InjectionFailed,
    /// The system was not healthy before the injection: not scored.
    UnhealthyBefore,
    /// The harness, the cluster or the model's provider failed: not scored.
    InfraError,
    /// Interrupted: not scored.
    Cancelled,
}

impl Outcome {
    /// All outcomes, those that are scored first.
    pub const ALL: [Self; 10] = [
        Self::Recovered,
        Self::NotRecovered,
        Self::NoPlaybook,
        Self::InvalidPlaybook,
        Self::PlaybookFailed,
        Self::BudgetExhausted,
        Self::InjectionFailed,
        Self::UnhealthyBefore,
        Self::InfraError,
        Self::Cancelled,
    ];

    /// Whether the trial counts in rates.
    pub fn scored(self) -> bool {
        !matches!(self, Self::InjectionFailed | Self::UnhealthyBefore | Self::InfraError | Self::Cancelled)
    }

    /// Whether the trial is over for good, so that `resume` does not run it again.
    pub fn settled(self) -> bool {
        !matches!(self, Self::InfraError | Self::Cancelled)
    }

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::NotRecovered => "not_recovered",
            Self::NoPlaybook => "no_playbook",
            Self::InvalidPlaybook => "invalid_playbook",
            Self::PlaybookFailed => "playbook_failed",
            Self::BudgetExhausted => "budget_exhausted",
            Self::InjectionFailed => "injection_failed",
            Self::UnhealthyBefore => "unhealthy_before",
            Self::InfraError => "infra_error",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The result of a trial: a row of trials.csv.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialFinished {
    /// What was planned.
    pub spec: TrialSpec,
    /// Category of the fault, for tables.
    pub category: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Verdict of the published checks; none when not taken.
    pub compat: Option<bool>,
    /// Verdict of the strict checks; none when not taken.
    pub strict: Option<bool>,
    /// `injector_removed`, `pod_recreated`, `restarted`, `scaled`, `limits_raised`, `limits_dropped`, `config_restored`, `other`, `nothing`; joined by `+`.
    pub strategy: String,
    /// Playbooks run.
    pub attempts: u32,
    /// Probe commands run.
    pub probes: u32,
    /// Tokens of all calls.
    pub usage: crate::model::Usage,
    /// Dollars; none without a price.
    pub cost_usd: Option<f64>,
    /// Real seconds of model calls.
    pub model_s: f64,
    /// Real seconds of playbooks.
    pub playbook_s: f64,
    /// The cluster's seconds from the end of `confirm` to the end of the method, model time apart.
    pub remediation_s: f64,
    /// Real seconds of the whole trial.
    pub total_s: f64,
    /// The cluster's seconds in which the target did not serve, from injection confirmed to the verdict; none when not measured.
    pub downtime_s: Option<f64>,
    /// Requests failed at the entry services in that time; none when not measured.
    pub failed_requests: Option<u64>,
    /// Other workloads changed.
    pub collateral: Vec<String>,
    /// Real milliseconds by stage, in order of first entry.
    pub stages_ms: Vec<(String, f64)>,
    /// The harness's own real milliseconds: everything but model, children and cluster waits.
    pub overhead_ms: f64,
    /// For outcomes that need one: what went wrong, one line.
    pub error: String,
}

/// Something stored beside the journal.
#[derive(Debug, Clone, PartialEq)]
pub enum Artifact {
    /// The conversation of a trial.
    Transcript {
        /// The trial.
        trial: TrialId,
        /// Its messages.
        messages: Vec<crate::model::Message>,
    },
    /// The requests that the API server of a trial served, where the cluster tells.
    Audit {
        /// The trial.
        trial: TrialId,
        /// Requests in order.
        requests: Vec<crate::cluster::AuditRecord>,
    },
}

/// An event or artifact could not be stored: the run must stop, since what happens next would be lost.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the results could not be written: {0}")]
pub struct SinkError(pub String);

/// Where events go: the journal, and then whoever shows them. Called by one task only.
pub trait Sink: Send {
    /// Stores an event durably, then shows it.
    ///
    /// # Errors
    /// When it could not be stored.
    fn event(&mut self, event: Event) -> Result<(), SinkError>;
    /// Stores an artifact.
    ///
    /// # Errors
    /// When it could not be stored.
    fn artifact(&mut self, artifact: Artifact) -> Result<(), SinkError>;
}
