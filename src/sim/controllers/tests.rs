//! Whole-cluster tests: objects in, time passes, pods are ready.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::kinds::{DEPLOYMENTS, ENDPOINTS, NAMESPACES, PODS, SERVICES};
use super::object;
use crate::sim::SimConfig;
use crate::sim::registry;
use crate::sim::resource::Key;
use crate::sim::world::World;

pub(crate) const NS: &str = "simple-micro";

/// A cluster with an empty namespace.
pub(crate) fn world() -> World {
    with(SimConfig::default())
}

pub(crate) fn with(config: SimConfig) -> World {
    let mut w = World::new(Arc::new(config));
    registry::create(&mut w, &NAMESPACES, "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})).unwrap();
    w.settle();
    advance(&mut w, 1.0);
    w
}

pub(crate) fn advance(w: &mut World, seconds: f64) {
    w.advance_to(w.now.after(Duration::from_secs_f64(seconds)));
}

pub(crate) fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [
                        {"name": name, "image": "python:3.9-slim", "command": ["sh", "-c", "cat > /app.py && exec python /app.py"], "ports": [{"containerPort": 5000}],
                         "resources": {"requests": {"cpu": "100m", "memory": "300Mi"}, "limits": {"cpu": "500m", "memory": "2000Mi"}},
                         "readinessProbe": {"httpGet": {"path": "/healthz", "port": 5000}, "initialDelaySeconds": 1, "periodSeconds": 2},
                         "volumeMounts": [{"name": "mysql-logs", "mountPath": "/var/log/mysql"}]},
                        {"name": "sidecar-busybox", "image": "busybox:1.35", "command": ["sh", "-c", "sleep 3600"],
                         "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "50m", "memory": "64Mi"}},
                         "volumeMounts": [{"name": "mysql-logs", "mountPath": "/var/log/mysql"}]},
                    ],
                    "volumes": [{"name": "mysql-logs", "emptyDir": {}}],
                },
            },
        },
    })
}

/// Creates a deployment of the usual shape and its service.
pub(crate) fn deploy(w: &mut World, name: &str, replicas: u32) {
    registry::create(w, &DEPLOYMENTS, NS, deployment(name, replicas)).unwrap();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 5000, "targetPort": 5000, "protocol": "TCP"}]},
    });
    registry::create(w, &SERVICES, NS, service).unwrap();
    w.settle();
}

pub(crate) fn pods(w: &World, app: &str) -> Vec<(Key, Arc<Value>)> {
    w.store.list(&PODS, Some(NS)).filter(|(_, p)| p["metadata"]["labels"]["app"] == app).map(|(k, p)| (k.clone(), Arc::clone(p))).collect()
}

pub(crate) fn get(w: &World, name: &str) -> Arc<Value> {
    Arc::clone(w.store.get(&Key::new(&DEPLOYMENTS, NS, name)).unwrap())
}

/// Changes a deployment.
pub(crate) fn edit(w: &mut World, name: &str, change: impl FnOnce(&mut Value)) {
    let mut d = (*get(w, name)).clone();
    change(&mut d);
    registry::update(w, &Key::new(&DEPLOYMENTS, NS, name), d, registry::Part::Main).unwrap();
    w.settle();
}

#[test]
fn a_deployment_becomes_ready_behind_its_service() {
    let mut w = world();
    deploy(&mut w, "web", 2);
    advance(&mut w, 8.0);
    let all = pods(&w, "web");
    assert_eq!(all.len(), 2);
    for (_, p) in &all {
        assert!(object::ready(p), "{p:#}");
        assert_eq!(p["status"]["phase"], "Running");
        assert_eq!(p["status"]["containerStatuses"][0]["restartCount"], 0);
    }
    let d = get(&w, "web");
    assert_eq!(d["status"]["availableReplicas"], 2, "{:#}", d["status"]);
    assert_eq!(d["status"]["observedGeneration"], d["metadata"]["generation"]);
    assert_eq!(object::condition(&d["status"], "Progressing").unwrap()["reason"], "NewReplicaSetAvailable");
    assert_eq!(object::annotation(&d, "deployment.kubernetes.io/revision"), Some("1"));
    let e = w.store.get(&Key::new(&ENDPOINTS, NS, "web")).unwrap();
    assert_eq!(e["subsets"][0]["addresses"].as_array().map(Vec::len), Some(2), "{e:#}");
}
