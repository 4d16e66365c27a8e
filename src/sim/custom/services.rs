//! The `APIService` of every group and version that is served: what `kubectl get apiservices` lists.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::sim::catalog::{Catalog, group_version};
use crate::sim::resource::{Key, Resource};
use crate::sim::world::World;

/// Says who made such an object.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Priorities of the groups, as the API server registers them (`kubectl get apiservices -o yaml`).
const PRIORITIES: [(&str, u32); 17] = [
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("discovery.k8s.io", 16_200),
];

/// Makes the missing ones, and removes those of definitions that are gone.
pub fn settle(world: &mut World) {
    let services = Resource::new("apiregistration.k8s.io", "apiservices");
    let mut wanted = BTreeMap::new();
    // The aggregator serves its own group and has no entry for it.
    for (group, versions) in Catalog::get().groups.iter().filter(|(g, _)| g != "apiregistration.k8s.io") {
        for version in versions {
            let custom = Catalog::get().of_version(group, version).all(|k| k.custom());
            wanted.insert(format!("{version}.{group}"), service(group, version, custom));
        }
    }
    for (group, versions) in world.customs.groups() {
        for version in versions {
            wanted.entry(format!("{version}.{group}")).or_insert_with(|| service(&group, &version, true));
        }
    }
    let gone: Vec<Key> = world
        .store
        .list(&services, None)
        .filter(|(k, o)| !wanted.contains_key(&*k.name) && o["metadata"]["labels"][MANAGED].is_string())
        .map(|(k, _)| k.clone())
        .collect();
    for key in gone {
        world.store.remove(&key);
    }
    for (name, mut object) in wanted {
        let key = Key::new(&services, "", &name);
        if world.store.get(&key).is_some() {
            continue;
        }
        let now = world.now.rfc3339();
        object["metadata"]["name"] = name.as_str().into();
        object["metadata"]["creationTimestamp"] = now.as_str().into();
        // Not one of the cluster's random identifiers: those are part of what a seed stands for.
        object["metadata"]["uid"] = uid(&name).into();
        object["status"] = json!({"conditions": [{"type": "Available", "status": "True", "reason": "Local",
            "message": "Local APIServices are always available", "lastTransitionTime": now}]});
        world.store.put(&key, object);
    }
}

fn service(group: &str, version: &str, custom: bool) -> Value {
    let priority = PRIORITIES.iter().find(|(g, _)| *g == group).map_or(16_000, |(_, p)| *p);
    let (minimum, order) = if custom { (1_000, 100) } else { (priority, 15) };
    let mut spec = json!({"groupPriorityMinimum": minimum, "version": version, "versionPriority": order});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    let how = if custom { "true" } else { "onstart" };
    json!({"apiVersion": group_version("apiregistration.k8s.io", "v1"), "kind": "APIService", "metadata": {"labels": {MANAGED: how}}, "spec": spec})
}

fn uid(name: &str) -> String {
    let mut text = String::new();
    for (i, byte) in Sha256::digest(name.as_bytes()).iter().take(16).enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let byte = match i {
            6 => byte & 0x0f | 0x40,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
