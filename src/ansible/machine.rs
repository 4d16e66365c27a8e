//! What facts say of this machine and what stays the same while a run lasts: processors, devices, distribution. Asking takes
//! longer than everything else about facts, and every playbook that gathers facts asks.
//!
//! Input: the tools and the sandbox; output: a file with what a playbook of our own found, in a sandbox like those of trials,
//! from which forks of the warm interpreters then answer (`python/microremed_warm.py`). What a model's playbook found is never
//! told to another's. All other facts are gathered anew each time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::network::Network;
use super::reading::Rules;
use super::sandbox::Confinement;
use super::timekeeping::Timekeeping;
use super::toolchain::Toolchain;
use super::warm::Warm;
use super::workspace::{Workspace, WorkspaceSpec};
use crate::diagnostic::chain;

/// Where forks find what is known.
pub(super) const KNOWN: &str = "MICROREMED_MACHINE";
/// Where forks put down what they find.
pub(super) const FOUND: &str = "MICROREMED_MACHINE_FOUND";
const PLAYBOOK: &str = "- hosts: localhost\n  gather_facts: true\n  tasks: []\n";
const LIMIT: Duration = Duration::from_mins(2);
/// Of what is found; more is no machine.
const LARGEST: u64 = 4 << 20;

/// What is known of this machine, by everybody in a run. Whoever finds it out ends with the last of them: it has the warm interpreters,
/// which are to end with the run.
#[derive(Debug, Clone)]
pub struct Machine {
    state: Arc<State>,
    _learning: Arc<JoinSet<()>>,
}

#[derive(Debug)]
struct State {
    asked: Notify,
    known: OnceLock<PathBuf>,
}

impl Machine {
    /// Finds out when it is first asked to. `place`: a folder for what it needs.
    pub fn begin(tools: Toolchain, warm: Warm, sandbox: Confinement, place: PathBuf, cancel: CancellationToken) -> Self {
        let state = Arc::new(State { asked: Notify::new(), known: OnceLock::new() });
        let mut learning = JoinSet::new();
        learning.spawn({
            let state = Arc::clone(&state);
            async move {
                tokio::select! {
                    () = state.asked.notified() => {}
                    () = cancel.cancelled() => return,
                }
                match learn(&tools, warm, sandbox, &place, &cancel).await {
                    Ok(file) => drop(state.known.set(file)),
                    Err(why) => tracing::debug!("{why}; facts are gathered anew each time"),
                }
            }
        });
        Self { state, _learning: Arc::new(learning) }
    }

    /// Somebody gathers facts: others will, too.
    pub(super) fn ask(&self) {
        if self.state.known.get().is_none() {
            self.state.asked.notify_one();
        }
    }

    /// What is known; none: nothing yet.
    pub(super) fn known(&self) -> Option<&Path> {
        self.state.known.get().map(PathBuf::as_path)
    }
}

/// Whether a playbook seems to gather facts. If it does and this says no, they are gathered anew.
pub(super) fn gathers(playbook: &str) -> bool {
    let plays = playbook.matches("hosts:").count();
    let without = ["gather_facts: false", "gather_facts: no", "gather_facts: False"].map(|t| playbook.matches(t).count()).iter().sum();
    plays > without || playbook.contains("setup:") || playbook.contains("gather_facts:\n")
}

async fn learn(tools: &Toolchain, warm: Warm, sandbox: Confinement, place: &Path, cancel: &CancellationToken) -> Result<PathBuf, String> {
    let mut spec = WorkspaceSpec::plain(place.join("machine"), String::new(), "k3s_control_plane");
    spec.sandbox = Some(sandbox);
    spec.warm = Some(warm);
    spec.network = Network { proxy: None, ..Network::default() };
    let workspace = Workspace::create(spec, tools).map_err(|e| e.to_string())?;
    let found = workspace.work().join("found");
    fs_err::create_dir_all(&found).map_err(|e| e.to_string())?;
    let played = workspace
        .play(tools, PLAYBOOK, &[(FOUND.to_owned(), found.clone().into())], &Rules::default(), LIMIT, &Timekeeping::real(), cancel)
        .await
        .map_err(|e| chain(&e))?;
    let mut all = BTreeMap::new();
    for entry in fs_err::read_dir(&found).map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| e.to_string())?;
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if entry.metadata().is_ok_and(|m| m.len() < LARGEST) {
            let text = fs_err::read_to_string(&path).map_err(|e| e.to_string())?;
            serde_json::from_str::<IgnoredAny>(&text).map_err(|e| e.to_string())?;
            all.insert(name, text);
        }
    }
    if all.is_empty() {
        return Err(format!("failed to learn about this machine: {:?}", played.command.finish));
    }
    let file = place.join("machine.json");
    // As they were written down: in their order, which playbooks may see.
    let parts: Vec<String> = all.iter().map(|(name, text)| format!("{}: {text}", Value::from(name.as_str()))).collect();
    fs_err::write(&file, format!("{{{}}}", parts.join(", "))).map_err(|e| e.to_string())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn playbooks_that_gather_facts_are_told_from_others() {
        assert!(gathers("- hosts: all\n  tasks: []\n"));
        assert!(gathers("- hosts: all\n  gather_facts: yes\n"));
        assert!(!gathers("- hosts: all\n  gather_facts: false\n  tasks: []\n"));
        assert!(gathers("- hosts: all\n  gather_facts: false\n- hosts: b\n"));
        assert!(gathers("- hosts: all\n  gather_facts: no\n  tasks:\n    - ansible.builtin.setup:\n"));
    }
}
