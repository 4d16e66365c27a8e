//! Persistent volume claims: a volume that is there already and fits, or one made for it, at once, as a local-path provisioner makes them.
//!
//! A claim of a class that does not exist, or whose provisioner is somebody else's, waits.

use std::time::Duration;

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::kinds::{CLAIMS, STORAGE_CLASSES, VOLUMES};
use super::{object, reclaim};
use crate::sim::kubelet::quantity;
use crate::sim::registry;
use crate::sim::resource::Key;
use crate::sim::world::{Event, World};

const SELF: Source<'static> = Source { component: "persistentvolume-controller", host: "" };
/// The class of claims that name none, and who makes its volumes, as k3s has it.
const LOCAL: &str = "local-path";
const PROVISIONER: &str = "rancher.io/local-path";
/// How often a claim without a volume is looked at.
const PERIOD: Duration = Duration::from_secs(15);

/// Binds a new claim to a volume made for it; lets a claim go that nobody uses; frees the volume of one that is gone.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(claim) = world.store.get(key).cloned() else {
        let its = |v: &Value| {
            v["spec"]["claimRef"]["namespace"] == *key.namespace
                && v["spec"]["claimRef"]["name"] == *key.name
                && v["status"]["phase"] == "Bound"
        };
        let left: Vec<Key> = world.store.list(&VOLUMES, None).filter(|(_, v)| its(v)).map(|(k, _)| k.clone()).collect();
        for k in left {
            reclaim::free(world, &k);
        }
        world.runtime.forget_claim(key);
        return;
    };
    if object::deleting(&claim) {
        reclaim::unprotect_claim(world, key);
        return;
    }
    if claim["status"]["phase"] == "Bound" {
        let volume = Key::new(&VOLUMES, "", claim["spec"]["volumeName"].as_str().unwrap_or_default());
        if world.store.get(&volume).is_none() {
            let mut new = (*claim).clone();
            new["status"] = json!({"phase": "Lost"});
            let stored = world.store.put(key, new);
            let text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
            events::emit(world, key, &stored, SELF, Report::warning("ClaimLost", text));
        }
        return;
    }
    if claim["status"]["phase"] == "Lost" {
        return;
    }
    let fitting = world.store.list(&VOLUMES, None).find(|(_, v)| fits(v, &claim)).map(|(k, _)| k.name.to_string());
    let made = fitting.is_none();
    let name = fitting.unwrap_or_else(|| format!("pvc-{}", object::uid(&claim)));
    let volume = Key::new(&VOLUMES, "", &name);
    if made && let Some(report) = unprovided(world, &claim) {
        events::emit(world, key, &claim, SELF, report);
        // The real controller looks every 15 seconds.
        world.agenda.at(world.now.after(PERIOD), Event::Reconcile(key.clone()));
        return;
    }
    let size = &claim["spec"]["resources"]["requests"]["storage"];
    if made {
        let new = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
            "spec": {
                "accessModes": claim["spec"]["accessModes"], "capacity": {"storage": size}, "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": class(&claim).unwrap_or(LOCAL), "volumeMode": "Filesystem",
                "hostPath": {"path": format!("/var/lib/rancher/k3s/storage/{name}_{}_{}", key.namespace, key.name), "type": "DirectoryOrCreate"},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": &*key.name, "namespace": &*key.namespace, "uid": object::uid(&claim)},
            },
        });
        // Without a volume the claim stays pending, which is what a refusal means.
        if registry::create(world, &VOLUMES, "", new).is_err() {
            return;
        }
    }
    let has = bound(world, &volume, key, object::uid(&claim));
    let mut new = (*claim).clone();
    object::annotate(&mut new, "pv.kubernetes.io/bind-completed", "yes");
    if claim["spec"]["volumeName"].as_str().is_none_or(str::is_empty) {
        object::annotate(&mut new, "pv.kubernetes.io/bound-by-controller", "yes");
    }
    new["spec"]["volumeName"] = name.into();
    new["status"] = json!({"phase": "Bound", "accessModes": has["accessModes"], "capacity": has["capacity"]});
    // The binding belongs to the controller, which may write what users may not change.
    world.store.put(key, new);
}

