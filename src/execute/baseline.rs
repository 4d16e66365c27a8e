//! The state of the namespace and its traffic before the fault, and what has changed since.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::{Cluster, ClusterError, ObjectRef};

/// Kinds that a playbook may change for good and that are compared and restored. Pods follow from these.
const KINDS: [(&str, &str); 8] = [
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("batch/v1", "CronJob"),
];

/// Requests to a service while nothing was wrong.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ServiceTraffic {
    pub(super) error_rate: f64,
    pub(super) latency_ms: f64,
}

/// A snapshot.
#[derive(Debug, Clone, Default)]
pub(super) struct Baseline {
    /// Objects by address, status left out.
    pub(super) objects: BTreeMap<ObjectRef, Value>,
    /// Uids of the pods, by `app` label.
    pub(super) pods: BTreeMap<String, Vec<String>>,
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
        self.objects.iter().find(|(r, _)| r.kind == kind && r.name == name).map(|(_, v)| v)
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
pub(super) async fn objects(cluster: &Cluster, namespace: &str) -> Result<BTreeMap<ObjectRef, Value>, ClusterError> {
    let mut found = BTreeMap::new();
    for (api_version, kind) in KINDS {
        let items = match cluster.list(api_version, kind, namespace, "").await {
            Err(ClusterError::UnknownKind { .. } | ClusterError::Api { code: 404, .. }) => continue,
            other => other?,
        };
        for mut item in items {
            let at = ObjectRef::of(&item, namespace);
            if let Some(o) = item.as_object_mut() {
                o.remove("status");
            }
            found.insert(at, item);
        }
    }
    Ok(found)
}

/// The `app` label of an object: the name of the service it belongs to.
pub(super) fn label(object: &Value) -> String {
    text(&object["metadata"]["labels"]["app"])
}

pub(super) fn text(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_owned()
}
