//! faults/NAME.toml.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A fault: how it is injected, confirmed, judged, undone and, for reference, repaired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultManifest {
    /// Name; the file's name.
    pub name: String,
    /// Group shown in tables (`resource`, `network`, `application`).
    pub category: String,
    /// What the prompts call it.
    pub title: String,
    /// What it is, for people.
    #[serde(default)]
    pub description: String,
    /// Values that templates see as `params.*`; experiments may override them.
    #[serde(default)]
    pub params: IndexMap<String, Value>,
    /// How it is injected.
    pub inject: Inject,
    /// When it counts as injected.
    pub confirm: Confirm,
    /// Check sets by name: `compat` and `strict`.
    pub checks: IndexMap<String, CheckSet>,
    /// How it is taken away.
    pub undo: Undo,
    /// Reference repair: a template of a playbook, relative to faults/.
    pub gold: Gold,
}

/// How a fault is injected. Externally tagged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Inject {
    /// Objects to create.
    Apply(Apply),
    /// A patch of existing objects.
    Patch(Patch),
    /// Pods to delete, so that their controllers make them anew.
    Evict(Evict),
    /// Several of these, in order: one fault that needs more than one change, or several faults at once.
    All(Vec<Inject>),
}

impl Inject {
    /// The single injections, in order.
    pub fn parts(&self) -> Vec<&Inject> {
        match self {
            Inject::All(list) => list.iter().flat_map(Inject::parts).collect(),
            one => vec![one],
        }
    }
}

/// Pods to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evict {
    /// Label selector: a template.
    #[serde(default = "of_target")]
    pub selector: String,
}

fn of_target() -> String {
    "app={{ target }}".to_owned()
}

/// Objects to create: a template of YAML documents, relative to faults/.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// The template. It sees `system`, `namespace`, `target`, `service`, `params`, `fault`, `trial`.
    pub template: String,
}

/// A patch of one existing object, or of all of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// API version of the object.
    pub api_version: String,
    /// Kind: a template (`{{ service.kind }}`).
    pub kind: String,
    /// Name: a template; none: every object of that kind (of the namespace, where the kind has them).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `strategic`, `merge` or `json`.
    #[serde(default = "strategic", rename = "type")]
    pub patch_type: String,
    /// The patch: a template of YAML or JSON, relative to faults/.
    pub template: String,
}

fn strategic() -> String {
    "strategic".to_owned()
}

/// When a fault counts as injected: the injector says so AND the symptom holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// A status condition of every injected object that must be True; none: nothing to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The check set whose *failure* is the symptom.
    pub symptom: String,
    /// How long the symptom must hold without a break.
    pub hold: String,
    /// Pause between samples.
    #[serde(default = "poll")]
    pub poll: String,
    /// Give up after this: `injection_failed`.
    pub timeout: String,
}

fn poll() -> String {
    "2s".to_owned()
}

/// Checks that must all pass: stages, one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckSet {
    /// Wait so long for the target's pods to be Ready before measuring; on expiry the stages run all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_wait: Option<String>,
    /// Pause between polls of that wait.
    #[serde(default = "ready_poll")]
    pub ready_poll: String,
    /// Let things settle before the first sample.
    #[serde(default = "zero")]
    pub settle: String,
    /// The stages; each must pass.
    pub stages: Vec<Stage>,
}

fn ready_poll() -> String {
    "10s".to_owned()
}

fn zero() -> String {
    "0s".to_owned()
}

/// Sampled until `need` samples in a row are clean (pass) or the window ends (fail).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Wait so long for the target's pods to be Ready before this stage; on expiry it runs all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_wait: Option<String>,
    /// How long it may take.
    pub window: String,
    /// Pause between samples.
    #[serde(default = "poll")]
    pub poll: String,
    /// Clean samples in a row that pass.
    #[serde(default = "one")]
    pub need: u32,
    /// A sample is clean when all of these pass.
    pub all: Vec<Check>,
}

fn one() -> u32 {
    1
}

/// One check of one sample. Externally tagged: `{ usage = { ... } }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Usage / limit of every container of the target's pods.
    Usage(UsageCheck),
    /// Echo requests from every pod of the target.
    Ping(PingCheck),
    /// A command in every pod of the target.
    Exec(ExecCheck),
    /// Every pod of the target is Running and Ready (and, on request, measured).
    Ready(ReadyCheck),
    /// Containers of the target carry limits (and, on request, the deployed ones).
    Limits(LimitsCheck),
    /// Requests through the service are as good as before the fault.
    Requests(RequestsCheck),
    /// All other workloads are as ready as before, and none lost replicas.
    Others(OthersCheck),
    /// The fault did not end by its own duration.
    NotExpired(NotExpiredCheck),
    /// Fields of the deployed objects have their deployed values again.
    Restored(RestoredCheck),
    /// Objects of the cluster are as an expression says.
    Object(ObjectCheck),
}

