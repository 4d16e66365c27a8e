//! What a child process did.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// With this exit code.
    Exited(i32),
    /// Killed by this signal.
    Signalled(i32),
    /// Killed by us: the time limit was reached.
    TimedOut,
}

/// A probe command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandOutcome {
    /// How it ended.
    pub finish: Finish,
    /// Standard output, capped.
    pub stdout: String,
    /// Standard error, capped.
    pub stderr: String,
    /// Bytes cut off at the caps.
    pub dropped_bytes: u64,
    /// Real seconds.
    pub real_s: f64,
    /// Seconds of the cluster's time.
    pub cluster_s: f64,
    /// Limits of the sandbox that it was ended for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contained: Vec<String>,
}

/// One task on one host, from Ansible's JSON events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskOutcome {
    /// Task name.
    pub task: String,
    /// Host.
    pub host: String,
    /// Module (`kubernetes.core.k8s`, `ansible.builtin.shell`).
    pub action: String,
    /// `ok`, `changed`, `failed`, `skipped`, `unreachable`, `ignored`.
    pub status: String,
    /// The start of its message, standard output or error.
    pub message: String,
}

/// Ansible's final counts for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostStats {
    /// Tasks that went well.
    pub ok: u64,
    /// Tasks that changed something.
    pub changed: u64,
    /// Tasks that failed.
    pub failures: u64,
    /// Failures ignored.
    pub ignored: u64,
    /// Tasks skipped.
    pub skipped: u64,
    /// Host unreachable.
    pub unreachable: u64,
}

/// A playbook run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlaybookOutcome {
    /// The process: what a person would see on the terminal (`stdout` is Ansible's text output).
    pub command: CommandOutcome,
    /// Tasks in order.
    pub tasks: Vec<TaskOutcome>,
    /// Counts by host; empty when no host matched or nothing ran.
    pub stats: BTreeMap<String, HostStats>,
    /// False: Ansible could not even read it (no YAML, no play, unknown module): nothing ran.
    pub valid: bool,
}

impl PlaybookOutcome {
    /// Exit code 0 and at least one task ran.
    pub fn succeeded(&self) -> bool {
        self.command.finish == Finish::Exited(0) && !self.tasks.is_empty()
    }

    /// Of a playbook that was not run, and what forbade it.
    pub fn refused(denied: &[String]) -> Self {
        let command = CommandOutcome {
            finish: Finish::Exited(1),
            stdout: String::new(),
            stderr: format!("The playbook was not run. This experiment's policy denies: {}.\n", denied.join(", ")),
            dropped_bytes: 0,
            real_s: 0.0,
            cluster_s: 0.0,
            contained: denied.iter().map(|d| format!("denied by the policy: {d}")).collect(),
        };
        Self { command, tasks: Vec::new(), stats: BTreeMap::new(), valid: true }
    }

    /// Of a playbook that a person did not let run.
    pub fn disapproved() -> Self {
        let mut outcome = Self::refused(&[]);
        "The playbook was not run. A person was asked and said no.\n".clone_into(&mut outcome.command.stderr);
        outcome.command.contained = vec!["denied by a person".to_owned()];
        outcome
    }
}
