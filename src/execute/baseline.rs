//! The state of the namespace and its traffic before the fault, and what has changed since.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::cluster::{Cluster, ClusterError, ObjectRef};

/// Kinds that a playbook may change for good and that are compared and restored. Pods follow from these.
const KINDS: [(&str, &str); 18] = [
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("v1", "Secret"),
    ("v1", "ServiceAccount"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "ResourceQuota"),
    ("v1", "LimitRange"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "Ingress"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
];
/// What the server assigns and changes by itself.
const OF_THE_SERVER: [&str; 5] = ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"];
/// Annotations that controllers write.
const OF_CONTROLLERS: [&str; 2] = ["deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration"];

/// Requests to a service while nothing was wrong.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ServiceTraffic {
    pub(super) error_rate: f64,
    pub(super) latency_ms: f64,
}

/// A snapshot.
#[derive(Debug, Clone, Default)]
pub(super) struct Baseline {
    /// Objects by address.
    pub(super) objects: BTreeMap<ObjectRef, Arc<Value>>,
    /// Uids of the pods, by `app` label.
    pub(super) pods: BTreeMap<String, Vec<String>>,
    /// Everything that the next trial would find, on a cluster that outlives this one; else empty.
    pub(super) everything: BTreeMap<ObjectRef, Arc<Value>>,
    /// Traffic by service; empty where the cluster does not measure any.
    pub(super) traffic: BTreeMap<String, ServiceTraffic>,
}

impl Baseline {
    /// Takes the snapshot; traffic is averaged over the last `watched_s` seconds.
    pub(super) async fn take(cluster: &Cluster, namespace: &str, services: &[String], watched_s: u64) -> Result<Self, ClusterError> {
        let mut baseline = Self { objects: objects(cluster, namespace).await?, ..Self::default() };
        for pod in cluster.list("v1", "Pod", namespace, "").await? {
            baseline.pods.entry(label(&pod)).or_default().push(text(&pod["metadata"]["uid"]));
        }
        let now = cluster.pace().now_ms() / 1000;
        for service in services {
            if let Some(t) = traffic(cluster, namespace, service, now.saturating_sub(watched_s), now) {
                baseline.traffic.insert(service.clone(), t);
            }
        }
        Ok(baseline)
    }

    /// The deployed object of a kind and name.
    pub(super) fn object(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.iter().find(|(r, _)| r.kind == kind && r.name == name).map(|(_, v)| &**v)
    }

    /// The deployed workload of a name, whatever its kind.
    pub(super) fn workload(&self, name: &str) -> Option<&Value> {
        ["Deployment", "StatefulSet", "DaemonSet"].iter().find_map(|kind| self.object(kind, name))
    }

    /// The deployed containers of a workload, by name.
    pub(super) fn containers(&self, workload: &str) -> BTreeMap<String, Value> {
        self.workload(workload)
            .and_then(|o| o["spec"]["template"]["spec"]["containers"].as_array())
            .into_iter()
            .flatten()
            .map(|c| (text(&c["name"]), c.clone()))
            .collect()
    }
}

/// Mean error rate and latency of a service between two seconds; `None` when not measured or without requests.
pub(super) fn traffic(cluster: &Cluster, namespace: &str, service: &str, from: u64, to: u64) -> Option<ServiceTraffic> {
    let seconds = cluster.observations().traffic.as_ref()?(namespace, service, from, to);
    let requests: f64 = seconds.iter().map(|s| s.requests).sum();
    if requests <= 0.0 {
        return None;
    }
    let errors: f64 = seconds.iter().map(|s| s.errors).sum();
    let answered = requests - errors;
    let latency: f64 = seconds.iter().map(|s| s.latency_ms * (s.requests - s.errors)).sum();
    Some(ServiceTraffic { error_rate: errors / requests, latency_ms: if answered > 0.0 { latency / answered } else { 0.0 } })
}

/// The comparable objects of a namespace. Kinds that the cluster does not have are skipped.
pub(super) async fn objects(cluster: &Cluster, namespace: &str) -> Result<BTreeMap<ObjectRef, Arc<Value>>, ClusterError> {
    let mut found = BTreeMap::new();
    for (api_version, kind) in KINDS {
        let items = match cluster.list(api_version, kind, namespace, "").await {
            Err(ClusterError::UnknownKind { .. } | ClusterError::Api { code: 404, .. }) => continue,
            other => other?,
        };
        found.extend(items.into_iter().map(|item| (ObjectRef::of(&item, namespace), item)));
    }
    Ok(found)
}

/// Whether two states of an object differ in anything that somebody has set.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    set_by_somebody(one) == set_by_somebody(other)
}

fn set_by_somebody(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(o) = object.as_object_mut() {
        o.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|k, _| !OF_THE_SERVER.contains(&k.as_str()));
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.retain(|k, _| !OF_CONTROLLERS.contains(&k.as_str()));
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    object
}

/// What differs between the baseline and the namespace as it is now: objects changed, missing and new.
pub(super) fn differences(before: &BTreeMap<ObjectRef, Arc<Value>>, now: &BTreeMap<ObjectRef, Arc<Value>>) -> Vec<String> {
    let changed = before.iter().filter_map(|(at, object)| match now.get(at) {
        None => Some(format!("{at} is missing")),
        Some(other) if !same(object, other) => Some(format!("{at} is different")),
        Some(_) => None,
    });
    let new = now.keys().filter(|at| !before.contains_key(*at)).map(|at| format!("{at} is new"));
    changed.chain(new).collect()
}

/// The `app` label of an object: the name of the service it belongs to.
pub(super) fn label(object: &Value) -> String {
    text(&object["metadata"]["labels"]["app"])
}

pub(super) fn text(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_somebody_set_is_compared_and_nothing_else() {
        let web = |extra: Value| {
            let mut o = json!({"metadata": {"name": "web", "uid": "1", "resourceVersion": "5", "annotations": {"deployment.kubernetes.io/revision": "1"}},
                "spec": {"replicas": 1}});
            for (pointer, value) in extra.as_object().unwrap() {
                *o.pointer_mut(pointer).unwrap() = value.clone();
            }
            o
        };
        let plain = web(json!({}));
        assert!(same(&plain, &web(json!({"/metadata/uid": "2", "/metadata/annotations": {"deployment.kubernetes.io/revision": "3"}}))));
        assert!(!same(&plain, &web(json!({"/metadata/annotations": {"team": "x"}}))));
        assert!(!same(&plain, &web(json!({"/spec/replicas": 2}))));
        let at = |name: &str| ObjectRef::new("apps/v1", "Deployment", "n", name);
        let plain = Arc::new(plain);
        let before = BTreeMap::from(["web", "db", "gone"].map(|name| (at(name), Arc::clone(&plain))));
        let scaled = Arc::new(web(json!({"/spec/replicas": 0})));
        let now = BTreeMap::from([(at("web"), Arc::clone(&plain)), (at("db"), scaled), (at("own"), plain)]);
        let found = differences(&before, &now);
        let ends: Vec<&str> = found.iter().filter_map(|d| d.rsplit(' ').next()).collect();
        assert_eq!(ends, ["different", "missing", "new"], "{found:?}");
    }
}
