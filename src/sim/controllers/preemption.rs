//! Preemption: which pods of lower priority go, so that a pod that fits nowhere fits somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::budget::BUDGETS;
use super::events::{self, Report};
use super::fit::Taken;
use super::kinds::PODS;
use super::object::{self, int};
use super::scheduler::{SELF, refusal};
use crate::sim::registry::{self, DeleteOptions};
use crate::sim::resource::Key;
use crate::sim::world::World;

const REASON: &str = "PreemptionByScheduler";

/// What came of looking for victims.
pub(super) enum Outcome {
    /// They are on their way out: the pod waits for this node.
    Nominated(String),
    /// Nobody goes, for this reason.
    Nothing(String),
}

/// The victims on one node, the most important first.
struct Candidate {
    node: String,
    victims: Vec<(Key, Arc<Value>)>,
    violations: usize,
}

pub(super) fn priority(pod: &Value) -> i64 {
    int(&pod["spec"]["priority"], 0)
}

/// Makes room for a pod. `curable`: the nodes where others' going could help.
pub(super) fn preempt(
    world: &mut World,
    key: &Key,
    pod: &Value,
    nodes: &[Arc<Value>],
    curable: &BTreeSet<String>,
    taken: &BTreeMap<String, Taken>,
) -> Outcome {
    if pod["spec"]["preemptionPolicy"] == "Never" {
        return Outcome::Nothing("not eligible due to preemptionPolicy=Never.".to_owned());
    }
    let on = |node: &str| -> Vec<(Key, Arc<Value>)> {
        let there = world.store.list(&PODS, None).filter(|(_, p)| p["spec"]["nodeName"] == node && !object::ended(p));
        there.map(|(k, p)| (k.clone(), Arc::clone(p))).collect()
    };
    let lower = |p: &Value| priority(p) < priority(pod);
    if let Some(nominated) = pod["status"]["nominatedNodeName"].as_str().filter(|n| curable.contains(*n)) {
        let going = |p: &Value| {
            object::deleting(p) && object::condition(&p["status"], "DisruptionTarget").is_some_and(|c| c["reason"] == REASON) && lower(p)
        };
        if on(nominated).iter().any(|(_, p)| going(p)) {
            return Outcome::Nothing("not eligible due to a terminating pod on the nominated node.".to_owned());
        }
    }
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<Candidate> = None;
    for node in nodes {
        let name = object::name(node);
        if !curable.contains(name) {
            *said.entry("Preemption is not helpful for scheduling".to_owned()).or_default() += 1;
            continue;
        }
        let potential: Vec<(Key, Arc<Value>)> = on(name).into_iter().filter(|(_, p)| lower(p)).collect();
        if potential.is_empty() {
            *said.entry("No preemption victims found for incoming pod".to_owned()).or_default() += 1;
            continue;
        }
        match victims(world, pod, node, potential, taken.get(name).cloned().unwrap_or_default()) {
            Ok(found) if best.as_ref().is_none_or(|b| rank(&found) < rank(b)) => best = Some(found),
            Ok(_) => {}
            Err(reasons) => reasons.into_iter().for_each(|r| *said.entry(r).or_default() += 1),
        }
    }
    let Some(best) = best else {
        let mut said: Vec<String> = said.iter().map(|(text, n)| format!("{n} {text}")).collect();
        said.sort();
        return Outcome::Nothing(format!("0/{} nodes are available: {}.", nodes.len(), said.join(", ")));
    };
    for (victim, object) in &best.victims {
        if !object::deleting(object) {
            evict(world, pod, victim, &best.node);
        }
    }
    forget_others(world, key, pod, &best.node);
    Outcome::Nominated(best.node)
}

