//! What may not change, beyond what [`schema::validate_update`] knows from the specification alone.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::sim::catalog::Kind;
use crate::sim::schema::{self, Cause};

const CLAIM: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
const NODE: &str = "pod updates may not change a node that is set";

fn forbidden(field: &str, why: &str) -> Cause {
    Cause { reason: "FieldValueForbidden", message: format!("Forbidden: {why}"), field: field.into() }
}

/// What `new` changes that may not change; `resize` allows container resources of pods.
pub(super) fn check(kind: &Kind, old: &Value, new: &Value, resize: bool) -> Vec<Cause> {
    let before = if resize { Cow::Owned(with_resources(old, new)) } else { Cow::Borrowed(old) };
    let mut causes = schema::validate_update(&kind.api_version(), &kind.kind, new, &before);
    match (&*kind.resource.group, &*kind.resource.plural) {
        ("", "pods") => {
            let node = |v: &Value| v["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
            if causes.is_empty() && !node(old).is_empty() && node(old) != node(new) {
                causes.push(forbidden("spec.nodeName", NODE));
            }
        }
        ("", "secrets") if old["type"] != new["type"] => causes.push(Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {}: field is immutable", new["type"]),
            field: "type".into(),
        }),
        ("scheduling.k8s.io", "priorityclasses") => {
            if old["value"] != new["value"] {
                causes.push(forbidden("value", "may not be changed in an update."));
            }
            if old["preemptionPolicy"] != new["preemptionPolicy"] {
                let message = format!("Invalid value: {}: field is immutable", new["preemptionPolicy"]);
                causes.push(Cause { reason: "FieldValueInvalid", message, field: "preemptionPolicy".into() });
            }
        }
        ("", "persistentvolumeclaims") => {
            let rest = |v: &Value| {
                let mut spec: Map<String, Value> = v["spec"].as_object().cloned().unwrap_or_default();
                for open in ["resources", "volumeAttributesClassName", "volumeName", "storageClassName"] {
                    spec.remove(open);
                }
                spec
            };
            if rest(old) != rest(new) {
                causes.push(forbidden("spec", CLAIM));
            }
        }
        _ => {}
    }
    causes
}

/// The old pod with the new container resources.
fn with_resources(old: &Value, new: &Value) -> Value {
    let mut v = old.clone();
    for list in ["containers", "initContainers"] {
        for (i, c) in v["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
            c["resources"] = new["spec"][list][i]["resources"].clone();
        }
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::catalog::Catalog;
    use serde_json::json;

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

    #[test]
    fn secrets_keep_their_type() {
        let kind = Catalog::get().by_plural("", "v1", "secrets").unwrap();
        assert_eq!(check(kind, &json!({"type": "Opaque"}), &json!({"type": "x"}), false)[0].field, "type");
    }
}
