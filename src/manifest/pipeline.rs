//! pipelines/NAME.toml: methods, and the trial's own stages.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Role, ToolChoice};

/// A pipeline: a method, or the trial around it.
///
/// Expressions and templates see: `trial` (id, seed, repeat, index), `system` (name, namespace, runtime), `namespace`,
/// `fault` (name, title, category), `target`, `inventory` (text), `playbook_command`, `options`, `budgets`, `tools`
/// (names), `attempt` (playbooks run so far), `probes` (probe commands run so far), `reply` (of the last ask: `tool`,
/// `text`, `arguments`, `malformed`, `none`), `probe` (of the last probe: `stdout`, `stderr`, `exit`, `text`), `playbook`
/// (of the last run: `succeeded`, `exit`, `valid`, `timed_out`, `text`), `verdict` (of the last verify: `recovered`,
/// `checks`), `syntax` (of the last check-syntax: `valid`, `text`), `state` (what `set` steps have stored), `loop` in a repeat (`index` from 1). Before its first ask, probe, run or verify each of these four is as
/// `plan::blank_state` says: nothing called, nothing succeeded, nothing recovered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineManifest {
    /// Name; the file's name.
    pub name: String,
    /// What it is, one line.
    #[serde(default)]
    pub description: String,
    /// Values seen as `options.*`; experiments may override them.
    #[serde(default)]
    pub options: IndexMap<String, Value>,
    /// Values seen as `state.*`, as they are at first; `set` steps change them.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub state: IndexMap<String, Value>,
    /// Tools by name; the trial pipeline's are inherited by every method.
    #[serde(default)]
    pub tools: IndexMap<String, ToolManifest>,
    /// Check sets that apply to every fault, by name; merged into the fault's set of that name (stages appended to each stage's `all`).
    #[serde(default)]
    pub checks: IndexMap<String, Vec<super::fault::Check>>,
    /// What a model is told whose call could not be used; the trial pipeline's is inherited by every method. None: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
    /// The steps.
    pub steps: Vec<Step>,
    /// Steps that run whatever happened before (clean-up).
    #[serde(default)]
    pub finally: Vec<Step>,
    /// Of a method: whether the trial injects its fault. A method that calibrates the checks can leave the system whole.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub inject: bool,
    /// Of a method: what its trials must do whatever the model, where it calibrates the checks (`must-pass`, `must-fail`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<crate::model::ReferenceRole>,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(flag: &bool) -> bool {
    *flag
}

/// A turn in which the model may make good a call that could not be used: an unknown tool, arguments that are no JSON
/// object, or lack what the tool needs. `reply.malformed` says what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Prompt that answers the call.
    pub prompt: String,
    /// Such turns for one ask.
    #[serde(default = "once")]
    pub turns: u32,
}

fn once() -> u32 {
    1
}

/// A tool offered to the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolManifest {
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments.
    #[schemars(with = "Value")]
    pub parameters: Value,
}

/// One step. Externally tagged: `[[steps]] ask = { ... }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Add a message to the conversation.
    Say(Say),
    /// Ask the model for its next message.
    Ask(Ask),
    /// Run a shell command of the model.
    Probe(Probe),
    /// Run a playbook of the model.
    Playbook(Playbook),
    /// Have Ansible read a playbook without running it.
    CheckSyntax(CheckSyntax),
    /// Store a value.
    Set(Set),
    /// Judge by a check set of the fault.
    Verify(Verify),
    /// Let time pass.
    Wait(Wait),
    /// Repeat steps.
    Repeat(Repeat),
    /// Run steps on a condition.
    When(When),
    /// Deploy the system.
    Deploy(Deploy),
    /// Check that the system is healthy; else `unhealthy_before`.
    Healthy(Healthy),
    /// Remember the state of the namespace and the traffic as the baseline.
    Baseline(Baseline),
    /// Inject the fault, its undo journaled first.
    Inject(InjectStep),
    /// Confirm that the fault bit; else `injection_failed`.
    Confirm(ConfirmStep),
    /// Run the method.
    Remedy(Remedy),
    /// Take the fault away.
    Undo(UndoStep),
    /// Bring the system back to the baseline, or give the cluster up.
    Restore(Restore),
}

