//! Ansible, kubectl and the children that run a model's playbooks and probe commands.
//!
//! Inputs: a tools folder, a work folder, a playbook or a command line; outputs: what ran, as data. Knows nothing of
//! faults, systems or models. [`Toolchain`] installs and finds the tools, [`Workspace`] is the sandbox of one trial.

mod accept;
mod activity;
mod blocked;
mod child;
mod events;
mod machine;
mod network;
mod outcome;
mod output;
mod pins;
mod proxy;
mod python;
mod reading;
pub mod sandbox;
mod timekeeping;
mod toolchain;
mod warm;
mod workspace;

pub use activity::Activity;
pub use child::ChildError;
pub use machine::Machine;
pub use network::{Network, Serve, Serving, relay};
pub use outcome::{CommandOutcome, Finish, HostStats, PlaybookOutcome, TaskOutcome};
pub use output::OutputCap;
pub use pins::{PINS, Pins};
pub use proxy::{NamedHost, NamedHostError, Proxy};
pub use python::Python;
pub use reading::{Rules, Uses};
pub use timekeeping::Timekeeping;
pub use toolchain::{InstallStep, Toolchain, ToolsError, ToolsStatus, Versions};
pub use warm::{Warm, WarmError, WarmInterpreters};
pub use workspace::{SHIMS, Workspace, WorkspaceSpec};
