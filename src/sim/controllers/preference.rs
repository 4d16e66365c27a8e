//! Which of the nodes that take a pod it would rather have: the scheduler's scores, each from 0 to 100, and their weights.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fit::{term_holds, tolerates};
use super::placement::{Placement, domain, same_domain};

const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Weights of taints, of nodes' labels, of spread, and of other pods, in kube-scheduler's default profile.
const WEIGHTS: [i64; 4] = [3, 2, 2, 2];

/// How much better than others each node is, in the order of `nodes`; all the same where nothing is preferred.
pub(super) fn scores(placement: &Placement<'_>, pod: &Value, nodes: &[&Value]) -> Vec<i64> {
    let taints: Vec<i64> = nodes.iter().map(|n| avoided(pod, n)).collect();
    let labels: Vec<i64> = nodes.iter().map(|n| preferred(pod, n)).collect();
    let most = |all: &[i64]| all.iter().copied().max().unwrap_or(0).max(1);
    let parts = [
        taints.iter().map(|n| 100 - n * 100 / most(&taints)).collect(),
        labels.iter().map(|n| n * 100 / most(&labels)).collect(),
        spread(placement, pod, nodes),
        company(placement, pod, nodes),
    ];
    let total = |i: usize| parts.iter().zip(WEIGHTS).map(|(part, weight): (&Vec<i64>, i64)| part.get(i).map_or(0, |s| s * weight)).sum();
    (0..nodes.len()).map(total).collect()
}

/// Taints of a node that it would rather not have tolerated.
fn avoided(pod: &Value, node: &Value) -> i64 {
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    count(taints.filter(|t| t["effect"] == "PreferNoSchedule" && !tolerates(pod, t)).count())
}

/// Weights of the node affinity's terms that hold.
fn preferred(pod: &Value, node: &Value) -> i64 {
    let terms = pod["spec"]["affinity"]["nodeAffinity"][PREFERRED].as_array().into_iter().flatten();
    terms.filter(|t| term_holds(&t["preference"], node)).filter_map(|t| t["weight"].as_i64()).sum()
}

/// How near a node is to pods that are wanted, and far from those that are not; what they want counts as well.
fn company(placement: &Placement<'_>, pod: &Value, nodes: &[&Value]) -> Vec<i64> {
    let signed = |owner: &'_ Value| -> Vec<(i64, Value)> {
        let of = |kind: &str, sign: i64| {
            let terms = owner["spec"]["affinity"][kind][PREFERRED].as_array().cloned().unwrap_or_default();
            terms.into_iter().map(move |t| (sign * t["weight"].as_i64().unwrap_or(0), t["podAffinityTerm"].clone()))
        };
        of("podAffinity", 1).chain(of("podAntiAffinity", -1)).collect()
    };
    let own = signed(pod);
    let mut raw = vec![0; nodes.len()];
    for (at, other) in placement.placed() {
        let Some(there) = placement.node(at) else { continue };
        let theirs = signed(other);
        let wanted = own.iter().filter(|(_, term)| placement.selects(term, pod, other));
        let wanting = theirs.iter().filter(|(_, term)| placement.selects(term, other, pod));
        for (weight, term) in wanted.chain(wanting) {
            for (score, node) in raw.iter_mut().zip(nodes) {
                *score += if same_domain(term, there, node) { *weight } else { 0 };
            }
        }
    }
    let (least, most) = (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0));
    raw.into_iter().map(|s| if most > least { 100 * (s - least) / (most - least) } else { 0 }).collect()
}

