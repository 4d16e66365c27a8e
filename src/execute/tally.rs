//! What a trial has used so far.

use std::time::Duration;

use crate::ansible::{Finish, PlaybookOutcome};
use crate::model::Usage;

/// What became of the latest playbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum LastPlaybook {
    /// There was none.
    #[default]
    None,
    /// It ran to its end.
    Ran,
    /// Ansible could not read it.
    Invalid,
    /// A task failed, it was cut off, or it ran nothing.
    Failed,
}

impl LastPlaybook {
    pub(super) fn of(outcome: &PlaybookOutcome) -> Self {
        if !outcome.valid {
            Self::Invalid
        } else if outcome.command.finish == Finish::Exited(0) && outcome.succeeded() {
            Self::Ran
        } else {
            Self::Failed
        }
    }
}

/// Counters of a trial.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) probes: u32,
    pub(super) attempts: u32,
    pub(super) usage: Usage,
    /// Turns in which the model was asked again because its call could not be used.
    pub(super) corrections: u32,
    /// Prompt tokens of the last call: as they were estimated, and as they were reported.
    pub(super) last_prompt: Option<(u64, u64)>,
    /// Completion tokens of the longest reply so far.
    pub(super) longest_reply: u64,
    pub(super) cost_usd: Option<f64>,
    pub(super) model: Duration,
    pub(super) playbook: Duration,
    /// Real time in children, playbooks and probes.
    pub(super) children: Duration,
    /// Real time in which the trial let the cluster's time pass.
    pub(super) waiting: Duration,
    pub(super) last: LastPlaybook,
    /// A budget ended the method.
    pub(super) exhausted: Option<String>,
    /// The cluster's time when the confirmed fault was handed to the method, and when the method ended.
    pub(super) remedy_ms: Option<(u64, u64)>,
    /// Real time by stage.
    pub(super) stages: Vec<(String, Duration)>,
}
