//! What templates and expressions may refer to. A scope is a tree; `null` stands for anything.

use serde_json::{Map, Value, json};

use crate::diagnostic::did_you_mean;
use crate::manifest::{FaultManifest, PipelineManifest};

/// `Err(advice)` when a scope does not have a name such as `fault.title`.
pub(super) fn find(name: &str, scope: &Value) -> Result<(), Option<String>> {
    let mut place = scope;
    let mut path = String::new();
    for part in name.split('.') {
        let Some(map) = place.as_object() else { return Ok(()) };
        let Some(next) = map.get(part) else {
            let known: Vec<String> = map.keys().map(|k| format!("{path}{k}")).collect();
            let all = || (!known.is_empty()).then(|| format!("known: `{}`", known.join("`, `")));
            return Err(did_you_mean(&format!("{path}{part}"), known.iter().map(String::as_str)).or_else(all));
        };
        place = next;
        path = format!("{path}{part}.");
    }
    Ok(())
}

fn keys<'a>(names: impl IntoIterator<Item = &'a String>) -> Value {
    Value::Object(names.into_iter().map(|n| (n.clone(), Value::Null)).collect::<Map<_, _>>())
}

fn join(base: Value, more: Value) -> Value {
    match (base, more) {
        (Value::Object(mut base), Value::Object(more)) => {
            base.extend(more);
            Value::Object(base)
        }
        (base, _) => base,
    }
}

/// Templates of a system.
pub(super) fn system() -> Value {
    json!({ "system": { "name": null, "namespace": null, "runtime": null, "vars": null }, "services": null, "namespace": null, "vars": null })
}

fn trial_facts() -> Value {
    let more = json!({
        "trial": { "id": null, "seed": null, "repeat": null, "index": null },
        "fault": { "name": null, "title": null, "category": null },
        "target": null,
        "service": null,
        "container": null,
    });
    join(system(), more)
}

/// Templates of a fault.
pub(super) fn fault(fault: &FaultManifest) -> Value {
    join(trial_facts(), json!({ "params": keys(fault.params.keys()) }))
}

/// Templates in checks: `target_pod_ips` are the target's pods, `peer_ip` a ready pod of another workload, or empty.
pub(super) fn check(manifest: &FaultManifest) -> Value {
    join(fault(manifest), json!({ "target_pod_ips": null, "peer_ip": null }))
}

/// Expressions, templates and prompts of a pipeline.
pub(super) fn pipeline(manifest: &PipelineManifest, in_repeat: bool) -> Value {
    let budgets = serde_json::to_value(crate::manifest::Budgets::default()).unwrap_or_default();
    let budgets = keys(budgets.as_object().into_iter().flatten().map(|(k, _)| k));
    let more = json!({
        "params": null,
        "inventory": null,
        "playbook_command": null,
        "options": keys(manifest.options.keys()),
        "budgets": budgets,
        "tools": null,
        "attempt": null,
        "probes": null,
        "reply": { "tool": null, "text": null, "arguments": null, "malformed": null, "none": null },
        "probe": { "stdout": null, "stderr": null, "exit": null, "text": null },
        "playbook": { "succeeded": null, "exit": null, "valid": null, "timed_out": null, "text": null },
        "verdict": { "recovered": null, "checks": null },
        "syntax": { "valid": null, "text": null },
        "state": keys(manifest.state.keys()),
    });
    let scope = join(trial_facts(), more);
    if in_repeat { join(scope, json!({ "loop": { "index": null } })) } else { scope }
}

/// Turns of a scripted model.
pub(super) fn scripted() -> Value {
    json!({ "tools": null, "turn": null, "messages": null, "trial": null, "system": null, "gold": null, "namespace": null, "target": null, "kind": null, "container": null, "fault": null })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_followed_to_the_leaf() {
        let scope = json!({ "fault": { "name": null }, "vars": null });
        assert_eq!(find("fault.name", &scope), Ok(()));
        assert_eq!(find("vars.anything.below", &scope), Ok(()));
        assert_eq!(find("fault.nmae", &scope), Err(Some("did you mean `fault.name`?".to_owned())));
        assert_eq!(find("falut", &scope), Err(Some("did you mean `fault`?".to_owned())));
    }
}