/// A volume that nobody has is there to be taken, or to go.
pub fn volume(world: &mut World, key: &Key) {
    reclaim::unprotect_volume(world, key);
    if world.store.get(key).is_some_and(|v| v["status"]["phase"] == "Pending") {
        phase(world, key, "Available");
    }
}

pub(super) fn phase(world: &mut World, volume: &Key, phase: &str) {
    if let Some(old) = world.store.get(volume) {
        let mut new = (**old).clone();
        new["status"]["phase"] = phase.into();
        world.store.put(volume, new);
    }
}

/// Gives a volume to a claim; its specification.
fn bound(world: &mut World, key: &Key, claim: &Key, uid: &str) -> Value {
    let Some(volume) = world.store.get(key) else { return Value::Null };
    let mut new = (**volume).clone();
    new["status"] = json!({"phase": "Bound"});
    new["spec"]["claimRef"] = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": &*claim.name, "namespace": &*claim.namespace, "uid": uid,
    });
    world.store.put(key, new)["spec"].clone()
}

/// The class that a claim names; `None`: the default. An empty name asks for a volume without one.
fn class(claim: &Value) -> Option<&str> {
    claim["spec"]["storageClassName"].as_str()
}

/// Whether a volume is free, and what a claim asks for.
fn fits(volume: &Value, claim: &Value) -> bool {
    let (has, wants) = (&volume["spec"], &claim["spec"]);
    let name = object::name(volume);
    let meant = wants["volumeName"].as_str().filter(|n| !n.is_empty());
    let reserved = &has["claimRef"];
    let ours = reserved["name"] == claim["metadata"]["name"]
        && reserved["namespace"] == claim["metadata"]["namespace"]
        && (reserved["uid"].is_null() || reserved["uid"] == claim["metadata"]["uid"]);
    if meant.is_some_and(|n| n != name) || !(reserved.is_null() || ours) {
        return false;
    }
    let modes = |v: &Value| v["accessModes"].as_array().cloned().unwrap_or_default();
    let offered = modes(has);
    let size = |v: &Value| quantity::parse(v).unwrap_or(0.0);
    let same_class = has["storageClassName"].as_str().unwrap_or_default() == class(claim).unwrap_or(LOCAL)
        || (meant.is_some() && class(claim).is_none());
    same_class
        && modes(wants).iter().all(|m| offered.contains(m))
        && size(&has["capacity"]["storage"]) >= size(&wants["resources"]["requests"]["storage"])
        && (!wants["selector"].is_object() || object::selects(&wants["selector"], &volume["metadata"]["labels"]))
}

/// Why nobody makes a volume for a claim.
fn unprovided(world: &World, claim: &Value) -> Option<Report<'static>> {
    if let Some(volume) = claim["spec"]["volumeName"].as_str().filter(|n| !n.is_empty()) {
        let there = world.store.get(&Key::new(&VOLUMES, "", volume)).is_some();
        let text = if there {
            format!("Cannot bind to requested volume \"{volume}\": requested volume is not available or does not match")
        } else {
            format!("volume \"{volume}\" not found")
        };
        return Some(Report::warning(if there { "VolumeMismatch" } else { "FailedBinding" }, text));
    }
    let name = class(claim).unwrap_or(LOCAL);
    if name.is_empty() {
        return Some(Report::normal("FailedBinding", "no persistent volumes available for this claim and no storage class is set"));
    }
    match world.store.get(&Key::new(&STORAGE_CLASSES, "", name)).map(|c| c["provisioner"].as_str().unwrap_or_default().to_owned()) {
        None if name == LOCAL => None,
        None => Some(Report::warning("ProvisioningFailed", format!("storageclass.storage.k8s.io \"{name}\" not found"))),
        Some(p) if p == PROVISIONER => None,
        Some(p) if p == "kubernetes.io/no-provisioner" => {
            Some(Report::normal("FailedBinding", "no persistent volumes available for this claim and no storage class is set"))
        }
        Some(p) => Some(Report::normal(
            "ExternalProvisioning",
            format!(
                "Waiting for a volume to be created either by the external provisioner '{p}' or manually by the system administrator. If volume \
                 creation is delayed, please verify that the provisioner is running and correctly registered."
            ),
        )),
    }
}