/// How few pods of its group a node's domains have.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "numbers of pods are small")]
fn spread(placement: &Placement<'_>, pod: &Value, nodes: &[&Value]) -> Vec<i64> {
    let constraints = pod["spec"]["topologySpreadConstraints"].as_array().into_iter().flatten();
    let soft: Vec<&Value> = constraints.filter(|c| c["whenUnsatisfiable"] == "ScheduleAnyway").collect();
    if soft.is_empty() {
        return vec![0; nodes.len()];
    }
    // A node that lacks a label has no part in it.
    let part = |node: &Value| soft.iter().all(|c| !domain(c, node).is_null());
    let mut raw = vec![0.0; nodes.len()];
    for constraint in &soft {
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for (at, other) in placement.placed() {
            let there = placement.node(at).and_then(|n| domain(constraint, n).as_str());
            if let Some(there) = there.filter(|_| placement.in_group(constraint, other)) {
                *counts.entry(there).or_default() += 1;
            }
        }
        let domains: BTreeSet<&str> = nodes.iter().filter(|n| part(n)).filter_map(|n| domain(constraint, n).as_str()).collect();
        let weight = (domains.len() as f64 + 2.0).ln();
        let skew = constraint["maxSkew"].as_i64().unwrap_or(1) as f64 - 1.0;
        for (score, node) in raw.iter_mut().zip(nodes) {
            let here = domain(constraint, node).as_str().and_then(|d| counts.get(d)).copied().unwrap_or(0);
            *score += here as f64 * weight + skew;
        }
    }
    let rounded: Vec<Option<i64>> = raw.iter().zip(nodes).map(|(s, n)| part(n).then_some(s.round() as i64)).collect();
    let known = || rounded.iter().flatten().copied();
    let (least, most) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
    rounded.iter().map(|s| s.map_or(0, |s| if most == 0 { 100 } else { 100 * (most + least - s) / most })).collect()
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sim::controllers::kinds::{NODES, PODS};
    use crate::sim::controllers::object;
    use crate::sim::controllers::tests::{NS, advance, world};
    use crate::sim::registry::{self, Part};
    use crate::sim::resource::Key;
    use crate::sim::world::World;

    fn put(w: &mut World, name: &str, app: &str, mut spec: Value) -> String {
        spec["containers"] = json!([{"name": "c", "image": "nginx"}]);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}}, "spec": spec});
        registry::create(w, &PODS, NS, pod).unwrap();
        w.settle();
        advance(w, 2.0);
        w.store.get(&Key::new(&PODS, NS, name)).unwrap()["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()
    }

    fn mark(w: &mut World, node: &str, change: impl FnOnce(&mut Value)) {
        let key = Key::new(&NODES, "", node);
        let mut new = (**w.store.get(&key).unwrap()).clone();
        change(&mut new);
        registry::update(w, &key, new, Part::Main).unwrap();
        w.settle();
    }

    #[test]
    fn nodes_are_preferred_by_labels_taints_and_other_pods() {
        let mut w = world();
        mark(&mut w, "node-3", |n| n["metadata"]["labels"]["disk"] = "fast".into());
        let label = json!({"preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["fast"]}]}, "weight": 1});
        let fast = json!({"affinity": {"nodeAffinity": {PREFERRED: [label]}}});
        assert!((0..3).all(|i| put(&mut w, &format!("fast-{i}"), "fast", fast.clone()) == "node-3"));
        let other = |kind: &str, app: &str| {
            let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}});
            json!({"affinity": {kind: {PREFERRED: [{"weight": 10, "podAffinityTerm": term}]}}})
        };
        assert_eq!(put(&mut w, "near", "near", other("podAffinity", "fast")), "node-3");
        let lonely: BTreeSet<String> =
            (0..3).map(|i| put(&mut w, &format!("lonely-{i}"), "lonely", other("podAntiAffinity", "lonely"))).collect();
        assert_eq!(lonely.len(), 3);
        // Those that are there would rather be alone, too; but nobody is kept away.
        assert!(!put(&mut w, "lonely-3", "lonely", other("podAntiAffinity", "lonely")).is_empty());
        for node in ["node-1", "node-3"] {
            mark(&mut w, node, |n| n["spec"]["taints"] = json!([{"key": "k", "effect": "PreferNoSchedule"}]));
        }
        assert!((0..3).all(|i| put(&mut w, &format!("picky-{i}"), "picky", json!({})) == "node-2"));
    }

    #[test]
    fn a_group_is_spread_where_it_can_be() {
        let mut w = world();
        // Two nodes are taken by others' pods.
        for (i, node) in ["node-1", "node-1", "node-2", "node-2"].iter().enumerate() {
            put(&mut w, &format!("other-{i}"), "other", json!({"nodeName": node}));
        }
        let constraint = json!({"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": "s"}}});
        let even = json!({"topologySpreadConstraints": [constraint]});
        let at: BTreeSet<String> = (0..3).map(|i| put(&mut w, &format!("s-{i}"), "s", even.clone())).collect();
        assert_eq!(at.len(), 3);
        mark(&mut w, "node-1", |n| n["spec"]["unschedulable"] = true.into());
        assert!(!put(&mut w, "s-3", "s", even).is_empty());
        assert!(w.store.list(&PODS, Some(NS)).all(|(_, p)| !object::deleting(p)));
    }
}
