//! Fields that must not change.

use serde_json::Value;

use super::seam::Cause;
use crate::sim::catalog::Kind;

const POD: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const STATEFUL_SET: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
const CLAIM: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

fn forbidden(field: &str, why: &str) -> Cause {
    Cause { reason: "FieldValueForbidden".into(), message: format!("Forbidden: {why}"), field: field.into() }
}

fn fixed(causes: &mut Vec<Cause>, old: &Value, new: &Value, path: &[&str]) {
    let at = |v: &Value| path.iter().fold(v.clone(), |v, p| v[*p].clone());
    if at(old) != at(new) {
        causes.push(Cause {
            reason: "FieldValueInvalid".into(),
            message: format!("Invalid value: {}: field is immutable", at(new)),
            field: path.join("."),
        });
    }
}

/// A copy of `value` without the named fields.
fn without(value: &Value, fields: &[&str]) -> Value {
    let mut v = value.clone();
    if let Some(m) = v.as_object_mut() {
        for f in fields {
            m.remove(*f);
        }
    }
    v
}

/// A pod's specification without what may change; `node` says whether a node may still be given.
fn fixed_pod_spec(spec: &Value, node: bool) -> Value {
    let mut v = without(spec, &["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "ephemeralContainers", "schedulingGates"]);
    if let Some(m) = v.as_object_mut().filter(|_| node) {
        m.remove("nodeName");
    }
    for list in ["containers", "initContainers"] {
        for c in v[list].as_array_mut().into_iter().flatten() {
            if let Some(m) = c.as_object_mut() {
                m.remove("image");
            }
        }
    }
    if let Some(m) = v.as_object_mut() {
        m.retain(|_, v| !v.is_null());
    }
    v
}

/// A pod's specification without container resources, which the `resize` subresource may change.
pub(super) fn resources_only(old: &Value, new: &Value) -> bool {
    let strip = |spec: &Value| {
        let mut v = fixed_pod_spec(spec, false);
        for list in ["containers", "initContainers"] {
            for c in v[list].as_array_mut().into_iter().flatten() {
                if let Some(m) = c.as_object_mut() {
                    m.remove("resources");
                }
            }
        }
        v
    };
    strip(&old["spec"]) == strip(&new["spec"])
}

/// What `new` changes that may not change; `resize` allows container resources of pods.
pub(super) fn check(kind: &Kind, old: &Value, new: &Value, resize: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    match (&*kind.resource.group, &*kind.resource.plural) {
        ("apps", "deployments" | "replicasets" | "daemonsets") => fixed(&mut causes, old, new, &["spec", "selector"]),
        ("apps", "statefulsets") => {
            let open =
                ["replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"];
            if without(&old["spec"], &open) != without(&new["spec"], &open) {
                causes.push(forbidden("spec", STATEFUL_SET));
            }
        }
        ("batch", "jobs") => {
            fixed(&mut causes, old, new, &["spec", "selector"]);
            fixed(&mut causes, old, new, &["spec", "completionMode"]);
            if old["spec"]["suspend"] != true {
                fixed(&mut causes, old, new, &["spec", "template"]);
            }
        }
        ("", "pods") => {
            let unbound = old["spec"]["nodeName"].as_str().is_none_or(str::is_empty);
            let same = fixed_pod_spec(&old["spec"], unbound) == fixed_pod_spec(&new["spec"], unbound);
            if !same && !(resize && resources_only(old, new)) {
                causes.push(forbidden("spec", POD));
            }
        }
        ("", "services") => {
            let ip = |v: &Value| v["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
            let external = old["spec"]["type"] == "ExternalName" || new["spec"]["type"] == "ExternalName";
            if !external && ip(old) != ip(new) && !ip(old).is_empty() {
                causes.push(Cause {
                    reason: "FieldValueInvalid".into(),
                    message: format!("Invalid value: {}: may not change once set", new["spec"]["clusterIPs"]),
                    field: "spec.clusterIPs[0]".into(),
                });
            }
        }
        ("", "configmaps" | "secrets") => {
            if old["immutable"] == true {
                for field in ["data", "binaryData", "stringData", "immutable"] {
                    if old[field] != new[field] {
                        causes.push(forbidden(field, "field is immutable when `immutable` is set"));
                    }
                }
            }
            if &*kind.resource.plural == "secrets" {
                fixed(&mut causes, old, new, &["type"]);
            }
        }
        ("", "persistentvolumeclaims") => {
            let open = ["resources", "volumeAttributesClassName", "volumeName", "storageClassName"];
            if without(&old["spec"], &open) != without(&new["spec"], &open) {
                causes.push(forbidden("spec", CLAIM));
            }
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") if old["roleRef"] != new["roleRef"] => {
            causes.push(Cause {
                reason: "FieldValueInvalid".into(),
                message: format!("Invalid value: {}: cannot change roleRef", new["roleRef"]),
                field: "roleRef".into(),
            });
        }
        _ => {}
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::catalog::Catalog;
    use serde_json::json;

    #[test]
    fn selectors_of_deployments_stay() {
        let kind = Catalog::get().by_plural("apps", "v1", "deployments").unwrap();
        let old = json!({"spec": {"selector": {"matchLabels": {"app": "web"}}, "replicas": 1}});
        let new = json!({"spec": {"selector": {"matchLabels": {"app": "x"}}, "replicas": 2}});
        let causes = check(kind, &old, &new, false);
        assert_eq!(causes[0].message, "Invalid value: {\"matchLabels\":{\"app\":\"x\"}}: field is immutable");
        assert_eq!(causes[0].field, "spec.selector");
        assert!(check(kind, &old, &old, false).is_empty());
    }

    #[test]
    fn pods_may_change_images_and_be_bound_once() {
        let kind = Catalog::get().by_plural("", "v1", "pods").unwrap();
        let pod = |image: &str, cpu: &str, node: &str| json!({"spec": {"nodeName": node, "containers": [{"image": image, "resources": {"limits": {"cpu": cpu}}}]}});
        assert!(check(kind, &pod("a", "1", "n"), &pod("b", "1", "n"), false).is_empty());
        assert!(check(kind, &pod("a", "1", ""), &pod("a", "1", "n"), false).is_empty());
        assert_eq!(check(kind, &pod("a", "1", "n"), &pod("a", "1", "m"), false).len(), 1);
        assert_eq!(check(kind, &pod("a", "1", "n"), &pod("a", "2", "n"), false).len(), 1);
        assert!(check(kind, &pod("a", "1", "n"), &pod("a", "2", "n"), true).is_empty());
    }
}
