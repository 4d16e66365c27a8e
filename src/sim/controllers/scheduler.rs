//! Scheduler: binds pods to nodes with room, or says why it cannot.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::kinds::NODES;
use super::placement::Placement;
use super::{claims, object};
use crate::sim::kubelet::quantity;
use crate::sim::resource::Key;
use crate::sim::world::World;

const SELF: Source<'static> = Source { component: "default-scheduler", host: "" };

/// Binds one pod, if it is still unbound.
pub fn schedule(world: &mut World, key: &Key) {
    let Some(pod) = world.store.get(key).cloned() else { return };
    if pod["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty()) || object::deleting(&pod) {
        world.controllers.unschedulable.remove(key);
        return;
    }
    let wanted = requests(&pod);
    let used = world.runtime.requested();
    let nodes: Vec<Arc<Value>> = world.store.list(&NODES, None).map(|(_, n)| Arc::clone(n)).collect();
    let unclaimed = claims::obstacle(world, &pod);
    let others = Placement::of(world, &pod);
    let mut best: Option<(f64, u32, &str)> = None;
    let mut refused: BTreeMap<&str, u32> = BTreeMap::new();
    // Nodes where the pod would fit if others were gone.
    let mut victims = 0;
    for node in nodes.iter().filter(|_| unclaimed.is_none()) {
        let name = object::name(node);
        let (cpu, memory, pods) = used.get(name).copied().unwrap_or_default();
        let between = || others.as_ref().and_then(|o| o.obstacle(node)).map(|why| (why, true));
        if let Some((reason, helps)) = obstacle(node, &pod, wanted, (cpu, memory, pods)).or_else(between) {
            victims += u32::from(helps);
            *refused.entry(reason).or_default() += 1;
            continue;
        }
        let load = cpu / quantity::parse(&node["status"]["allocatable"]["cpu"]).unwrap_or(1.0)
            + memory / quantity::parse(&node["status"]["allocatable"]["memory"]).unwrap_or(1.0);
        if best.is_none_or(|(l, n, _)| (load, pods) < (l, n)) {
            best = Some((load, pods, name));
        }
    }
    let now = world.now.rfc3339();
    let mut new = (*pod).clone();
    if let Some((_, _, node)) = best {
        new["spec"]["nodeName"] = node.into();
        set_scheduled(&mut new, json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}));
        world.controllers.unschedulable.remove(key);
        // Binding is a subresource: it changes no generation, so it goes around the registry.
        let stored = world.store.put(key, new);
        let text = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
        events::emit(world, key, &stored, SELF, Report::normal("Scheduled", text));
        return;
    }
    let total = nodes.len();
    let mut reasons: Vec<String> = refused.iter().map(|(r, n)| format!("{n} {r}")).collect();
    reasons.sort();
    let why = if total == 0 {
        "no nodes available to schedule pods".to_owned()
    } else {
        // Nobody is driven out here, whatever the priorities.
        let unhelpful = u32::try_from(total).unwrap_or(u32::MAX) - victims;
        let said = [(victims, "No preemption victims found for incoming pod"), (unhelpful, "Preemption is not helpful for scheduling")];
        let mut said: Vec<String> = said.iter().filter(|(n, _)| *n > 0).map(|(n, text)| format!("{n} {text}")).collect();
        said.sort();
        let why = unclaimed.unwrap_or_else(|| reasons.join(", "));
        let preemption = format!("preemption: 0/{total} nodes are available: {}.", said.join(", "));
        format!("0/{total} nodes are available: {why}. no new claims to deallocate, {preemption}")
    };
    world.controllers.unschedulable.insert(key.clone());
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why, "lastProbeTime": null, "lastTransitionTime": now
    });
    if object::condition(&pod["status"], "PodScheduled").is_none_or(|c| c["message"] != why.as_str()) {
        set_scheduled(&mut new, condition);
        world.store.put(key, new);
    }
    events::emit(world, key, &pod, SELF, Report::warning("FailedScheduling", why));
}

fn set_scheduled(pod: &mut Value, condition: Value) {
    if !pod["status"].is_object() {
        pod["status"] = json!({"phase": "Pending"});
    }
    let mut all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.retain(|c| c["type"] != "PodScheduled");
    all.push(condition);
    pod["status"]["conditions"] = all.into();
}

/// CPU in cores and memory in bytes that a pod requests: the sum of its containers, or its greediest init container.
pub fn requests(pod: &Value) -> (f64, f64) {
    let of = |c: &Value, what: &str| {
        quantity::parse(&c["resources"]["requests"][what]).or_else(|| quantity::parse(&c["resources"]["limits"][what])).unwrap_or(0.0)
    };
    let total = |what: &str| {
        let main: f64 = pod["spec"]["containers"].as_array().into_iter().flatten().map(|c| of(c, what)).sum();
        pod["spec"]["initContainers"].as_array().into_iter().flatten().map(|c| of(c, what)).fold(main, f64::max)
    };
    (total("cpu"), total("memory"))
}

/// What keeps a pod from a node, and whether other pods' going would help.
fn obstacle(node: &Value, pod: &Value, wanted: (f64, f64), used: (f64, f64, u32)) -> Option<(&'static str, bool)> {
    if node["spec"]["unschedulable"] == true && !tolerates(pod, &json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}))
    {
        return Some(("node(s) were unschedulable", false));
    }
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    if taints.filter(|t| t["effect"] != "PreferNoSchedule").any(|t| !tolerates(pod, t)) {
        return Some(("node(s) had untolerated taint(s)", false));
    }
    if !object::contains_all(&pod["spec"]["nodeSelector"], &node["metadata"]["labels"]) || !affine(pod, node) {
        return Some(("node(s) didn't match Pod's node affinity/selector", false));
    }
    let room = |what: &str| quantity::parse(&node["status"]["allocatable"][what]).unwrap_or(0.0);
    if f64::from(used.2) + 1.0 > room("pods") {
        return Some(("Too many pods", true));
    }
    if used.0 + wanted.0 > room("cpu") + 1e-9 {
        return Some(("Insufficient cpu", wanted.0 <= room("cpu")));
    }
    (used.1 + wanted.1 > room("memory")).then_some(("Insufficient memory", wanted.1 <= room("memory")))
}

fn affine(pod: &Value, node: &Value) -> bool {
    let terms = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    terms.as_array().is_none_or(|all| {
        all.iter().any(|t| {
            let expressions = t["matchExpressions"].as_array().into_iter().flatten();
            let fields = t["matchFields"].as_array().into_iter().flatten();
            let by_name = json!({"metadata.name": node["metadata"]["name"]});
            expressions.into_iter().all(|e| object::expression_holds(e, &node["metadata"]["labels"]))
                && fields.into_iter().all(|e| object::expression_holds(e, &by_name))
        })
    })
}

/// Whether a pod tolerates a taint.
pub fn tolerates(pod: &Value, taint: &Value) -> bool {
    pod["spec"]["tolerations"].as_array().is_some_and(|all| {
        all.iter().any(|t| {
            let effect = t["effect"].as_str().is_none_or(|e| e.is_empty() || taint["effect"] == e);
            let key = t["key"].as_str().is_none_or(|k| k.is_empty() || taint["key"] == k);
            effect && key && (t["operator"] == "Exists" || t["value"].as_str().unwrap_or("") == taint["value"].as_str().unwrap_or(""))
        })
    })
}
