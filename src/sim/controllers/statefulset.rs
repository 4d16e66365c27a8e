//! `StatefulSet` controller: pods with stable names, made and replaced in order. Also keeps controller revisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::kinds::{CLAIMS, PODS, REVISIONS, STATEFUL_SETS};
use super::object::{self, int};
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::world::{Event, World};

const SELF: Source<'static> = Source { component: "statefulset-controller", host: "" };
const HASH: &str = "controller-revision-hash";
/// So many names are tried for a revision.
const COLLISIONS_MAX: i64 = 8;

/// The hash of the owner's template and the name of its controller revision, which is created when missing.
pub fn revision(world: &mut World, key: &Key, owner: &Value) -> (String, String) {
    // A set of the other kind may have the same name and template: then its revision has the name, and ours another hash.
    let others = |w: &World, at: &Key| {
        let revision = w.store.get(at);
        let owners = revision.and_then(|r| r["metadata"]["ownerReferences"].as_array()).into_iter().flatten();
        owners.into_iter().any(|o| o["controller"] == true && o["kind"] != owner["kind"])
    };
    let (mut hash, mut name, mut at) = (String::new(), String::new(), key.clone());
    for collisions in 0..COLLISIONS_MAX {
        hash = object::template_hash(&owner["spec"]["template"], collisions);
        name = format!("{}-{hash}", key.name);
        at = Key::new(&REVISIONS, &key.namespace, &name);
        if !others(world, &at) {
            break;
        }
    }
    let mine = |w: &World| {
        w.store
            .list(&REVISIONS, Some(&key.namespace))
            .filter(|(_, r)| object::controlled_by(r, object::uid(owner)))
            .map(|(_, r)| int(&r["revision"], 0))
            .max()
            .unwrap_or(0)
    };
    let latest = mine(world);
    if let Some(old) = world.store.get(&at).cloned() {
        // A rollback makes an old revision the latest again.
        if int(&old["revision"], 0) < latest {
            let mut new = (*old).clone();
            new["revision"] = (latest + 1).into();
            let _written = registry::update(world, &at, new, Part::Main);
        }
    } else {
        let mut template = owner["spec"]["template"].clone();
        template["$patch"] = "replace".into();
        let mut labels = owner["spec"]["template"]["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        // Each controller has its own label for it; their pods have the same.
        let label = if owner["kind"] == "StatefulSet" { "controller.kubernetes.io/hash" } else { HASH };
        labels.insert(label.into(), hash.as_str().into());
        let mut new = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": latest + 1, "data": {"spec": {"template": template}},
            "metadata": {"name": name, "labels": labels, "ownerReferences": [object::owner_reference(&key.resource, owner)]},
        });
        if owner["metadata"]["annotations"].is_object() {
            new["metadata"]["annotations"] = owner["metadata"]["annotations"].clone();
        }
        // It can only exist already.
        let _there = registry::create(world, &REVISIONS, &key.namespace, new);
    }
    (hash, name)
}

/// Takes the next step in the order of the pods, and reports the status.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(set) = world.store.get(key).cloned() else { return };
    if object::deleting(&set) {
        return;
    }
    let (_, update) = revision(world, key, &set);
    let wanted = int(&set["spec"]["replicas"], 1);
    let parallel = set["spec"]["podManagementPolicy"] == "Parallel";
    let pods = object::owned(world, &PODS, key, &set);
    let mut by_ordinal: BTreeMap<i64, (Key, Arc<Value>)> = BTreeMap::new();
    for (k, p) in pods {
        if let Some(i) = k.name.rsplit_once('-').and_then(|(_, i)| i.parse().ok()) {
            by_ordinal.insert(i, (k, p));
        }
    }
    let mut blocked = false;
    for i in 0..wanted {
        match by_ordinal.get(&i) {
            None => create(world, key, &set, i, &update),
            Some((k, p)) if object::ended(p) => {
                let k = k.clone();
                delete(world, key, &set, &k);
                blocked = true;
            }
            Some((_, p)) if object::ready(p) && !object::deleting(p) => continue,
            Some(_) => blocked = true,
        }
        if !parallel {
            blocked = true;
            break;
        }
    }
    let surplus: Vec<Key> =
        by_ordinal.range(wanted..).rev().filter(|(_, (_, p))| !object::deleting(p)).map(|(_, (k, _))| k.clone()).collect();
    let dying = by_ordinal.values().any(|(_, p)| object::deleting(p));
    if (!blocked && !dying) || parallel {
        for k in surplus.iter().take(if parallel { usize::MAX } else { 1 }) {
            delete(world, key, &set, k);
        }
    }
    // Rolling update: from the highest ordinal down, one at a time. A pod that is not ready and outdated does not block its own replacement.
    let partition = int(&set["spec"]["updateStrategy"]["rollingUpdate"]["partition"], 0);
    if set["spec"]["updateStrategy"]["type"] != "OnDelete" && surplus.is_empty() && !dying {
        for (_, (k, p)) in by_ordinal.range(partition..wanted).rev() {
            if p["metadata"]["labels"][HASH] != update.as_str() {
                delete(world, key, &set, k);
                break;
            }
            if !object::ready(p) {
                break;
            }
        }
    }
    report(world, key, &set, &update);
}

