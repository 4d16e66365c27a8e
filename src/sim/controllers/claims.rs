//! Persistent volume claims: a volume for each, at once, as a local-path provisioner makes them.

use serde_json::{Value, json};

use super::kinds::VOLUMES;
use super::object;
use crate::sim::registry;
use crate::sim::resource::Key;
use crate::sim::world::World;

/// Binds a new claim to a volume made for it; removes the volume of a claim that is gone.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(claim) = world.store.get(key).cloned() else {
        let gone: Vec<Key> = world
            .store
            .list(&VOLUMES, None)
            .filter(|(_, v)| v["spec"]["claimRef"]["namespace"] == *key.namespace && v["spec"]["claimRef"]["name"] == *key.name)
            .map(|(k, _)| k.clone())
            .collect();
        for k in gone {
            world.store.remove(&k);
        }
        world.runtime.forget_claim(key);
        return;
    };
    if claim["status"]["phase"] == "Bound" || object::deleting(&claim) {
        return;
    }
    let size = &claim["spec"]["resources"]["requests"]["storage"];
    let name = match claim["spec"]["volumeName"].as_str() {
        Some(n) if !n.is_empty() => n.to_owned(),
        _ => format!("pvc-{}", object::uid(&claim)),
    };
    let volume = Key::new(&VOLUMES, "", &name);
    if world.store.get(&volume).is_none() {
        let new = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "accessModes": claim["spec"]["accessModes"], "capacity": {"storage": size}, "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": "local-path", "volumeMode": "Filesystem",
                "hostPath": {"path": format!("/var/lib/rancher/k3s/storage/{name}_{}_{}", key.namespace, key.name), "type": "DirectoryOrCreate"},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": &*key.name, "namespace": &*key.namespace, "uid": object::uid(&claim)},
            },
        });
        // Without a volume the claim stays pending, which is what a refusal means.
        if registry::create(world, &VOLUMES, "", new).is_err() {
            return;
        }
    }
    bound(world, &volume, &json!({"phase": "Bound"}));
    let mut new = (*claim).clone();
    new["spec"]["volumeName"] = name.into();
    new["status"] = json!({"phase": "Bound", "accessModes": claim["spec"]["accessModes"], "capacity": {"storage": size}});
    // The binding belongs to the controller, which may write what users may not change.
    world.store.put(key, new);
}

fn bound(world: &mut World, key: &Key, status: &Value) {
    let Some(volume) = world.store.get(key) else { return };
    let mut new = (**volume).clone();
    new["status"] = status.clone();
    world.store.put(key, new);
}
