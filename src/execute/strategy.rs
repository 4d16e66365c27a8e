//! How a repair was done: the difference between the baseline and the cluster after the method, and the audit log.

use serde_json::Value;

use super::baseline::{Baseline, label, objects, text};
use crate::cluster::{Cluster, ClusterError, ObjectRef};

/// The user whose writes count as the method's.
const AGENT: &str = "agent";

/// Classes of repair, in the order in which they are named.
const ORDER: [&str; 9] =
    ["injector_removed", "config_restored", "limits_raised", "limits_dropped", "scaled", "restarted", "pod_recreated", "other", "nothing"];

/// What the method did.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Audit {
    /// Classes joined by `+`, in a fixed order; `nothing` when the agent wrote nothing.
    pub(super) strategy: String,
    /// Changed, new and missing objects that belong to other services than the target.
    pub(super) collateral: Vec<String>,
}

/// What is compared with what.
pub(super) struct Scene<'a> {
    pub(super) namespace: &'a str,
    pub(super) target: &'a str,
    pub(super) baseline: &'a Baseline,
    /// Objects that the injection created.
    pub(super) injected: &'a [ObjectRef],
    /// Objects that the injection patched: as they were, and as they were made.
    pub(super) patched: &'a [(ObjectRef, Value, Value)],
    /// The cluster's time when the method began.
    pub(super) since_ms: u64,
}

/// Compares the cluster with the baseline.
pub(super) async fn audit(cluster: &Cluster, scene: &Scene<'_>) -> Result<Audit, ClusterError> {
    let Scene { namespace, target, baseline, injected, patched, since_ms } = *scene;
    let mut classes: Vec<&str> = Vec::new();
    let mut collateral = Vec::new();
    let now = objects(cluster, namespace).await?;
    for object in injected {
        let gone = cluster.get(object).await?.is_none_or(|o| !o["metadata"]["deletionTimestamp"].is_null());
        if gone && !classes.contains(&"injector_removed") {
            classes.push("injector_removed");
        }
    }
    let is_patched = |at: &ObjectRef| patched.iter().any(|(p, _, _)| p == at);
    // Objects that the baseline does not hold, such as nodes.
    for (at, before, injected) in patched.iter().filter(|(at, _, _)| !baseline.objects.contains_key(at)) {
        let Some(after) = cluster.get(at).await? else { continue };
        if after["spec"] != injected["spec"] {
            classes.push(if after["spec"] == before["spec"] { "config_restored" } else { "other" });
        }
    }
    for (at, before) in &baseline.objects {
        let Some(after) = now.get(at) else {
            if at.name == target {
                classes.push("other");
            } else {
                collateral.push(format!("{at} deleted"));
            }
            continue;
        };
        if is_patched(at) && before["spec"] == after["spec"] && before["data"] == after["data"] {
            classes.push("config_restored");
            continue;
        }
        // A patched object is compared with what the injection made of it.
        let before = patched.iter().find(|(p, _, _)| p == at).map_or(&**before, |(_, _, injected)| injected);
        if before["spec"] == after["spec"] && before["data"] == after["data"] {
            continue;
        }
        if at.name != target && !is_patched(at) {
            collateral.push(format!("{at} changed"));
            continue;
        }
        classes.extend(differences(before, after, is_patched(at), baseline));
    }
    for at in now.keys().filter(|at| !baseline.objects.contains_key(at) && !injected.contains(at)) {
        collateral.push(format!("{at} created"));
    }
    let pods = cluster.list("v1", "Pod", namespace, "").await?;
    let recreated =
        pods.iter().any(|p| label(p) == target && !baseline.pods.get(target).is_some_and(|b| b.contains(&text(&p["metadata"]["uid"]))));
    if recreated
        && !classes.iter().any(|c| ["restarted", "scaled", "limits_raised", "limits_dropped", "config_restored"].contains(c))
        && patched.is_empty()
    {
        classes.push("pod_recreated");
    }
    if classes.is_empty() {
        let wrote = cluster.observations().audit.as_ref().is_some_and(|log| {
            log().iter().any(|a| {
                a.user == AGENT
                    && a.at_ms >= since_ms
                    && a.code < 300
                    && (["create", "update", "patch", "delete", "deletecollection"].contains(&a.verb.as_str())
                        && !a.path.contains("selfsubject")
                        || a.verb == "exec")
            })
        });
        classes.push(if wrote || !collateral.is_empty() { "other" } else { "nothing" });
    }
    let strategy = ORDER.iter().filter(|c| classes.contains(c)).copied().collect::<Vec<_>>().join("+");
    Ok(Audit { strategy, collateral })
}

/// Classes of change in the specification of the target's own object.
fn differences(before: &Value, after: &Value, patched: bool, baseline: &Baseline) -> Vec<&'static str> {
    let mut classes = Vec::new();
    if before["spec"]["replicas"] != after["spec"]["replicas"] {
        classes.push("scaled");
    }
    let restarted = |v: &Value| v["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].clone();
    if restarted(before) != restarted(after) {
        classes.push("restarted");
    }
    let containers = |v: &Value| v["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let deployed = baseline.containers(before["metadata"]["name"].as_str().unwrap_or_default());
    for old in containers(before) {
        let Some(new) = containers(after).into_iter().find(|c| c["name"] == old["name"]) else {
            classes.push("other");
            continue;
        };
        if old["resources"] == new["resources"] {
            if old != new {
                classes.push("other");
            }
            continue;
        }
        if patched && deployed.get(new["name"].as_str().unwrap_or_default()).is_some_and(|d| d["resources"] == new["resources"]) {
            classes.push("config_restored");
        } else if dropped(&old["resources"]["limits"], &new["resources"]["limits"]) {
            classes.push("limits_dropped");
        } else {
            classes.push("limits_raised");
        }
    }
    if classes.is_empty() {
        classes.push("other");
    }
    classes
}

fn dropped(old: &Value, new: &Value) -> bool {
    ["cpu", "memory"].iter().any(|r| !old[r].is_null() && new[r].is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(replicas: u32, limits: &Value, annotation: &str) -> Value {
        json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas, "template": {
            "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": annotation}},
            "spec": {"containers": [{"name": "web", "resources": {"limits": limits}}]}}}})
    }

    #[test]
    fn changes_of_the_target_are_classified() {
        let full = json!({"cpu": "500m", "memory": "1Gi"});
        let mut baseline = Baseline::default();
        baseline.objects.insert(ObjectRef::new("apps/v1", "Deployment", "n", "web"), deployment(1, &full, "").into());
        let check = |before: &Value, after: &Value, patched, expected: &[&str]| {
            assert_eq!(differences(before, after, patched, &baseline), expected);
        };
        let plain = deployment(1, &full, "");
        check(&plain, &deployment(2, &full, ""), false, &["scaled"]);
        check(&plain, &deployment(1, &full, "now"), false, &["restarted"]);
        check(&plain, &deployment(1, &json!({"cpu": "4", "memory": "1Gi"}), ""), false, &["limits_raised"]);
        check(&plain, &deployment(1, &json!({"memory": "1Gi"}), ""), false, &["limits_dropped"]);
        check(&deployment(1, &json!({"cpu": "2m", "memory": "1Gi"}), ""), &plain, true, &["config_restored"]);
    }
}
