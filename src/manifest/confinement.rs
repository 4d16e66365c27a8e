//! `[sandbox]` and `[policy]` of an experiment: what playbooks and probes are confined by, and what they may ask for.

use serde::{Deserialize, Serialize};

use super::quantity::{self, QuantityError};
use crate::ansible::sandbox::Limits;
use crate::ansible::{NamedHost, NamedHostError, Rules};
use crate::cluster::Denial;

/// What holds a model's playbooks and probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxSection {
    /// `required`: no run without files and network confined; `best-effort`: whatever the machine offers; `off`: nothing,
    /// for which `run` wants `--no-sandbox` as well.
    pub mode: String,
    /// Processes and threads at a time, of one playbook or probe.
    pub processes: u64,
    /// Memory of all of them.
    pub memory: String,
    /// Size of one file.
    pub file: String,
    /// Size of all files of the trial's folder.
    pub disk: String,
    /// Playbooks and their modules are forks of interpreters that have everything imported; `false`: each starts Ansible anew,
    /// with the same results, later.
    pub warm: bool,
    /// Hosts that playbooks and probes may connect to beside the cluster, through a proxy that `http_proxy` and `https_proxy`
    /// name: `pypi.org` (ports 80 and 443), `*.example.com`, `10.0.0.5:8080`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

impl Default for SandboxSection {
    fn default() -> Self {
        Self {
            mode: "required".to_owned(),
            processes: 512,
            memory: "2Gi".to_owned(),
            file: "128Mi".to_owned(),
            disk: "256Mi".to_owned(),
            warm: true,
            hosts: Vec::new(),
        }
    }
}

impl SandboxSection {
    /// Values of `mode`.
    pub const MODES: [&'static str; 3] = ["required", "best-effort", "off"];

    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What can change a trial's result: the limits, and whom it reaches.
    pub fn of_a_trial(&self) -> Option<Self> {
        let Self { mode, warm, .. } = Self::default();
        let limits = Self { mode, warm, ..self.clone() };
        (!limits.is_default()).then_some(limits)
    }

    /// The hosts. `check` finds what is wrong with them beforehand.
    pub fn named_hosts(&self) -> Result<Vec<NamedHost>, NamedHostError> {
        self.hosts.iter().map(|text| text.parse()).collect()
    }

    /// The limits as numbers. `check` finds what is wrong with them beforehand.
    pub fn limits(&self) -> Result<Limits, QuantityError> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "quantities are positive and far below 2^53")]
        let bytes = |text: &str| quantity::parse(text).map(|n| n as u64);
        Ok(Limits {
            processes: self.processes,
            memory: bytes(&self.memory)?,
            file: bytes(&self.file)?,
            disk: bytes(&self.disk)?,
            ..Limits::default()
        })
    }
}

/// What a playbook may ask for; what breaks it is not run, and counts as failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySection {
    /// Modules that no playbook may use, by their last name (`shell`) or in full.
    pub deny_modules: Vec<String>,
    /// Hosts that no play may run on or delegate to.
    pub deny_hosts: Vec<String>,
    /// Playbooks run in Ansible's check mode: they say what they would change.
    pub dry_run: bool,
    /// What playbooks and probes may not do in the cluster, whatever `agent.rights` says: `VERB RESOURCE[/SUBRESOURCE][.GROUP]`
    /// such as `delete namespaces`, `update deployments.apps`, `* secrets`. The API server holds it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_verbs: Vec<String>,
    /// A person at the terminal is shown each playbook before it runs, and says whether it may.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ask: bool,
}

impl PolicySection {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The rules as those need them who run playbooks.
    pub fn rules(&self) -> Rules {
        Rules { deny_modules: self.deny_modules.clone(), deny_hosts: self.deny_hosts.clone(), dry_run: self.dry_run }
    }

    /// What the agent may not do in the cluster. `check` finds what is wrong with them beforehand.
    pub fn denials(&self) -> Result<Vec<Denial>, String> {
        self.deny_verbs.iter().map(|text| text.parse()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sections_defaults_are_the_limits_defaults() {
        assert_eq!(SandboxSection::default().limits().unwrap(), Limits::default());
        assert_eq!(SandboxSection { mode: "off".to_owned(), ..SandboxSection::default() }.of_a_trial(), None);
        let more = SandboxSection { processes: 9, ..SandboxSection::default() };
        assert_eq!(more.of_a_trial(), Some(more.clone()));
        assert!(SandboxSection { disk: "much".to_owned(), ..SandboxSection::default() }.limits().is_err());
    }
}