/// The smallest set of pods of a node that must go, or why even the going of all would not do.
fn victims(
    world: &World,
    pod: &Value,
    node: &Value,
    mut potential: Vec<(Key, Arc<Value>)>,
    mut taken: Taken,
) -> Result<Candidate, Vec<String>> {
    let mut gone: BTreeSet<Key> = potential.iter().map(|(k, _)| k.clone()).collect();
    for (_, p) in &potential {
        taken.count(p, -1.0);
    }
    if let Some(why) = refusal(world, pod, node, &taken, &gone) {
        return Err(why.reasons);
    }
    potential.sort_by_key(|(k, p)| (-priority(p), started(p), k.clone()));
    let protected = protected(world, &potential);
    let (mut victims, mut violations) = (Vec::new(), 0);
    // Those that a budget protects are spared first.
    for guarded in [true, false] {
        for (k, p) in potential.iter().filter(|(k, _)| protected.contains(k) == guarded) {
            gone.remove(k);
            taken.count(p, 1.0);
            if refusal(world, pod, node, &taken, &gone).is_some() {
                gone.insert(k.clone());
                taken.count(p, -1.0);
                violations += usize::from(guarded);
                victims.push((k.clone(), Arc::clone(p)));
            }
        }
    }
    victims.sort_by_key(|(k, p)| (-priority(p), started(p), k.clone()));
    Ok(Candidate { node: object::name(node).to_owned(), victims, violations })
}

/// Nodes whose loss is least come first: few budgets violated, low priorities, few pods, young ones.
fn rank(c: &Candidate) -> (usize, i64, i128, usize, std::cmp::Reverse<String>) {
    let highest = c.victims.first().map_or(i64::MIN, |(_, p)| priority(p));
    let sum = c.victims.iter().map(|(_, p)| i128::from(priority(p)) + (1 << 31)).sum();
    let of_highest = c.victims.iter().filter(|(_, p)| priority(p) == highest).map(|(_, p)| started(p)).min();
    (c.violations, highest, sum, c.victims.len(), std::cmp::Reverse(of_highest.unwrap_or_default()))
}

/// When a pod was started: such times sort as texts.
fn started(pod: &Value) -> String {
    pod["status"]["startTime"].as_str().unwrap_or("9999").to_owned()
}

/// Which of the pods their budgets have no room for.
fn protected(world: &World, pods: &[(Key, Arc<Value>)]) -> BTreeSet<Key> {
    let mut left: Vec<(&Key, &Arc<Value>, i64)> =
        world.store.list(&BUDGETS, None).map(|(k, b)| (k, b, int(&b["status"]["disruptionsAllowed"], 0))).collect();
    let mut out = BTreeSet::new();
    for (key, pod) in pods {
        for (at, budget, allowed) in &mut left {
            let selector = &budget["spec"]["selector"];
            let empty = selector.as_object().is_none_or(serde_json::Map::is_empty);
            if at.namespace == key.namespace && !empty && object::selects(selector, &pod["metadata"]["labels"]) {
                *allowed -= 1;
                if *allowed < 0 {
                    out.insert(key.clone());
                }
            }
        }
    }
    out
}

fn evict(world: &mut World, pod: &Value, victim: &Key, node: &str) {
    let who = pod["spec"]["schedulerName"].as_str().unwrap_or("default-scheduler");
    mark(world, victim, REASON, &format!("{who}: preempting to accommodate a higher priority pod"));
    let Some(object) = world.store.get(victim).cloned() else { return };
    // Gone already is as good.
    let _gone = registry::delete(world, victim, &DeleteOptions::default());
    let text = format!("Preempted by pod {} on node {node}", object::uid(pod));
    events::emit(world, victim, &object, SELF, Report::normal("Preempted", text));
}

/// Says on a pod why it is made to go.
pub(in crate::sim) fn mark(world: &mut World, key: &Key, reason: &str, message: &str) {
    let Some(pod) = world.store.get(key) else { return };
    let mut new = (**pod).clone();
    let mut all = new["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.retain(|c| c["type"] != "DisruptionTarget");
    let mut condition = json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
        "lastProbeTime": null, "lastTransitionTime": world.now.rfc3339()});
    if let Some(g) = new["metadata"]["generation"].as_i64() {
        condition["observedGeneration"] = g.into();
    }
    all.push(condition);
    new["status"]["conditions"] = all.into();
    // It may be gone: then nobody needs to know.
    let _written = registry::update(world, key, new, registry::Part::Status);
}