fn create(world: &mut World, key: &Key, set: &Value, i: i64, revision: &str) {
    let mut pod = object::pod_from_template(&set["spec"]["template"], &STATEFUL_SETS, set);
    let name = format!("{}-{i}", key.name);
    if let Some(m) = pod["metadata"].as_object_mut() {
        m.remove("generateName");
    }
    pod["metadata"]["name"] = name.as_str().into();
    pod["metadata"]["labels"][HASH] = revision.into();
    pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = name.as_str().into();
    pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = i.to_string().into();
    pod["spec"]["hostname"] = name.as_str().into();
    if let Some(s) = set["spec"]["serviceName"].as_str().filter(|s| !s.is_empty()) {
        pod["spec"]["subdomain"] = s.into();
    }
    for claim in set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let claim_name = format!("{}-{name}", object::name(claim));
        let mut volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        volumes.retain(|v| v["name"] != claim["metadata"]["name"]);
        volumes.push(json!({"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim_name}}));
        pod["spec"]["volumes"] = volumes.into();
        if world.store.get(&Key::new(&CLAIMS, &key.namespace, &claim_name)).is_none() {
            let object = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": claim_name, "labels": set["spec"]["selector"]["matchLabels"]}, "spec": claim["spec"],
            });
            // It can only exist already.
            let _there = registry::create(world, &CLAIMS, &key.namespace, object);
        }
    }
    match registry::create(world, &PODS, &key.namespace, pod) {
        Ok(_) => {
            let text = format!("create Pod {name} in StatefulSet {} successful", key.name);
            events::emit(world, key, set, SELF, Report::normal("SuccessfulCreate", text));
        }
        Err(e) => {
            let text = format!("create Pod {name} in StatefulSet {} failed error: {}", key.name, e.message);
            events::emit(world, key, set, SELF, Report::warning("FailedCreate", text));
            // Quotas may free up.
            world.agenda.at(world.now.after(std::time::Duration::from_secs(5)), Event::Reconcile(key.clone()));
        }
    }
}

fn delete(world: &mut World, key: &Key, set: &Value, pod: &Key) {
    if registry::delete(world, pod, &DeleteOptions::default()).is_ok() {
        let text = format!("delete Pod {} in StatefulSet {} successful", pod.name, key.name);
        events::emit(world, key, set, SELF, Report::normal("SuccessfulDelete", text));
    }
}

fn report(world: &mut World, key: &Key, set: &Value, update: &str) {
    let pods = object::owned(world, &PODS, key, set);
    let alive: Vec<_> = pods.iter().filter(|(_, p)| object::active(p)).collect();
    let count = |f: &dyn Fn(&Value) -> bool| alive.iter().filter(|(_, p)| f(p)).count();
    let ready = count(&|p| object::ready(p));
    let updated = count(&|p| p["metadata"]["labels"][HASH] == update);
    let wanted = usize::try_from(int(&set["spec"]["replicas"], 1)).unwrap_or(0);
    let Some(now) = world.store.get(key).cloned() else { return };
    let before = now["status"]["currentRevision"].as_str().unwrap_or(update).to_owned();
    let current = if updated == wanted && ready == wanted { update.to_owned() } else { before };
    let mut status = json!({
        "replicas": alive.len(), "readyReplicas": ready, "availableReplicas": ready, "updatedReplicas": updated,
        "currentReplicas": count(&|p| p["metadata"]["labels"][HASH] == current.as_str()), "currentRevision": current,
        "updateRevision": update, "observedGeneration": now["metadata"]["generation"], "collisionCount": 0,
    });
    if let Some(s) = status.as_object_mut() {
        s.retain(|k, v| *v != 0 || matches!(k.as_str(), "replicas" | "availableReplicas" | "collisionCount"));
    }
    if now["status"] != status {
        let mut new = (*now).clone();
        new["status"] = status;
        // Nobody else writes in between: the world is ours.
        let _written = registry::update(world, key, new, Part::Status);
    }
}
