//! What an update may not change.

use serde_json::{Map, Value};

use super::{Cause, Causes, object};

const POD: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const STATEFUL: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

const CLAIM: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

/// The causes that only the old object tells: changes of immutable fields. Both objects are defaulted.
pub fn validate_update(api_version: &str, kind: &str, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Causes::default();
    let empty = Map::new();
    let new_root = new.as_object().unwrap_or(&empty);
    let old_root = old.as_object().unwrap_or(&empty);
    let new_spec = object(new_root, "spec").unwrap_or(&empty);
    let old_spec = object(old_root, "spec").unwrap_or(&empty);
    match (api_version, kind) {
        ("apps/v1", "Deployment" | "ReplicaSet" | "DaemonSet") => immutable(new_spec, old_spec, "selector", &mut causes),
        ("batch/v1", "Job") => {
            for key in ["completions", "selector", "template", "completionMode"] {
                // Completions may follow parallelism of an indexed job, which nobody here does.
                immutable(new_spec, old_spec, key, &mut causes);
            }
        }
        ("apps/v1", "StatefulSet") => {
            let kept = |spec: &Map<String, Value>| {
                let free = [
                    "replicas",
                    "ordinals",
                    "template",
                    "updateStrategy",
                    "revisionHistoryLimit",
                    "persistentVolumeClaimRetentionPolicy",
                    "minReadySeconds",
                ];
                spec.iter().filter(|(key, _)| !free.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect::<Map<_, _>>()
            };
            if kept(new_spec) != kept(old_spec) {
                causes.forbidden("spec", STATEFUL);
            }
        }
        ("v1", "Pod") if pod_kept(new_spec) != pod_kept(old_spec) => causes.forbidden("spec", POD),
        ("v1", "PersistentVolumeClaim") => {
            let kept = |spec: &Map<String, Value>| {
                let mut kept = spec.clone();
                kept.remove("volumeAttributesClassName");
                if let Some(resources) = kept.get_mut("resources").and_then(Value::as_object_mut) {
                    resources.remove("requests");
                }
                // The controller binds a claim by naming its volume.
                if !old_spec.contains_key("volumeName") {
                    kept.remove("volumeName");
                }
                kept
            };
            if kept(new_spec) != kept(old_spec) {
                causes.forbidden("spec", CLAIM);
            }
        }
        ("v1", "Service") => {
            let before = old_spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default();
            if !before.is_empty()
                && let Some(after) = new_spec.get("clusterIP")
                && after.as_str() != Some(before)
                && new_spec.get("type").and_then(Value::as_str) != Some("ExternalName")
            {
                causes.invalid("spec.clusterIPs[0]", &Value::Array(vec![after.clone()]), "may not change once set");
            }
        }
        ("rbac.authorization.k8s.io/v1", "RoleBinding" | "ClusterRoleBinding") => {
            if let (Some(after), Some(before)) = (new_root.get("roleRef"), old_root.get("roleRef"))
                && after != before
            {
                causes.invalid("roleRef", after, "cannot change roleRef");
            }
        }
        ("v1", "ConfigMap" | "Secret") if old_root.get("immutable") == Some(&Value::Bool(true)) => {
            for key in ["data", "binaryData", "immutable"] {
                if new_root.get(key) != old_root.get(key) {
                    causes.forbidden(key, "field is immutable when `immutable` is set");
                }
            }
        }
        _ => {}
    }
    causes.0
}

fn immutable(new: &Map<String, Value>, old: &Map<String, Value>, key: &str, causes: &mut Causes) {
    if new.get(key) != old.get(key) {
        causes.invalid(format!("spec.{key}"), new.get(key).unwrap_or(&Value::Null), "field is immutable");
    }
}

/// A pod's spec without what may change.
fn pod_kept(spec: &Map<String, Value>) -> Map<String, Value> {
    let mut kept = spec.clone();
    for key in
        ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "ephemeralContainers", "schedulingGates", "nodeName"]
    {
        kept.remove(key);
    }
    for list in ["containers", "initContainers"] {
        for item in kept.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
            item.remove("image");
        }
    }
    kept
}