/// Pods of lower priority that waited for the node look for another one.
fn forget_others(world: &mut World, key: &Key, pod: &Value, node: &str) {
    let waiting: Vec<Key> = world.controllers.unschedulable.iter().filter(|k| *k != key).cloned().collect();
    for other in waiting {
        let Some(found) = world.store.get(&other) else { continue };
        if found["status"]["nominatedNodeName"] == node && priority(found) < priority(pod) {
            let mut new = (**found).clone();
            if let Some(s) = new["status"].as_object_mut() {
                s.remove("nominatedNodeName");
            }
            world.store.put(&other, new);
            super::enqueue(world, &other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::controllers::kinds::EVENTS;
    use crate::sim::controllers::tests::{NS, advance, world};
    use crate::sim::resource::Resource;

    fn class(w: &mut World, name: &str, value: i64, policy: &str) {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
            "preemptionPolicy": policy});
        registry::create(w, &Resource::new("scheduling.k8s.io", "priorityclasses"), "", class).unwrap();
    }

    fn pod(w: &mut World, name: &str, class: Option<&str>, cpu: &str) -> Key {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": {
            "terminationGracePeriodSeconds": 5,
            "containers": [{"name": "c", "image": "nginx", "resources": {"requests": {"cpu": cpu}}}]}});
        if let Some(class) = class {
            pod["spec"]["priorityClassName"] = class.into();
        }
        registry::create(w, &PODS, NS, pod).unwrap();
        w.settle();
        advance(w, 0.02);
        Key::new(&PODS, NS, name)
    }

    fn why(w: &World, key: &Key) -> String {
        object::condition(&w.store.get(key).unwrap()["status"], "PodScheduled").unwrap()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Nodes of 8 cores with two pods each, one of them small.
    fn full(w: &mut World) {
        for i in 0..3 {
            pod(w, &format!("large-{i}"), None, "4");
        }
        for i in 0..3 {
            pod(w, &format!("small-{i}"), None, "3");
        }
        advance(w, 10.0);
    }

    #[test]
    fn the_least_is_driven_out_and_its_node_is_kept_free() {
        let mut w = world();
        class(&mut w, "high", 1000, "PreemptLowerPriority");
        full(&mut w);
        let key = pod(&mut w, "urgent", Some("high"), "4");
        let waiting = w.store.get(&key).unwrap().clone();
        let node = waiting["status"]["nominatedNodeName"].as_str().unwrap().to_owned();
        assert_eq!(why(&w, &key), "0/3 nodes are available: 3 Insufficient cpu.");
        let gone: Vec<Value> = w.store.list(&PODS, Some(NS)).filter(|(_, p)| object::deleting(p)).map(|(_, p)| (**p).clone()).collect();
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0]["spec"]["nodeName"], *node);
        // The small one is spared no more than it must: without it alone there is room.
        assert!(object::name(&gone[0]).starts_with("small-"), "{}", gone[0]["metadata"]["name"]);
        let target = object::condition(&gone[0]["status"], "DisruptionTarget").unwrap();
        assert_eq!(
            (&target["reason"], &target["message"]),
            (&json!(REASON), &json!("default-scheduler: preempting to accommodate a higher priority pod"))
        );
        let text = format!("Preempted by pod {} on node {node}", object::uid(&waiting));
        assert!(
            w.store
                .list(&EVENTS, Some(NS))
                .any(|(_, e)| e["reason"] == "Preempted" && e["message"] == *text && e["action"] == "Preempting")
        );
        // Others do not take the room meanwhile.
        let late = pod(&mut w, "late", None, "3");
        advance(&mut w, 20.0);
        assert_eq!(w.store.get(&key).unwrap()["spec"]["nodeName"], *node);
        assert!(w.store.get(&key).unwrap()["status"]["nominatedNodeName"].is_null());
        assert!(w.store.get(&late).unwrap()["spec"]["nodeName"].is_null());
    }

    #[test]
    fn nobody_goes_for_those_who_do_not_ask_or_are_no_better() {
        let mut w = world();
        class(&mut w, "polite", 1000, "Never");
        class(&mut w, "high", 1000, "PreemptLowerPriority");
        full(&mut w);
        let key = pod(&mut w, "polite", Some("polite"), "4");
        assert!(why(&w, &key).ends_with("preemption: not eligible due to preemptionPolicy=Never."), "{}", why(&w, &key));
        let key = pod(&mut w, "equal", None, "4");
        let text = "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.";
        assert!(why(&w, &key).ends_with(text), "{}", why(&w, &key));
        let key = pod(&mut w, "huge", Some("high"), "9");
        let text = "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
        assert!(why(&w, &key).ends_with(text), "{}", why(&w, &key));
        assert!(w.store.list(&PODS, Some(NS)).all(|(_, p)| !object::deleting(p)));
    }
}
