//! Defaults: what a real API server adds to an object before it stores it.
//!
//! Input: a decoded object. Output: the same with defaults, canonical quantities, and without the nulls and empty values that Go
//! would not print. What needs the rest of the cluster (cluster IPs, uids, admission) happens in the registry.

mod admission;
mod pod;
mod service;
mod workload;

use serde_json::{Map, Value, json};

use super::fields;

/// Adds the defaults of a kind. Kinds without any (and unknown ones) are only tidied.
pub fn defaults(api_version: &str, kind: &str, object: &mut Value) {
    fields::tidy(api_version, kind, object);
    let Some(root) = object.as_object_mut() else { return };
    match (api_version, kind) {
        ("v1", "Pod") => pod::pod(root),
        ("v1", "PodTemplate") => within(root, "template", pod::template),
        ("v1", "Service") => service::service(root),
        ("v1", "Endpoints") => service::endpoints(root),
        ("discovery.k8s.io/v1", "EndpointSlice") => service::endpoint_slice(root),
        ("networking.k8s.io/v1", "NetworkPolicy") => service::network_policy(root),
        ("networking.k8s.io/v1", "Ingress") => {
            if let Some(status) = inner(root, "status") {
                set(status, "loadBalancer", json!({}));
            }
        }
        ("v1", "Event") => {
            // Not optional in Go: printed even when they say nothing, and read by strict clients.
            set(root, "reportingComponent", "");
            set(root, "reportingInstance", "");
            set(root, "source", json!({}));
            root.entry("eventTime").or_insert(Value::Null);
        }
        ("v1", "Secret") => secret(root),
        ("v1", "PersistentVolume") => persistent_volume(root),
        ("v1", "PersistentVolumeClaim") => persistent_volume_claim(root),
        ("v1", "LimitRange") => limit_range(root),
        ("v1", "Node") => node(root),
        ("v1", "Namespace") => namespace(root),
        ("v1", "ReplicationController") => workload::replication_controller(root),
        ("apps/v1", "Deployment") => workload::deployment(root),
        ("apps/v1", "ReplicaSet") => workload::replica_set(root),
        ("apps/v1", "StatefulSet") => workload::stateful_set(root),
        ("apps/v1", "DaemonSet") => workload::daemon_set(root),
        ("batch/v1", "Job") => workload::job(root),
        ("batch/v1", "CronJob") => workload::cron_job(root),
        ("autoscaling/v1" | "autoscaling/v2", "HorizontalPodAutoscaler") => autoscaler(api_version, root),
        ("rbac.authorization.k8s.io/v1", "RoleBinding" | "ClusterRoleBinding") => role_binding(root),
        ("storage.k8s.io/v1", "StorageClass") => {
            set(root, "reclaimPolicy", "Delete");
            set(root, "volumeBindingMode", "Immediate");
        }
        ("scheduling.k8s.io/v1", "PriorityClass") => set(root, "preemptionPolicy", "PreemptLowerPriority"),
        ("admissionregistration.k8s.io/v1", _) => admission::defaults(kind, root),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => custom_resource_definition(root),
        _ => {}
    }
    fields::fill_status(api_version, kind, root);
}

/// Inserts a value where there is none.
fn set(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value.into());
    }
}

/// The object under a key, made if it is missing; `None` when something else is there.
fn inner<'a>(map: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    set(map, key, json!({}));
    map.get_mut(key).and_then(Value::as_object_mut)
}

/// Runs a function on the object under a key, if there is one.
fn within(map: &mut Map<String, Value>, key: &str, run: impl FnOnce(&mut Map<String, Value>)) {
    if let Some(inner) = map.get_mut(key).and_then(Value::as_object_mut) {
        run(inner);
    }
}

/// Runs a function on each object of the list under a key.
fn each(map: &mut Map<String, Value>, key: &str, mut run: impl FnMut(&mut Map<String, Value>)) {
    let items = map.get_mut(key).and_then(Value::as_array_mut);
    for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
        run(item);
    }
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn has(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).is_some_and(|v| !v.is_null())
}

