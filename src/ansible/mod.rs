//! Ansible, kubectl and the children that run a model's playbooks and probe commands.
//!
//! Inputs: a tools folder, a work folder, a playbook or a command line; outputs: what ran, as data. Knows nothing of
//! faults, systems or models. [`Toolchain`] installs and finds the tools, [`Workspace`] is the sandbox of one trial.

mod outcome;

pub use outcome::{CommandOutcome, Finish, HostStats, PlaybookOutcome, TaskOutcome};
