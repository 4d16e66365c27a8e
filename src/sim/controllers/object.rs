//! Reading and shaping JSON objects: labels, selectors, owners, conditions. Pure functions.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::sim::resource::{Key, Resource};
use crate::sim::time::SimTime;
use crate::sim::world::World;

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Whether the object is being deleted.
pub fn deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Whether the object carries a finalizer.
pub fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|f| f.iter().any(|x| x == finalizer))
}

/// Removes a finalizer.
pub fn drop_finalizer(object: &mut Value, finalizer: &str) {
    if let Some(f) = object["metadata"]["finalizers"].as_array_mut() {
        f.retain(|x| x != finalizer);
    }
    if object["metadata"]["finalizers"].as_array().is_some_and(Vec::is_empty)
        && let Some(m) = object["metadata"].as_object_mut()
    {
        m.remove("finalizers");
    }
}

/// An annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

/// Sets an annotation; whether that changed anything.
pub fn annotate(object: &mut Value, key: &str, value: &str) -> bool {
    if annotation(object, key) == Some(value) {
        return false;
    }
    let meta = &mut object["metadata"];
    if !meta["annotations"].is_object() {
        meta["annotations"] = json!({});
    }
    meta["annotations"][key] = value.into();
    true
}

/// The controller's owner reference.
pub fn controller(object: &Value) -> Option<&Value> {
    object["metadata"]["ownerReferences"].as_array()?.iter().find(|o| o["controller"] == true)
}

/// Whether `owner` (by uid) controls the object.
pub fn controlled_by(object: &Value, owner: &str) -> bool {
    controller(object).is_some_and(|o| o["uid"] == owner)
}

/// A controller owner reference to `owner`.
pub fn owner_reference(resource: &Resource, owner: &Value) -> Value {
    let (version, kind) = super::kinds::kind_of(resource);
    json!({"apiVersion": version, "kind": kind, "name": name(owner), "uid": uid(owner), "controller": true, "blockOwnerDeletion": true})
}

/// The key that the controller's owner reference of `object` names.
pub fn controller_key(object: &Value, namespace: &str) -> Option<Key> {
    let owner = controller(object)?;
    let group = owner["apiVersion"].as_str()?.rsplit_once('/').map_or("", |(g, _)| g);
    let plural = match owner["kind"].as_str()? {
        "Deployment" => "deployments",
        "ReplicaSet" => "replicasets",
        "StatefulSet" => "statefulsets",
        "DaemonSet" => "daemonsets",
        "Job" => "jobs",
        "CronJob" => "cronjobs",
        "ReplicationController" => "replicationcontrollers",
        _ => return None,
    };
    Some(Key::new(&Resource::new(group, plural), namespace, owner["name"].as_str()?))
}

/// Whether a label selector (`matchLabels` and `matchExpressions`) matches labels; an empty selector matches everything.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    contains_all(&selector["matchLabels"], labels)
        && selector["matchExpressions"].as_array().is_none_or(|all| all.iter().all(|e| expression_holds(e, labels)))
}

/// Whether `labels` has every entry of `wanted`.
pub fn contains_all(wanted: &Value, labels: &Value) -> bool {
    wanted.as_object().is_none_or(|w| w.iter().all(|(k, v)| labels[k.as_str()] == *v))
}

/// One `matchExpressions` entry.
pub fn expression_holds(expression: &Value, labels: &Value) -> bool {
    let label = &labels[expression["key"].as_str().unwrap_or_default()];
    let among = || expression["values"].as_array().is_some_and(|v| v.contains(label));
    match expression["operator"].as_str().unwrap_or_default() {
        "In" => among(),
        "NotIn" => !among(),
        "Exists" => !label.is_null(),
        "DoesNotExist" => label.is_null(),
        _ => false,
    }
}

/// Whether a status condition is `True`.
pub fn condition_true(object: &Value, kind: &str) -> bool {
    condition(&object["status"], kind).is_some_and(|c| c["status"] == "True")
}

