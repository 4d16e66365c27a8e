//! What a playbook would do, read from its text before it is run: modules, hosts, lookups.
//!
//! Input: the text; output: names, and which rules they break. Names that a playbook computes are seen as they are
//! written (`{{ ... }}`); the sandbox, not this reading, is what holds.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Tasks in tasks are followed so deep.
const DEEPEST: usize = 32;
/// Keys that hold lists of tasks.
const LISTS: [&str; 7] = ["tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"];
/// Keys of plays and tasks that are no module.
const KEYWORDS: [&str; 62] = [
    "action",
    "always",
    "any_errors_fatal",
    "args",
    "async",
    "become",
    "become_exe",
    "become_flags",
    "become_method",
    "become_user",
    "block",
    "changed_when",
    "check_mode",
    "collections",
    "connection",
    "debugger",
    "delay",
    "delegate_facts",
    "delegate_to",
    "diff",
    "environment",
    "fact_path",
    "failed_when",
    "force_handlers",
    "gather_facts",
    "gather_subset",
    "gather_timeout",
    "handlers",
    "hosts",
    "ignore_errors",
    "ignore_unreachable",
    "listen",
    "local_action",
    "loop",
    "loop_control",
    "max_fail_percentage",
    "module_defaults",
    "name",
    "no_log",
    "notify",
    "order",
    "poll",
    "port",
    "post_tasks",
    "pre_tasks",
    "register",
    "remote_user",
    "rescue",
    "retries",
    "roles",
    "run_once",
    "serial",
    "strategy",
    "tags",
    "tasks",
    "throttle",
    "timeout",
    "until",
    "vars",
    "vars_files",
    "vars_prompt",
    "when",
];

/// What a playbook uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uses {
    /// Modules, as they are written.
    pub modules: BTreeSet<String>,
    /// Hosts that plays run on and tasks are delegated to.
    pub hosts: BTreeSet<String>,
    /// Other ways of connecting than the inventory's.
    pub connections: BTreeSet<String>,
    /// Lookups, which run where Ansible runs.
    pub lookups: BTreeSet<String>,
}

/// What playbooks may not do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Modules, by their last name or in full.
    pub deny_modules: Vec<String>,
    /// Hosts.
    pub deny_hosts: Vec<String>,
    /// Ansible's check mode.
    pub dry_run: bool,
}

impl Uses {
    /// Reads a playbook; what is no playbook uses nothing.
    pub fn of(playbook: &str) -> Self {
        let mut uses = Self::default();
        if let Ok(Value::Array(plays)) = serde_saphyr::from_str::<Value>(playbook) {
            for play in &plays {
                uses.play_or_task(play, 0);
            }
        }
        uses
    }

    fn play_or_task(&mut self, value: &Value, depth: usize) {
        let Value::Object(map) = value else { return };
        if depth > DEEPEST {
            return;
        }
        for key in ["hosts", "delegate_to"] {
            self.hosts.extend(words(map.get(key)));
        }
        self.connections.extend(words(map.get("connection")));
        for key in LISTS {
            for task in map.get(key).and_then(Value::as_array).into_iter().flatten() {
                self.play_or_task(task, depth + 1);
            }
        }
        for key in ["action", "local_action"] {
            let named = map.get(key).and_then(|action| match action {
                Value::String(text) => text.split_whitespace().next(),
                other => other.get("module").and_then(Value::as_str),
            });
            self.modules.extend(named.map(str::to_owned));
        }
        let play = map.contains_key("hosts");
        for key in map.keys().filter(|k| !KEYWORDS.contains(&k.as_str())) {
            if let Some(lookup) = key.strip_prefix("with_") {
                self.lookups.insert(lookup.to_owned());
            } else if !play || key.contains("import_playbook") {
                self.modules.insert(key.clone());
            }
        }
        self.lookups_in(map);
    }

    fn lookups_in(&mut self, map: &Map<String, Value>) {
        for (key, value) in map.iter().filter(|(k, _)| !LISTS.contains(&k.as_str())) {
            let text = if key == "when" { format!("{{{{ {value} }}}}") } else { value.to_string() };
            for call in ["lookup(", "query(", "q("] {
                for rest in text.split(call).skip(1) {
                    let name = rest.trim_start_matches(['\'', '"', '\\', ' ']);
                    let name: String = name.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '.')).collect();
                    if !name.is_empty() {
                        self.lookups.insert(name);
                    }
                }
            }
        }
    }

    /// What of it is denied, one text each.
    pub fn denied(&self, rules: &Rules) -> Vec<String> {
        let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
        let modules = self.modules.iter().filter(|m| rules.deny_modules.iter().any(|d| d == *m || *d == last(m)));
        let hosts = self.hosts.iter().filter(|h| rules.deny_hosts.contains(h));
        modules.map(|m| format!("the module {m}")).chain(hosts.map(|h| format!("the host {h}"))).collect()
    }
}

/// A text, a text with commas, or a list of texts.
fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) if text.contains("{{") => vec![text.clone()],
        Some(Value::String(text)) => text.split([',', ':']).map(|h| h.trim().to_owned()).filter(|h| !h.is_empty()).collect(),
        Some(Value::Array(list)) => list.iter().flat_map(|v| words(Some(v))).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    const PLAYBOOK: &str = "
- hosts: k3s_control_plane, web
  connection: local
  vars:
    secret: \"{{ lookup('file', '/etc/shadow') }}\"
  tasks:
    - name: one
      ansible.builtin.shell: kubectl get pods
      register: pods
      delegate_to: other
    - block:
        - kubernetes.core.k8s: {state: absent}
      rescue:
        - local_action: command id
    - debug: msg=hi
      with_pipe: id
      when: query(\"url\", 'http://x') is defined
";

    #[test]
    fn modules_hosts_and_lookups_are_found() {
        let uses = Uses::of(PLAYBOOK);
        assert_eq!(uses.modules, set(&["ansible.builtin.shell", "command", "debug", "kubernetes.core.k8s"]));
        assert_eq!(uses.hosts, set(&["k3s_control_plane", "other", "web"]));
        assert_eq!(uses.connections, set(&["local"]));
        assert_eq!(uses.lookups, set(&["file", "pipe", "url"]));
    }

    #[test]
    fn what_is_no_playbook_uses_nothing() {
        for text in ["", "kind: Pod", "- - -", "{", "[1, 2]"] {
            assert_eq!(Uses::of(text), Uses::default(), "{text}");
        }
    }

    #[test]
    fn rules_name_modules_in_full_or_by_their_last_name() {
        let rules = |modules: &[&str], hosts: &[&str]| Rules {
            deny_modules: modules.iter().map(ToString::to_string).collect(),
            deny_hosts: hosts.iter().map(ToString::to_string).collect(),
            dry_run: false,
        };
        let uses = Uses::of(PLAYBOOK);
        assert_eq!(uses.denied(&rules(&["shell", "ansible.builtin.debug"], &[])), ["the module ansible.builtin.shell"]);
        assert_eq!(uses.denied(&rules(&["kubernetes.core.k8s"], &["other"])), ["the module kubernetes.core.k8s", "the host other"]);
        assert!(uses.denied(&Rules::default()).is_empty());
    }
}
