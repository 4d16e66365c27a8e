//! Namespace lifecycle: default objects on creation, emptying on deletion.

use serde_json::{Value, json};

use super::kinds::{CONFIG_MAPS, NAMESPACES, PODS, SERVICE_ACCOUNTS};
use super::object;
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::world::World;

/// The certificate that every namespace gets; the embedded cluster speaks plain HTTP, so it only has to look like one.
const CA: &str =
    "-----BEGIN CERTIFICATE-----\nMIIBdzCCAR2gAwIBAgIBADAKBggqhkjOPQQDAjAjMSEwHwYDVQQDDBhrM3Mtc2Vy\n-----END CERTIFICATE-----\n";

/// Whether a namespace is going.
pub fn terminating(world: &World, namespace: &str) -> bool {
    world.store.get(&Key::new(&NAMESPACES, "", namespace)).is_none_or(|n| object::deleting(n))
}

/// Fills a new namespace, empties a dying one.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(namespace) = world.store.get(key).cloned() else {
        empty(world, &key.name);
        return;
    };
    if object::deleting(&namespace) {
        finish(world, key, &namespace);
        return;
    }
    let mut new = (*namespace).clone();
    if !new["spec"]["finalizers"].is_array() {
        new["spec"] = json!({"finalizers": ["kubernetes"]});
    }
    if new["status"]["phase"] != "Active" {
        new["status"]["phase"] = "Active".into();
    }
    if new["metadata"]["labels"]["kubernetes.io/metadata.name"].is_null() {
        if !new["metadata"]["labels"].is_object() {
            new["metadata"]["labels"] = json!({});
        }
        new["metadata"]["labels"]["kubernetes.io/metadata.name"] = (&*key.name).into();
    }
    if new != *namespace {
        world.store.put(key, new);
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    if world.store.get(&Key::new(&SERVICE_ACCOUNTS, &key.name, "default")).is_none() {
        // It can only exist already.
        let _there = registry::create(world, &SERVICE_ACCOUNTS, &key.name, account);
    }
    if world.store.get(&Key::new(&CONFIG_MAPS, &key.name, "kube-root-ca.crt")).is_none() {
        let note = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"ca.crt": CA},
            "metadata": {"name": "kube-root-ca.crt", "annotations": {"kubernetes.io/description": note}}});
        // It can only exist already.
        let _there = registry::create(world, &CONFIG_MAPS, &key.name, map);
    }
}

fn empty(world: &mut World, namespace: &str) -> usize {
    let content = world.store.keys_in_namespace(namespace);
    // Pods go through their grace period, everything else at once.
    for key in content.iter().filter(|k| k.resource != *PODS).chain(content.iter().filter(|k| k.resource == *PODS)) {
        if world.store.get(key).is_some_and(|o| !object::deleting(o)) {
            // Gone already is as good.
            let _gone = registry::delete(world, key, &DeleteOptions::default());
        }
    }
    world.store.in_namespace(namespace).filter(|(k, _)| &*k.resource.plural != "events").count()
}

fn finish(world: &mut World, key: &Key, namespace: &Value) {
    if namespace["status"]["phase"] != "Terminating" {
        let mut new = namespace.clone();
        new["status"]["phase"] = "Terminating".into();
        world.store.put(key, new);
    }
    if empty(world, &key.name) > 0 {
        return;
    }
    for k in world.store.keys_in_namespace(&key.name) {
        world.store.remove(&k);
    }
    let Some(current) = world.store.get(key) else { return };
    let mut new = (**current).clone();
    new["spec"]["finalizers"] = json!([]);
    // The registry may remove the namespace with its last finalizer; otherwise that is done here.
    let _done = registry::update(world, key, new, Part::Main);
    if world.store.get(key).is_some_and(|n| n["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)) {
        world.store.remove(key);
    }
}