/// A condition of a status.
pub fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// Pods of `owner`, and those that its selector matches and nobody controls (which it adopts), in name order. It lets go of those that
/// it no longer selects.
pub fn owned(world: &mut World, dependents: &Resource, owner_key: &Key, owner: &Value) -> Vec<(Key, Arc<Value>)> {
    let id = uid(owner).to_owned();
    let mut out = Vec::new();
    let (mut orphans, mut strangers) = (Vec::new(), Vec::new());
    let selector = &owner["spec"]["selector"];
    for (k, o) in world.store.list(dependents, Some(&owner_key.namespace)) {
        if controlled_by(o, &id) {
            if selector.is_object() && !selects(selector, &o["metadata"]["labels"]) && !deleting(owner) {
                strangers.push((k.clone(), Arc::clone(o)));
                continue;
            }
            out.push((k.clone(), Arc::clone(o)));
        } else if controller(o).is_none()
            && !deleting(o)
            && !deleting(owner)
            && selector.is_object()
            && selects(selector, &o["metadata"]["labels"])
        {
            orphans.push((k.clone(), Arc::clone(o)));
        }
    }
    for (k, o) in strangers {
        let mut new = (*o).clone();
        if let Some(owners) = new["metadata"]["ownerReferences"].as_array_mut() {
            owners.retain(|r| r["uid"] != id.as_str());
        }
        // No job counts it any more.
        drop_finalizer(&mut new, super::job::TRACKING);
        // Gone already is as good.
        let _gone = crate::sim::registry::update(world, &k, new, crate::sim::registry::Part::Main);
    }
    for (k, o) in orphans {
        let mut new = (*o).clone();
        let reference = owner_reference(&owner_key.resource, owner);
        match new["metadata"]["ownerReferences"].as_array_mut() {
            Some(a) => a.push(reference),
            None => new["metadata"]["ownerReferences"] = json!([reference]),
        }
        if let Ok(stored) = crate::sim::registry::update(world, &k, new, crate::sim::registry::Part::Main) {
            out.push((k, stored));
        }
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

/// A whole number, or `default`.
pub fn int(value: &Value, default: i64) -> i64 {
    value.as_i64().unwrap_or(default)
}

/// A number or a percentage of `total`, rounded up or down.
pub fn int_or_percent(value: &Value, total: i64, up: bool, default: &str) -> i64 {
    let percent = |text: &str| {
        let p: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
        if up { (p * total + 99) / 100 } else { p * total / 100 }
    };
    match value {
        Value::Number(n) => n.as_i64().unwrap_or(0),
        Value::String(s) if s.ends_with('%') => percent(s),
        Value::String(s) => s.parse().unwrap_or(0),
        _ => percent(default),
    }
}

/// When the object was created.
pub fn created(object: &Value) -> SimTime {
    object["metadata"]["creationTimestamp"].as_str().and_then(crate::sim::time::parse_rfc3339).unwrap_or_default()
}

/// The hash label of a pod template: FNV-1a of its JSON, spelt with the letters that Kubernetes uses.
pub fn template_hash(template: &Value, collisions: i64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut h: u32 = 0x811c_9dc5;
    for byte in serde_json::to_string(template).unwrap_or_default().bytes().chain(collisions.to_string().bytes()) {
        h = (h ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    h.to_string().bytes().map(|b| char::from(LETTERS[usize::from(b) % LETTERS.len()])).collect()
}

/// A pod as its owner makes it from a template.
pub fn pod_from_template(template: &Value, owner_resource: &Resource, owner: &Value) -> Value {
    let mut meta = Map::new();
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(v) = template["metadata"].get(field).filter(|v| !v.is_null()) {
            meta.insert(field.into(), v.clone());
        }
    }
    meta.insert("generateName".into(), format!("{}-", name(owner)).into());
    meta.insert("ownerReferences".into(), json!([owner_reference(owner_resource, owner)]));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"], "status": {"phase": "Pending"}})
}

/// Whether the pod counts for its owner: neither ended nor being deleted.
pub fn active(pod: &Value) -> bool {
    !deleting(pod) && !ended(pod)
}

/// Whether the pod has ended for good.
pub fn ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Whether the pod is ready.
pub fn ready(pod: &Value) -> bool {
    condition_true(pod, "Ready")
}

/// Whether the pod has been ready for `min` seconds; when not yet but ready, at what time it will have been.
pub fn available(pod: &Value, min: i64, now: SimTime) -> (bool, Option<SimTime>) {
    if !ready(pod) {
        return (false, None);
    }
    if min <= 0 {
        return (true, None);
    }
    let since = condition(&pod["status"], "Ready")
        .and_then(|c| c["lastTransitionTime"].as_str())
        .and_then(crate::sim::time::parse_rfc3339)
        .unwrap_or_default();
    let at = since.after(std::time::Duration::from_secs(u64::try_from(min).unwrap_or(0)));
    if at <= now { (true, None) } else { (false, Some(at)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_kubernetes_does() {
        assert_eq!(int_or_percent(&Value::Null, 1, false, "25%"), 0);
        assert_eq!(int_or_percent(&Value::Null, 1, true, "25%"), 1);
        assert_eq!(int_or_percent(&json!("50%"), 5, false, "25%"), 2);
        assert_eq!(int_or_percent(&json!(3), 5, false, "25%"), 3);
    }

    #[test]
    fn selectors_match_labels_and_expressions() {
        let labels = json!({"app": "a", "tier": "x"});
        assert!(selects(&json!({"matchLabels": {"app": "a"}}), &labels));
        assert!(!selects(&json!({"matchLabels": {"app": "b"}}), &labels));
        assert!(selects(&json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["x"]}]}), &labels));
        assert!(!selects(&json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), &labels));
    }
}