/// The claim that a volume of a pod is: one that it names, or one made for it.
pub(super) fn claimed(pod: &Value, volume: &Value) -> Option<String> {
    if volume["ephemeral"]["volumeClaimTemplate"].is_object() {
        return Some(format!("{}-{}", object::name(pod), volume["name"].as_str()?));
    }
    volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned)
}

/// What keeps a pod from every node: a claim that is not there, or has no volume.
pub(super) fn obstacle(world: &World, pod: &Value) -> Option<String> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|v| claimed(pod, v)).find_map(|name| {
        let name = &*name;
        let Some(claim) = world.store.get(&Key::new(&CLAIMS, namespace, name)) else {
            return Some(format!("persistentvolumeclaim \"{name}\" not found"));
        };
        if object::deleting(claim) {
            return Some(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        (claim["status"]["phase"] != "Bound").then(|| "pod has unbound immediate PersistentVolumeClaims".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::controllers::tests::{NS, advance, pods, world};

    fn make(w: &mut World, resource: &crate::sim::resource::Resource, namespace: &str, object: Value) {
        registry::create(w, resource, namespace, object).unwrap();
        w.settle();
        advance(w, 2.0);
    }

    fn claim(name: &str, class: Option<&str>, size: &str) -> Value {
        let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}});
        if let Some(class) = class {
            claim["spec"]["storageClassName"] = class.into();
        }
        claim
    }

    fn waits(w: &World) -> Option<String> {
        let pod = pods(w, "p").remove(0).1;
        let scheduled = object::condition(&pod["status"], "PodScheduled").unwrap();
        scheduled["message"].as_str().map(|m| m.split(". no new").next().unwrap().to_owned())
    }

    #[test]
    fn pods_wait_for_their_claims_and_claims_for_their_class() {
        let mut w = world();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "p"}}, "spec": {
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}], "containers": [{"name": "c", "image": "nginx"}]}});
        make(&mut w, &super::super::kinds::PODS, NS, pod);
        assert_eq!(waits(&w).as_deref(), Some("0/3 nodes are available: persistentvolumeclaim \"data\" not found"));
        make(&mut w, &CLAIMS, NS, claim("data", Some("fast"), "1Gi"));
        assert_eq!(waits(&w).as_deref(), Some("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims"));
        let said = |w: &World| {
            w.store
                .list(&super::super::kinds::EVENTS, Some(NS))
                .any(|(_, e)| e["message"] == "storageclass.storage.k8s.io \"fast\" not found")
        };
        assert!(said(&w));
        let class =
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"}, "provisioner": PROVISIONER});
        make(&mut w, &STORAGE_CLASSES, "", class);
        assert_eq!(waits(&w), None);
    }

    #[test]
    fn volumes_that_are_there_are_taken_if_they_fit() {
        let mut w = world();
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}, "storageClassName": "manual", "hostPath": {"path": "/srv"}}});
        make(&mut w, &VOLUMES, "", volume);
        let phase = |w: &World, r: &crate::sim::resource::Resource, ns: &str, name: &str| {
            w.store.get(&Key::new(r, ns, name)).unwrap()["status"]["phase"].clone()
        };
        assert_eq!(phase(&w, &VOLUMES, "", "disk"), "Available");
        make(&mut w, &CLAIMS, NS, claim("large", Some("manual"), "3Gi"));
        assert_eq!(phase(&w, &CLAIMS, NS, "large"), "Pending");
        make(&mut w, &CLAIMS, NS, claim("small", Some("manual"), "1Gi"));
        let small = w.store.get(&Key::new(&CLAIMS, NS, "small")).unwrap();
        assert_eq!((&small["spec"]["volumeName"], &small["status"]["capacity"]["storage"]), (&json!("disk"), &json!("2Gi")));
        w.store.remove(&Key::new(&CLAIMS, NS, "small"));
        w.settle();
        advance(&mut w, 2.0);
        assert_eq!(phase(&w, &VOLUMES, "", "disk"), "Released");
    }
}