/// See [`Step::Say`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Say {
    /// Who speaks; `tool` answers the call of the last reply that has no answer yet.
    pub role: Role,
    /// Prompt file under prompts/, without `.md.j2`.
    pub prompt: String,
}

/// See [`Step::Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Names of the tools offered.
    pub tools: Vec<String>,
    /// Whether one must be called.
    #[serde(default)]
    pub tool_choice: ToolChoice,
}

/// See [`Step::Probe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Expression that yields the command line (`reply.arguments.cmds`).
    pub command: String,
    /// Time limit.
    pub timeout: String,
    /// Characters of output shown to the model.
    #[serde(default = "max_output")]
    pub max_output: usize,
    /// Prompt that renders the outcome as the tool's answer.
    pub answer: String,
}

fn max_output() -> usize {
    20_000
}

/// See [`Step::Playbook`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Playbook {
    /// Expression that yields the playbook's text (`reply.arguments.code`).
    pub code: String,
    /// Time limit.
    pub timeout: String,
    /// Characters of output shown to the model.
    #[serde(default = "max_output")]
    pub max_output: usize,
    /// Prompt that renders the outcome as the tool's answer; none: the call is not answered (the conversation ends there).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// See [`Step::CheckSyntax`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckSyntax {
    /// Expression that yields the playbook's text (`reply.arguments.code`). No text is not valid.
    pub code: String,
    /// Time limit.
    #[serde(default = "syntax_limit")]
    pub timeout: String,
    /// Characters of output shown to the model.
    #[serde(default = "max_output")]
    pub max_output: usize,
    /// Prompt that renders the outcome as the tool's answer; none: the call is not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

fn syntax_limit() -> String {
    "60s".to_owned()
}

/// See [`Step::Set`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Which of the pipeline's `state`.
    pub name: String,
    /// Expression that yields its new value (`state.drafts + [reply.arguments.code]`).
    pub value: String,
}

/// See [`Step::Verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Names of the check sets. In a method the first one is `verdict`; in the trial they are the trial's verdicts.
    pub checks: Vec<String>,
}

/// See [`Step::Wait`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// How long: a template (`10s`, `{{ options.wait }}`).
    #[serde(rename = "for")]
    pub duration: String,
}

/// See [`Step::Repeat`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// At most so many rounds: an expression (`options.t_max`).
    pub max: String,
    /// Stop after a round when this expression holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The outcome of the trial when the rounds are used up and `until` never held; none: go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhausted: Option<Exhausted>,
    /// The steps of a round.
    pub steps: Vec<Step>,
}

/// What it means that a repeat used up its rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    /// The trial ends with outcome `budget_exhausted` (verdicts are still taken).
    BudgetExhausted,
}

/// See [`Step::When`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Expression.
    #[serde(rename = "if")]
    pub condition: String,
    /// Steps when it holds.
    pub then: Vec<Step>,
    /// Steps when it does not.
    #[serde(default, rename = "else")]
    pub otherwise: Vec<Step>,
}

/// See [`Step::Deploy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {}

/// See [`Step::Healthy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Healthy {
    /// Check sets of the fault that must pass on the healthy system, too (so that a symptom is one).
    #[serde(default)]
    pub checks: Vec<String>,
    /// Redeploy at most so many times when it is not healthy.
    #[serde(default)]
    pub redeploys: u32,
}

/// See [`Step::Baseline`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// How long traffic is watched.
    pub watch: String,
}

/// See [`Step::Inject`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InjectStep {}

/// See [`Step::Confirm`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmStep {}

/// See [`Step::Remedy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remedy {}

/// See [`Step::Undo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoStep {}

/// See [`Step::Restore`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// Time until the system must be healthy again.
    pub timeout: String,
}
