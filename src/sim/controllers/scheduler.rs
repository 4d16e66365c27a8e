//! Scheduler: binds pods to nodes with room, or says why it cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::fit::{self, Refusal, Taken};
pub use super::fit::{requests, tolerates};
use super::kinds::{NODES, PODS};
use super::placement::Placement;
use super::preemption::{self, Outcome, priority};
use super::{claims, object, preference};
use crate::sim::kubelet::quantity;
use crate::sim::resource::Key;
use crate::sim::world::World;

pub(super) const SELF: Source<'static> = Source { component: "default-scheduler", host: "" };

/// A node that takes the pod.
struct Choice<'a> {
    node: &'a Value,
    /// Shares of CPU and memory that are taken, added up.
    load: f64,
    pods: u32,
}

/// Binds one pod, if it is still unbound.
pub fn schedule(world: &mut World, key: &Key) {
    let Some(pod) = world.store.get(key).cloned() else { return };
    let other = pod["spec"]["schedulerName"].as_str().is_some_and(|s| !matches!(s, "" | "default-scheduler"));
    if pod["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty()) || object::deleting(&pod) || other {
        world.controllers.unschedulable.remove(key);
        return;
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
        let text = "Scheduling is blocked due to non-empty scheduling gates";
        refuse(world, key, &pod, "SchedulingGated", text, None);
        return;
    }
    let nodes: Vec<Arc<Value>> = world.store.list(&NODES, None).map(|(_, n)| Arc::clone(n)).collect();
    let taken = taken(world, key, &pod);
    if let Some(why) = claims::obstacle(world, &pod) {
        let said = match nodes.len() {
            0 => "no nodes available to schedule pods".to_owned(),
            n => told(n, &why, &format!("0/{n} nodes are available: {n} Preemption is not helpful for scheduling.")),
        };
        fail(world, key, &pod, said, None);
        return;
    }
    let (found, refused, curable) = look(world, &pod, &nodes, &taken);
    if let Some(node) = found {
        bind(world, key, &pod, &node);
        return;
    }
    let total = nodes.len();
    if total == 0 {
        fail(world, key, &pod, "no nodes available to schedule pods".to_owned(), None);
        return;
    }
    let mut reasons: Vec<String> = refused.iter().map(|(r, n)| format!("{n} {r}")).collect();
    reasons.sort();
    let why = reasons.join(", ");
    match preemption::preempt(world, key, &pod, &nodes, &curable, &taken) {
        Outcome::Nothing(preemption) => fail(world, key, &pod, told(total, &why, &preemption), None),
        Outcome::Nominated(node) => fail(world, key, &pod, format!("0/{total} nodes are available: {why}."), Some(node)),
    }
}

fn told(total: usize, why: &str, preemption: &str) -> String {
    format!("0/{total} nodes are available: {why}. no new claims to deallocate, preemption: {preemption}")
}

/// What is taken on each node: by the pods that are there, and by those of no lower priority that wait for room to be made.
fn taken(world: &World, key: &Key, pod: &Value) -> BTreeMap<String, Taken> {
    let there = world.runtime.requested().into_iter();
    let mut all: BTreeMap<String, Taken> =
        there.map(|(node, (cpu, memory, pods))| (node.to_owned(), Taken { cpu, memory, pods, others: BTreeMap::new() })).collect();
    if !fit::others(pod).is_empty() {
        for (_, p) in world.store.list(&PODS, None).filter(|(_, p)| !object::ended(p)) {
            let Some(node) = p["spec"]["nodeName"].as_str().and_then(|n| all.get_mut(n)) else { continue };
            for (what, amount) in fit::others(p) {
                *node.others.entry(what).or_default() += amount;
            }
        }
    }
    for waiting in world.controllers.unschedulable.iter().filter(|k| *k != key) {
        let Some(p) = world.store.get(waiting) else { continue };
        if let Some(node) = p["status"]["nominatedNodeName"].as_str().filter(|_| priority(p) >= priority(pod)) {
            all.entry(node.to_owned()).or_default().count(p, 1.0);
        }
    }
    all
}

/// Why a node does not take a pod, were it not for some pods that are there.
pub(super) fn refusal(world: &World, pod: &Value, node: &Value, taken: &Taken, without: &BTreeSet<Key>) -> Option<Refusal> {
    fit::obstacle(node, pod, taken).or_else(|| Placement::of(world, pod, without)?.obstacle(node).map(|why| Refusal::of(why, true)))
}

