//! How storage ends: claims stay while a pod has them, volumes while a claim has them; then volumes are kept or removed.

use serde_json::{Value, json};

use super::claims::{claimed, phase};
use super::events::{self, Report, Source};
use super::kinds::{CLAIMS, PODS};
use super::{enqueue, object};
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::world::World;

const SELF: Source<'static> = Source { component: "persistentvolume-controller", host: "" };
const OF_CLAIMS: &str = "kubernetes.io/pvc-protection";
const OF_VOLUMES: &str = "kubernetes.io/pv-protection";

fn volumes(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["spec"]["volumes"].as_array().into_iter().flatten()
}

fn unlock(world: &mut World, key: &Key, finalizer: &str) {
    let Some(object) = world.store.get(key).filter(|o| object::has_finalizer(o, finalizer)) else { return };
    let mut new = (**object).clone();
    object::drop_finalizer(&mut new, finalizer);
    // Gone already is as good.
    let _done = registry::update(world, key, new, Part::Main);
}

/// Lets a claim go that is to be deleted, if no pod on a node has it, even one that has ended.
pub(super) fn unprotect_claim(world: &mut World, key: &Key) {
    let has = |pod: &Value| {
        pod["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty())
            && volumes(pod).any(|v| claimed(pod, v).is_some_and(|name| *name == *key.name))
    };
    if !world.store.list(&PODS, Some(&key.namespace)).any(|(_, p)| has(p)) {
        unlock(world, key, OF_CLAIMS);
    }
}

/// Lets a volume go that is to be deleted, if no claim has it.
pub(super) fn unprotect_volume(world: &mut World, key: &Key) {
    if world.store.get(key).is_some_and(|v| object::deleting(v) && v["status"]["phase"] != "Bound") {
        unlock(world, key, OF_VOLUMES);
    }
}

/// Claims that are to be deleted may have waited for the pod.
pub(super) fn pod_gone(world: &mut World, key: &Key, pod: &Value) {
    for volume in volumes(pod) {
        if let Some(name) = claimed(pod, volume) {
            enqueue(world, &Key::new(&CLAIMS, &key.namespace, &name));
        }
    }
}

/// Makes the claims that live as long as a pod.
pub(super) fn pod_made(world: &mut World, key: &Key, pod: &Value) {
    for volume in volumes(pod).filter(|v| v["ephemeral"]["volumeClaimTemplate"].is_object()) {
        let Some(name) = claimed(pod, volume) else { continue };
        let template = &volume["ephemeral"]["volumeClaimTemplate"];
        let mut metadata = json!({"name": name, "ownerReferences": [object::owner_reference(&PODS, pod)]});
        for part in ["labels", "annotations"] {
            if template["metadata"][part].is_object() {
                metadata[part] = template["metadata"][part].clone();
            }
        }
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]});
        // Somebody else's claim of that name keeps the pod waiting.
        let _made = registry::create(world, &CLAIMS, &key.namespace, claim);
    }
}

