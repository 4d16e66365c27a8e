//! Service controller: the ready pods behind a Service, as `Endpoints` and as an `EndpointSlice`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::{ENDPOINTS, PODS, SERVICES, SLICES};
use super::object;
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::world::World;

const CHANGED_AT: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Brings the endpoints of one service up to date.
pub fn reconcile(world: &mut World, key: &Key) {
    let endpoints = Key::new(&ENDPOINTS, &key.namespace, &key.name);
    let Some(service) = world.store.get(key).cloned() else {
        // Endpoints have no owner: they share only the name.
        let _gone = registry::delete(world, &endpoints, &DeleteOptions::default());
        return;
    };
    let selector = &service["spec"]["selector"];
    if selector.as_object().is_none_or(serde_json::Map::is_empty) || object::deleting(&service) {
        return;
    }
    let mut pods: Vec<Arc<Value>> = world
        .store
        .list(&PODS, Some(&key.namespace))
        .filter(|(_, p)| {
            object::contains_all(selector, &p["metadata"]["labels"])
                && p["status"]["podIP"].as_str().is_some_and(|i| !i.is_empty())
                && !object::ended(p)
        })
        .map(|(_, p)| Arc::clone(p))
        .collect();
    pods.sort_by_key(|p| p["status"]["podIP"].as_str().and_then(|i| i.parse::<std::net::Ipv4Addr>().ok()));
    write_endpoints(world, &endpoints, &service, &pods);
    write_slice(world, key, &service, &pods);
}

/// The numbers that the ports of a service have on a pod; ports with a name that the pod does not know are left out.
pub fn target_ports(service: &Value, pod: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    for p in service["spec"]["ports"].as_array().into_iter().flatten() {
        let number = match &p["targetPort"] {
            Value::String(name) => container_port(pod, name),
            Value::Number(n) => n.as_u64(),
            _ => p["port"].as_u64(),
        };
        let Some(number) = number else { continue };
        let mut port = json!({"port": number, "protocol": p["protocol"].as_str().unwrap_or("TCP")});
        if let Some(name) = p["name"].as_str() {
            port["name"] = name.into();
        }
        if let Some(app) = p["appProtocol"].as_str() {
            port["appProtocol"] = app.into();
        }
        out.push(port);
    }
    out
}

fn container_port(pod: &Value, name: &str) -> Option<u64> {
    let containers = pod["spec"]["containers"].as_array()?;
    containers.iter().flat_map(|c| c["ports"].as_array().into_iter().flatten()).find(|p| p["name"] == name)?["containerPort"].as_u64()
}

fn reference(pod: &Value) -> Value {
    json!({"kind": "Pod", "name": object::name(pod), "namespace": pod["metadata"]["namespace"], "uid": object::uid(pod)})
}

/// Addresses that share their ports.
#[derive(Default)]
struct Subset {
    ready: Vec<Value>,
    not_ready: Vec<Value>,
    ports: Vec<Value>,
}

fn write_endpoints(world: &mut World, key: &Key, service: &Value, pods: &[Arc<Value>]) {
    // Pods with the same ports share a subset.
    let mut groups: BTreeMap<String, Subset> = BTreeMap::new();
    for pod in pods.iter().filter(|p| !object::deleting(p)) {
        let ports = target_ports(service, pod);
        let address = json!({"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": reference(pod)});
        let group = groups.entry(serde_json::to_string(&ports).unwrap_or_default()).or_default();
        group.ports = ports;
        if object::ready(pod) || service["spec"]["publishNotReadyAddresses"] == true {
            group.ready.push(address);
        } else {
            group.not_ready.push(address);
        }
    }
    let mut subsets = Vec::new();
    for Subset { ready, not_ready, ports } in groups.into_values() {
        let mut subset = json!({});
        if !ready.is_empty() {
            subset["addresses"] = ready.into();
        }
        if !not_ready.is_empty() {
            subset["notReadyAddresses"] = not_ready.into();
        }
        if !ports.is_empty() {
            subset["ports"] = ports.into();
        }
        subsets.push(subset);
    }
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert("endpoints.kubernetes.io/managed-by".into(), "endpoint-controller".into());
    if service["spec"]["clusterIP"] == "None" {
        labels.insert("service.kubernetes.io/headless".into(), "".into());
    }
    let mut new = match world.store.get(key) {
        Some(old) => (**old).clone(),
        None => json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": &*key.name}}),
    };
    let exists = !new["metadata"]["uid"].is_null();
    let unchanged = exists
        && new["subsets"].as_array().map_or(&[][..], Vec::as_slice) == subsets.as_slice()
        && new["metadata"]["labels"].as_object() == Some(&labels);
    if unchanged {
        return;
    }
    new["metadata"]["labels"] = labels.into();
    object::annotate(&mut new, CHANGED_AT, &world.now.rfc3339());
    match (subsets.is_empty(), new.as_object_mut()) {
        (true, Some(o)) => {
            o.remove("subsets");
        }
        _ => new["subsets"] = subsets.into(),
    }
    write(world, key, new, exists);
}

fn write_slice(world: &mut World, key: &Key, service: &Value, pods: &[Arc<Value>]) {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|p| {
            let (ready, terminating) = (object::ready(p), object::deleting(p));
            let publish = service["spec"]["publishNotReadyAddresses"] == true;
            json!({
                "addresses": [p["status"]["podIP"]],
                "conditions": {"ready": publish || (ready && !terminating), "serving": ready, "terminating": terminating},
                "nodeName": p["spec"]["nodeName"], "targetRef": reference(p),
            })
        })
        .collect();
    let mut ports = pods.first().map(|p| target_ports(service, p)).unwrap_or_default();
    for p in &mut ports {
        if p["name"].is_null() {
            p["name"] = "".into();
        }
    }
    let existing = world
        .store
        .list(&SLICES, Some(&key.namespace))
        .find(|(_, s)| object::controlled_by(s, object::uid(service)))
        .map(|(k, s)| (k.clone(), Arc::clone(s)));
    let same = |old: &Value, field: &str, new: &[Value]| old[field].as_array().map_or(&[][..], Vec::as_slice) == new;
    if let Some((k, old)) = existing {
        if same(&old, "endpoints", &endpoints) && (same(&old, "ports", &ports) || pods.is_empty()) {
            return;
        }
        let mut new = (*old).clone();
        object::annotate(&mut new, CHANGED_AT, &world.now.rfc3339());
        new["endpoints"] = endpoints.into();
        new["ports"] = if pods.is_empty() { old["ports"].clone() } else { ports.into() };
        write(world, &k, new, true);
        return;
    }
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert("endpointslice.kubernetes.io/managed-by".into(), "endpointslice-controller.k8s.io".into());
    labels.insert("kubernetes.io/service-name".into(), (&*key.name).into());
    if service["spec"]["clusterIP"] == "None" {
        labels.insert("service.kubernetes.io/headless".into(), "".into());
    }
    let name = format!("{}-{}", key.name, world.suffix(5));
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": name, "generateName": format!("{}-", key.name), "labels": labels,
            "annotations": {CHANGED_AT: world.now.rfc3339()}, "ownerReferences": [object::owner_reference(&SERVICES, service)],
        },
        "endpoints": endpoints, "ports": ports,
    });
    write(world, &Key::new(&SLICES, &key.namespace, &name), slice, false);
}

fn write(world: &mut World, key: &Key, object: Value, exists: bool) {
    // A write can only fail where the namespace is going: then endpoints are of no use either.
    let _written = if exists {
        registry::update(world, key, object, Part::Main)
    } else {
        registry::create(world, &key.resource, &key.namespace, object)
    };
}