/// The best node; else how many nodes have which reason, and those where others' going could help.
fn look<'a>(
    world: &'a World,
    pod: &'a Value,
    nodes: &'a [Arc<Value>],
    taken: &BTreeMap<String, Taken>,
) -> (Option<String>, BTreeMap<String, u32>, BTreeSet<String>) {
    let none = BTreeSet::new();
    let others = Placement::of(world, pod, &none);
    let (mut choices, mut refused, mut curable) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    for node in nodes {
        let name = object::name(node);
        let taken = taken.get(name).cloned().unwrap_or_default();
        let between = || others.as_ref()?.obstacle(node).map(|why| Refusal::of(why, true));
        if let Some(refusal) = fit::obstacle(node, pod, &taken).or_else(between) {
            if refusal.curable {
                curable.insert(name.to_owned());
            }
            refusal.reasons.into_iter().for_each(|r| *refused.entry(r).or_default() += 1);
            continue;
        }
        let share = |what: &str, used: f64| used / quantity::parse(&node["status"]["allocatable"][what]).unwrap_or(1.0);
        let load = share("cpu", taken.cpu) + share("memory", taken.memory);
        choices.push(Choice { node, load, pods: taken.pods });
    }
    let nominated = choices.iter().find(|c| pod["status"]["nominatedNodeName"] == *object::name(c.node)).map(|c| object::name(c.node));
    let node = nominated.or_else(|| best(world, pod, &choices)).map(str::to_owned);
    (node, refused, curable)
}

/// The node that the pod prefers; the emptiest where it does not care.
fn best<'a>(world: &World, pod: &Value, choices: &[Choice<'a>]) -> Option<&'a str> {
    let all: Vec<&Value> = choices.iter().map(|c| c.node).collect();
    let scores = preference::scores(&Placement::all(world, pod), pod, &all);
    let same = scores.iter().all(|s| Some(s) == scores.first());
    let mut best: Option<(f64, f64, u32, &str)> = None;
    for (choice, score) in choices.iter().zip(&scores) {
        // The emptier a node, the better, from 0 to 100.
        #[expect(clippy::cast_precision_loss, reason = "scores are small")]
        let rank = if same { 0.0 } else { -(*score as f64 + 100.0 * (1.0 - choice.load / 2.0)) };
        if best.is_none_or(|(r, load, pods, _)| (rank, choice.load, choice.pods) < (r, load, pods)) {
            best = Some((rank, choice.load, choice.pods, object::name(choice.node)));
        }
    }
    best.map(|(.., name)| name)
}

fn bind(world: &mut World, key: &Key, pod: &Value, node: &str) {
    let mut new = pod.clone();
    new["spec"]["nodeName"] = node.into();
    let now = world.now.rfc3339();
    set_scheduled(&mut new, json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}));
    if let Some(s) = new["status"].as_object_mut() {
        s.remove("nominatedNodeName");
    }
    world.controllers.unschedulable.remove(key);
    // Binding is a subresource: it changes no generation, so it goes around the registry.
    let stored = world.store.put(key, new);
    let text = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
    events::emit(world, key, &stored, SELF, Report::normal("Scheduled", text));
}

fn fail(world: &mut World, key: &Key, pod: &Value, why: String, nominated: Option<String>) {
    world.controllers.unschedulable.insert(key.clone());
    refuse(world, key, pod, "Unschedulable", &why, nominated);
    events::emit(world, key, pod, SELF, Report::warning("FailedScheduling", why));
}

/// Writes why a pod waits.
fn refuse(world: &mut World, key: &Key, pod: &Value, reason: &str, why: &str, nominated: Option<String>) {
    let known = object::condition(&pod["status"], "PodScheduled").is_some_and(|c| c["message"] == why && c["reason"] == reason);
    if known && nominated.is_none() {
        return;
    }
    let mut new = pod.clone();
    let now = world.now.rfc3339();
    set_scheduled(
        &mut new,
        json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": why, "lastProbeTime": null, "lastTransitionTime": now}),
    );
    if let Some(node) = nominated {
        new["status"]["nominatedNodeName"] = node.into();
    }
    world.store.put(key, new);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::controllers::tests::{NS, advance, world};
    use crate::sim::registry::{self, Part};

    #[test]
    fn a_gated_pod_waits_until_its_gates_are_open_and_others_pods_are_left_alone() {
        let mut w = world();
        let pod = |name: &str, more: Value| {
            let mut spec = json!({"containers": [{"name": "c", "image": "nginx"}]});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
        };
        registry::create(&mut w, &PODS, NS, pod("gated", json!({"schedulingGates": [{"name": "example.com/wait"}]}))).unwrap();
        registry::create(&mut w, &PODS, NS, pod("other", json!({"schedulerName": "mine"}))).unwrap();
        w.settle();
        advance(&mut w, 5.0);
        let key = Key::new(&PODS, NS, "gated");
        let found = (**w.store.get(&key).unwrap()).clone();
        let condition = object::condition(&found["status"], "PodScheduled").unwrap();
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("SchedulingGated")));
        let mut open = found.clone();
        open["spec"].as_object_mut().unwrap().remove("schedulingGates");
        registry::update(&mut w, &key, open, Part::Main).unwrap();
        w.settle();
        advance(&mut w, 5.0);
        assert!(w.store.get(&key).unwrap()["spec"]["nodeName"].is_string());
        let other = w.store.get(&Key::new(&PODS, NS, "other")).unwrap();
        assert!(other["spec"]["nodeName"].is_null() && other["status"]["conditions"].is_null(), "{other:#}");
    }
}