fn secret(root: &mut Map<String, Value>) {
    set(root, "type", "Opaque");
    if let Some(Value::Object(plain)) = root.remove("stringData") {
        let Some(data) = inner(root, "data") else { return };
        for (key, value) in plain {
            if let Some(text) = value.as_str() {
                data.insert(key, base64(text.as_bytes()).into());
            }
        }
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn namespace(root: &mut Map<String, Value>) {
    let name = root.get("metadata").and_then(|m| m.get("name")).and_then(Value::as_str).unwrap_or_default().to_owned();
    if !name.is_empty()
        && let Some(metadata) = root.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(labels) = inner(metadata, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
}

fn persistent_volume(root: &mut Map<String, Value>) {
    within(root, "spec", |spec| {
        set(spec, "persistentVolumeReclaimPolicy", "Retain");
        set(spec, "volumeMode", "Filesystem");
        within(spec, "hostPath", |source| set(source, "type", ""));
    });
    if let Some(status) = inner(root, "status") {
        set(status, "phase", "Pending");
    }
}

fn persistent_volume_claim(root: &mut Map<String, Value>) {
    within(root, "spec", |spec| {
        set(spec, "volumeMode", "Filesystem");
        set(spec, "resources", json!({}));
    });
    if let Some(status) = inner(root, "status") {
        set(status, "phase", "Pending");
    }
}

fn node(root: &mut Map<String, Value>) {
    within(root, "status", |status| {
        if !has(status, "allocatable")
            && let Some(capacity) = status.get("capacity").cloned()
        {
            status.insert("allocatable".to_owned(), capacity);
        }
    });
}

/// `default` comes from `max`, `defaultRequest` from `default`, else from `min`.
fn limit_range(root: &mut Map<String, Value>) {
    within(root, "spec", |spec| {
        each(spec, "limits", |item| {
            if text(item, "type") != "Container" {
                return;
            }
            copy_missing(item, "max", "default");
            copy_missing(item, "default", "defaultRequest");
            copy_missing(item, "min", "defaultRequest");
        });
    });
}

/// Copies the entries of one map that another lacks.
fn copy_missing(map: &mut Map<String, Value>, from: &str, to: &str) {
    let Some(source) = map.get(from).and_then(Value::as_object).filter(|s| !s.is_empty()).cloned() else { return };
    if let Some(target) = inner(map, to) {
        for (key, value) in source {
            set(target, &key, value);
        }
    }
}

fn autoscaler(api_version: &str, root: &mut Map<String, Value>) {
    within(root, "spec", |spec| {
        set(spec, "minReplicas", 1);
        if api_version == "autoscaling/v1" {
            set(spec, "targetCPUUtilizationPercentage", 80);
            return;
        }
        set(
            spec,
            "metrics",
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]),
        );
        within(spec, "behavior", |behavior| {
            if let Some(up) = inner(behavior, "scaleUp") {
                set(up, "stabilizationWindowSeconds", 0);
                set(up, "selectPolicy", "Max");
                set(
                    up,
                    "policies",
                    json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]),
                );
            }
            if let Some(down) = inner(behavior, "scaleDown") {
                set(down, "selectPolicy", "Max");
                set(down, "policies", json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
            }
        });
    });
}

fn role_binding(root: &mut Map<String, Value>) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    within(root, "roleRef", |role| set(role, "apiGroup", GROUP));
    each(root, "subjects", |subject| {
        if matches!(text(subject, "kind"), "User" | "Group") {
            set(subject, "apiGroup", GROUP);
        }
    });
}

fn custom_resource_definition(root: &mut Map<String, Value>) {
    within(root, "spec", |spec| {
        set(spec, "conversion", json!({"strategy": "None"}));
        within(spec, "names", |names| {
            let kind = text(names, "kind").to_owned();
            set(names, "singular", kind.to_lowercase());
            set(names, "listKind", format!("{kind}List"));
        });
    });
}

#[cfg(test)]
mod tests;