/// See [`Check::Object`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectCheck {
    /// API version.
    pub api_version: String,
    /// Kind: a template (`{{ service.kind }}`).
    pub kind: String,
    /// Name: a template; an object that is missing fails. None: every object of that kind, of which there may be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Must hold of each: an expression over `object` and what other templates of the fault see
    /// (`object.status.readyReplicas == object.spec.replicas`).
    pub pass: String,
}

/// See [`Check::Usage`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageCheck {
    /// `cpu` or `memory`.
    pub resource: String,
    /// Passes below this ratio.
    pub below: f64,
    /// Containers whose name contains one of these are not looked at.
    #[serde(default)]
    pub skip_containers: Vec<String>,
    /// A container without a limit: `skip` or `fail`.
    #[serde(default = "fail")]
    pub without_limit: String,
    /// The denominator: `current` limit, or the `deployed` one (so that raising the limit does not pass).
    #[serde(default = "current")]
    pub limit: String,
    /// `fresh`: pods are listed for each sample, and one without metrics fails; `frozen`: pods are listed once, after the
    /// ready wait, rows of other pods are skipped, and what has no row is not looked at.
    #[serde(default = "fresh")]
    pub pods: String,
    /// Usage as `kubectl top` prints it: in whole millicores, rounded up; in whole mebibytes, rounded down.
    #[serde(default)]
    pub rounded: bool,
}

fn fail() -> String {
    "fail".to_owned()
}

fn current() -> String {
    "current".to_owned()
}

fn fresh() -> String {
    "fresh".to_owned()
}

/// See [`Check::Ping`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PingCheck {
    /// Host: a template (`8.8.8.8`).
    pub host: String,
    /// Packets.
    pub count: u32,
    /// Reply wait in seconds.
    pub wait_s: u32,
    /// Largest loss that passes, in percent.
    pub max_loss_percent: f64,
    /// Largest mean round trip that passes, in ms.
    pub max_average_ms: f64,
    /// Container tried first; none: the pod's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Container tried when the first has no `ping`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_container: Option<String>,
}

/// See [`Check::Exec`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecCheck {
    /// Command and arguments: templates.
    pub command: Vec<String>,
    /// Container; none: the pod's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Whose pods run it: `target`, all of them; `peer`, one ready pod of another service; `probe`, the target's again, in the
    /// service's probe container; `peer-probe`, that of the other service.
    #[serde(default = "target")]
    pub from: String,
    /// Time limit; reaching it fails.
    pub timeout: String,
    /// What `value` is: `output`, the last line, which must be a number; or `elapsed`, the milliseconds that the command
    /// took, which asks nothing of the clock in the image.
    #[serde(default = "output")]
    pub measure: String,
    /// `value` must pass this minijinja expression over `value` (`value <= 1000`).
    pub pass: String,
    /// The exit code must be 0.
    #[serde(default)]
    pub exit_zero: bool,
}

fn output() -> String {
    "output".to_owned()
}

fn target() -> String {
    "target".to_owned()
}

/// See [`Check::Ready`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadyCheck {
    /// The metrics API must know the pods.
    #[serde(default)]
    pub metrics: bool,
    /// At least the deployed number of pods, and none being deleted or superseded.
    #[serde(default)]
    pub full: bool,
}

/// See [`Check::Limits`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsCheck {
    /// Limits may be at most so many times the deployed ones.
    #[serde(default = "double")]
    pub at_most_times: f64,
}

fn double() -> f64 {
    2.0
}

/// See [`Check::Requests`]. Measured from the traffic where the cluster offers it; passes with a note elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestsCheck {
    /// Seconds looked back.
    pub window_s: u32,
    /// Error rate may exceed the baseline's by this.
    pub max_extra_error_rate: f64,
    /// Mean latency may be so many times the baseline's.
    pub max_latency_times: f64,
}

/// See [`Check::Others`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OthersCheck {}

/// See [`Check::NotExpired`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotExpiredCheck {}

/// See [`Check::Restored`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoredCheck {
    /// Paths in the target's Deployment that must not be lower than deployed (`resources.limits`, `resources.requests`).
    pub resources_at_least: f64,
}

/// How a fault is taken away. Externally tagged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// Delete the injected objects; finalizers are emptied when they are still there after the time-out.
    Delete(UndoDelete),
    /// Bring the patched objects back to their state before the injection.
    Restore(UndoRestore),
    /// Both, and on request delete the target's pods, so that nothing of the fault lives on in them.
    All(UndoAll),
}

/// See [`Undo::All`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoAll {
    /// Wait so long for the objects applied to go.
    pub timeout: String,
    /// Delete the target's pods afterwards.
    #[serde(default)]
    pub evict: bool,
}

/// See [`Undo::Delete`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoDelete {
    /// Wait so long for the objects to go.
    pub timeout: String,
}

/// See [`Undo::Restore`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoRestore {}

/// The reference repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gold {
    /// Template of the playbook, relative to faults/.
    pub playbook: String,
}
