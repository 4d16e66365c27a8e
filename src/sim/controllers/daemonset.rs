//! `DaemonSet` controller: one pod on every node that takes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::kinds::{DAEMON_SETS, NODES, PODS};
use super::object::{self, int};
use super::{scheduler, statefulset};
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::world::World;

const SELF: Source<'static> = Source { component: "daemonset-controller", host: "" };
const HASH: &str = "controller-revision-hash";

/// Creates missing pods, deletes surplus and outdated ones, and reports the status.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(set) = world.store.get(key).cloned() else { return };
    if object::deleting(&set) {
        return;
    }
    let (hash, _) = statefulset::revision(world, key, &set);
    let pods = object::owned(world, &PODS, key, &set);
    let mut by_node: BTreeMap<String, Vec<(Key, Arc<Value>)>> = BTreeMap::new();
    for (k, p) in pods {
        let pinned = &p["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][0]["matchFields"]
            [0]["values"][0];
        let node = p["spec"]["nodeName"].as_str().or(pinned.as_str()).unwrap_or_default().to_owned();
        by_node.entry(node).or_default().push((k, p));
    }
    let nodes: Vec<Arc<Value>> = world.store.list(&NODES, None).map(|(_, n)| Arc::clone(n)).collect();
    let mut probe = object::pod_from_template(&set["spec"]["template"], &DAEMON_SETS, &set);
    tolerate(&mut probe);
    let (mut desired, mut current, mut ready, mut updated, mut wrong) = (0, 0, 0, 0, 0);
    let rolling = set["spec"]["updateStrategy"]["type"] != "OnDelete";
    let mut outdated = Vec::new();
    for node in &nodes {
        let name = object::name(node).to_owned();
        let runs = by_node.remove(&name).unwrap_or_default();
        let fits = object::contains_all(&probe["spec"]["nodeSelector"], &node["metadata"]["labels"])
            && node["spec"]["taints"].as_array().is_none_or(|t| t.iter().all(|t| scheduler::tolerates(&probe, t)));
        if !fits {
            wrong += i64::from(!runs.is_empty());
            for (k, _) in runs.iter().filter(|(_, p)| object::active(p)) {
                delete(world, key, &set, k);
            }
            continue;
        }
        desired += 1;
        let alive: Vec<_> = runs.iter().filter(|(_, p)| object::active(p)).collect();
        if let Some((k, p)) = alive.first() {
            current += 1;
            ready += i64::from(object::ready(p));
            if p["metadata"]["labels"][HASH] == hash.as_str() {
                updated += 1;
            } else {
                outdated.push((object::ready(p), k.clone()));
            }
        } else if runs.iter().all(|(_, p)| !object::deleting(p)) {
            for (k, _) in &runs {
                delete(world, key, &set, k);
            }
            let mut pod = probe.clone();
            pod["metadata"]["labels"][HASH] = hash.as_str().into();
            if let Some(generation) = set["metadata"]["annotations"][registry::TEMPLATE_GENERATION].as_str() {
                pod["metadata"]["labels"]["pod-template-generation"] = generation.into();
            }
            pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]});
            if let Ok(p) = registry::create(world, &PODS, &key.namespace, pod) {
                let text = format!("Created pod: {}", object::name(&p));
                events::emit(world, key, &set, SELF, Report::normal("SuccessfulCreate", text));
                current += 1;
                updated += 1;
            }
        }
    }
    if rolling {
        let unavailable = desired - ready;
        let mut room = object::int_or_percent(&set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], desired, true, "1%")
            .max(1)
            - unavailable;
        for (was_ready, k) in outdated {
            if !was_ready || room > 0 {
                room -= i64::from(was_ready);
                delete(world, key, &set, &k);
            }
        }
    }
    let status = json!({
        "currentNumberScheduled": current, "desiredNumberScheduled": desired, "numberAvailable": ready, "numberMisscheduled": wrong,
        "numberReady": ready, "numberUnavailable": desired - ready, "updatedNumberScheduled": updated,
        "observedGeneration": int(&set["metadata"]["generation"], 1),
    });
    let mut status = status;
    if let Some(s) = status.as_object_mut() {
        s.retain(|k, v| *v != 0 || !matches!(k.as_str(), "numberAvailable" | "numberUnavailable" | "updatedNumberScheduled"));
    }
    let Some(now) = world.store.get(key).cloned() else { return };
    if now["status"] != status {
        let mut new = (*now).clone();
        new["status"] = status;
        // Nobody else writes in between: the world is ours.
        let _written = registry::update(world, key, new, Part::Status);
    }
}

fn delete(world: &mut World, key: &Key, set: &Value, pod: &Key) {
    if registry::delete(world, pod, &DeleteOptions::default()).is_ok() {
        events::emit(world, key, set, SELF, Report::normal("SuccessfulDelete", format!("Deleted pod: {}", pod.name)));
    }
}

fn tolerate(pod: &mut Value) {
    let mut all = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for (key, effect) in [
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ] {
        all.push(json!({"effect": effect, "key": format!("node.kubernetes.io/{key}"), "operator": "Exists"}));
    }
    pod["spec"]["tolerations"] = all.into();
}