/// The claim of a volume is gone: the volume is kept, or removed by whoever made it.
pub(super) fn free(world: &mut World, key: &Key) {
    phase(world, key, "Released");
    let Some(volume) = world.store.get(key).cloned() else { return };
    if volume["spec"]["persistentVolumeReclaimPolicy"] != "Delete" {
        return;
    }
    let path = volume["spec"]["hostPath"]["path"].as_str();
    let removable =
        object::annotation(&volume, "pv.kubernetes.io/provisioned-by").is_some() || path.is_some_and(|p| p.starts_with("/tmp/"));
    if removable {
        let _gone = registry::delete(world, key, &DeleteOptions::default());
        return;
    }
    let why = match path {
        Some(path) => format!("host_path deleter only supports /tmp/.+ but received provided {path}"),
        None => format!("error getting deleter volume plugin for volume \"{}\": no deletable volume plugin matched", key.name),
    };
    let mut new = (*volume).clone();
    new["status"] = json!({"phase": "Failed", "message": why});
    let stored = world.store.put(key, new);
    events::emit(world, key, &stored, SELF, Report::warning("VolumeFailedDelete", why));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::controllers::kinds::VOLUMES;
    use crate::sim::controllers::tests::{NS, advance, world};

    fn make(w: &mut World, resource: &crate::sim::resource::Resource, namespace: &str, object: Value) {
        registry::create(w, resource, namespace, object).unwrap();
        w.settle();
        advance(w, 5.0);
    }

    fn claim(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    }

    fn delete(w: &mut World, key: &Key) {
        registry::delete(w, key, &DeleteOptions::default()).unwrap();
        w.settle();
        advance(w, 2.0);
    }

    #[test]
    fn a_claim_in_use_stays_until_its_pod_is_gone_and_its_volume_until_the_claim_is() {
        let mut w = world();
        make(&mut w, &CLAIMS, NS, claim("data"));
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}], "containers": [{"name": "c", "image": "nginx"}]}});
        make(&mut w, &PODS, NS, pod);
        let key = Key::new(&CLAIMS, NS, "data");
        let bound = w.store.get(&key).unwrap().clone();
        assert_eq!(bound["metadata"]["finalizers"], json!([OF_CLAIMS]));
        assert_eq!(object::annotation(&bound, "pv.kubernetes.io/bind-completed"), Some("yes"));
        let volume = Key::new(&VOLUMES, "", bound["spec"]["volumeName"].as_str().unwrap());
        delete(&mut w, &key);
        delete(&mut w, &volume);
        assert!(w.store.get(&key).is_some_and(|c| object::deleting(c)));
        assert!(w.store.get(&volume).is_some_and(|v| object::deleting(v) && v["status"]["phase"] == "Bound"));
        delete(&mut w, &Key::new(&PODS, NS, "p"));
        advance(&mut w, 5.0);
        assert!(w.store.get(&key).is_none() && w.store.get(&volume).is_none());
    }

    #[test]
    fn a_volume_of_somebodys_own_is_kept_or_cannot_be_removed() {
        let mut w = world();
        for (name, policy, phase) in [("kept", "Retain", "Released"), ("stuck", "Delete", "Failed")] {
            let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}, "storageClassName": name, "hostPath": {"path": "/srv"},
                "persistentVolumeReclaimPolicy": policy}});
            make(&mut w, &VOLUMES, "", volume);
            let mut wish = claim(name);
            wish["spec"]["storageClassName"] = name.into();
            make(&mut w, &CLAIMS, NS, wish.clone());
            delete(&mut w, &Key::new(&CLAIMS, NS, name));
            assert_eq!(w.store.get(&Key::new(&VOLUMES, "", name)).unwrap()["status"]["phase"], phase);
            // It is another claim's, though that had the same name.
            make(&mut w, &CLAIMS, NS, wish);
            assert_eq!(w.store.get(&Key::new(&CLAIMS, NS, name)).unwrap()["status"]["phase"], "Pending");
        }
    }

    #[test]
    fn a_claim_without_its_volume_is_lost_and_one_made_for_a_pod_goes_with_it() {
        let mut w = world();
        make(&mut w, &CLAIMS, NS, claim("data"));
        let volume = w.store.list(&VOLUMES, None).next().unwrap().0.clone();
        w.store.remove(&volume);
        w.settle();
        advance(&mut w, 2.0);
        assert_eq!(w.store.get(&Key::new(&CLAIMS, NS, "data")).unwrap()["status"]["phase"], "Lost");
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": claim("x")["spec"]}}}],
            "containers": [{"name": "c", "image": "nginx"}]}});
        make(&mut w, &PODS, NS, pod);
        assert_eq!(w.store.get(&Key::new(&CLAIMS, NS, "p-v")).unwrap()["status"]["phase"], "Bound");
        assert_eq!(w.store.get(&Key::new(&PODS, NS, "p")).unwrap()["status"]["phase"], "Running");
        delete(&mut w, &Key::new(&PODS, NS, "p"));
        advance(&mut w, 5.0);
        assert!(w.store.get(&Key::new(&CLAIMS, NS, "p-v")).is_none());
    }
}
