//! Where other pods let a pod go: affinity and anti-affinity between pods, spread over domains, ports of nodes.
//!
//! Input: the pod, a node and all pods that are on nodes. Output: what is in the way, in the scheduler's words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::fit::affine;
use super::kinds::{NAMESPACES, NODES, PODS};
use super::object;
use crate::sim::resource::Key;
use crate::sim::world::World;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// The pods on nodes, and the nodes, for the time of one decision.
pub(super) struct Placement<'a> {
    world: &'a World,
    pod: &'a Value,
    nodes: BTreeMap<&'a str, &'a Value>,
    placed: Vec<(&'a str, &'a Value)>,
}

impl<'a> Placement<'a> {
    /// Looks at the cluster; `None` when no other pod can be in the way.
    ///
    /// The pods of `without` are taken to be gone.
    pub(super) fn of(world: &'a World, pod: &'a Value, without: &BTreeSet<Key>) -> Option<Self> {
        let concerned = |p: &Value| p["spec"]["affinity"]["podAntiAffinity"][REQUIRED].as_array().is_some_and(|t| !t.is_empty());
        let own = pod["spec"]["affinity"]["podAffinity"][REQUIRED].is_array()
            || pod["spec"]["topologySpreadConstraints"].is_array()
            || !ports(pod).is_empty()
            || concerned(pod);
        let all = Self::but(world, pod, without);
        (own || all.placed.iter().any(|(_, p)| concerned(p))).then_some(all)
    }

    /// All pods on nodes.
    pub(super) fn all(world: &'a World, pod: &'a Value) -> Self {
        Self::but(world, pod, &BTreeSet::new())
    }

    fn but(world: &'a World, pod: &'a Value, without: &BTreeSet<Key>) -> Self {
        let there = |o: &'a Arc<Value>| {
            let node = o["spec"]["nodeName"].as_str().filter(|n| !n.is_empty())?;
            (!object::ended(o)).then_some((node, &**o))
        };
        let placed = world.store.list(&PODS, None).filter(|(k, _)| !without.contains(*k)).filter_map(|(_, o)| there(o)).collect();
        let nodes = world.store.list(&NODES, None).map(|(_, n)| (object::name(n), &**n)).collect();
        Self { world, pod, nodes, placed }
    }

    /// The pods, with the names of their nodes.
    pub(super) fn placed(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.placed.iter().copied()
    }

    /// A node by its name.
    pub(super) fn node(&self, name: &str) -> Option<&'a Value> {
        self.nodes.get(name).copied()
    }

    /// Whether a pod is one of those that a constraint on spread counts.
    pub(super) fn in_group(&self, constraint: &Value, other: &Value) -> bool {
        let keys = constraint["matchLabelKeys"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let selector = &constraint["labelSelector"];
        let (labels, own) = (&other["metadata"]["labels"], &self.pod["metadata"]["labels"]);
        other["metadata"]["namespace"] == self.pod["metadata"]["namespace"]
            && !object::deleting(other)
            && selector.is_object()
            && object::selects(selector, labels)
            && keys.into_iter().all(|k| own[k].is_null() || own[k] == labels[k])
    }

    /// What keeps the pod from a node.
    pub(super) fn obstacle(&self, node: &'a Value) -> Option<&'static str> {
        let name = object::name(node);
        let wanted = ports(self.pod);
        let taken = |port: &Port<'_>| wanted.iter().any(|w| collide(port, w));
        if self.placed.iter().filter(|(at, _)| *at == name).any(|(_, p)| ports(p).iter().any(taken)) {
            return Some("node(s) didn't have free ports for the requested pod ports");
        }
        if let Some(why) = self.spread(node) {
            return Some(why);
        }
        let own = &self.pod["spec"]["affinity"];
        if !terms(own, "podAffinity").all(|term| self.near(term, node) || self.first(term, node)) {
            return Some("node(s) didn't match pod affinity rules");
        }
        if terms(own, "podAntiAffinity").any(|term| self.near(term, node)) {
            return Some("node(s) didn't match pod anti-affinity rules");
        }
        let refused = self.placed.iter().any(|(at, other)| {
            terms(&other["spec"]["affinity"], "podAntiAffinity").any(|term| {
                let same = self.nodes.get(at).is_some_and(|there| same_domain(term, there, node));
                same && self.selects(term, other, self.pod)
            })
        });
        refused.then_some("node(s) didn't satisfy existing pods anti-affinity rules")
    }

    /// Whether a pod that a term selects is in the node's domain.
    fn near(&self, term: &Value, node: &Value) -> bool {
        self.placed.iter().any(|(at, other)| {
            self.nodes.get(at).is_some_and(|there| same_domain(term, there, node)) && self.selects(term, self.pod, other)
        })
    }

    /// Whether the pod is the first of a group that wants to be together: then any node with the label will do.
    fn first(&self, term: &Value, node: &Value) -> bool {
        !domain(term, node).is_null()
            && self.selects(term, self.pod, self.pod)
            && !self.placed.iter().any(|(_, other)| self.selects(term, self.pod, other))
    }

    /// Whether a term of `owner`'s selects a pod.
    pub(super) fn selects(&self, term: &Value, owner: &Value, pod: &Value) -> bool {
        let namespace = &pod["metadata"]["namespace"];
        let listed = term["namespaces"].as_array().filter(|n| !n.is_empty());
        let there = match (listed, &term["namespaceSelector"]) {
            (None, Value::Null) => *namespace == owner["metadata"]["namespace"],
            (listed, selector) => {
                let labels = || {
                    let key = Key::new(&NAMESPACES, "", namespace.as_str().unwrap_or_default());
                    self.world.store.get(&key).map(|n| n["metadata"]["labels"].clone()).unwrap_or_default()
                };
                listed.is_some_and(|n| n.contains(namespace)) || (selector.is_object() && object::selects(selector, &labels()))
            }
        };
        there && term["labelSelector"].is_object() && object::selects(&term["labelSelector"], &pod["metadata"]["labels"])
    }

    /// What keeps a pod from a node for the sake of an even spread.
    fn spread(&self, node: &Value) -> Option<&'static str> {
        let constraints = self.pod["spec"]["topologySpreadConstraints"].as_array().into_iter().flatten();
        for constraint in constraints.filter(|c| c["whenUnsatisfiable"] == "DoNotSchedule") {
            let here = domain(constraint, node);
            if here.is_null() {
                return Some("node(s) didn't match pod topology spread constraints (missing required label)");
            }
            let ours = |p: &Value| self.in_group(constraint, p);
            // Nodes that the pod may not have anyway are no domains, unless it says so.
            let honest = |n: &Value| constraint["nodeAffinityPolicy"] == "Ignore" || affine(self.pod, n);
            let nodes = self.nodes.values().filter(|n| honest(n));
            let domains: BTreeSet<&str> = nodes.filter_map(|n| domain(constraint, n).as_str()).collect();
            let mut counts: BTreeMap<&str, i64> = domains.into_iter().map(|d| (d, 0)).collect();
            for (at, p) in &self.placed {
                let there = self.nodes.get(at).and_then(|n| domain(constraint, n).as_str());
                if let Some(count) = there.filter(|_| ours(p)).and_then(|d| counts.get_mut(d)) {
                    *count += 1;
                }
            }
            let least = match constraint["minDomains"].as_u64() {
                Some(wanted) if wanted > counts.len() as u64 => 0,
                _ => counts.values().min().copied().unwrap_or(0),
            };
            let mine = counts.get(here.as_str().unwrap_or_default()).copied().unwrap_or(0) + i64::from(ours(self.pod));
            if mine - least > constraint["maxSkew"].as_i64().unwrap_or(1) {
                return Some("node(s) didn't match pod topology spread constraints");
            }
        }
        None
    }
}

fn terms<'a>(affinity: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    affinity[kind][REQUIRED].as_array().into_iter().flatten()
}

pub(super) fn domain<'a>(term: &Value, node: &'a Value) -> &'a Value {
    &node["metadata"]["labels"][term["topologyKey"].as_str().unwrap_or_default()]
}

pub(super) fn same_domain(term: &Value, a: &Value, b: &Value) -> bool {
    !domain(term, a).is_null() && domain(term, a) == domain(term, b)
}

/// A port of a node: its number, protocol and address, which is empty for all of the node's.
type Port<'a> = (u64, &'a str, &'a str);

/// Whether two pods cannot have these ports on one node.
fn collide(a: &Port<'_>, b: &Port<'_>) -> bool {
    (a.0, a.1) == (b.0, b.1) && (a.2 == b.2 || a.2.is_empty() || b.2.is_empty())
}

/// Whether a pod on a node has taken a port that another one wants there.
pub(in crate::sim) fn lacks_ports(world: &World, pod: &Value, node: &str) -> bool {
    let wanted = ports(pod);
    let others = || world.store.list(&PODS, None).filter(|(_, p)| p["spec"]["nodeName"] == node && !object::ended(p));
    !wanted.is_empty()
        && others()
            .filter(|(_, p)| p["metadata"]["uid"] != pod["metadata"]["uid"])
            .any(|(_, p)| ports(p).iter().any(|port| wanted.iter().any(|w| collide(port, w))))
}

/// The ports of its node that a pod takes.
fn ports(pod: &Value) -> Vec<Port<'_>> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let all = containers.filter_map(|c| c["ports"].as_array()).flatten();
    all.filter_map(|p| {
        let address = p["hostIP"].as_str().filter(|a| *a != "0.0.0.0").unwrap_or_default();
        Some((p["hostPort"].as_u64().filter(|n| *n > 0)?, p["protocol"].as_str().unwrap_or("TCP"), address))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sim::controllers::tests::{NS, advance, pods, world};
    use crate::sim::registry;

    fn pod(w: &mut World, name: &str, spec: Value) -> Result<String, String> {
        let mut spec = spec;
        if spec["containers"].is_null() {
            spec["containers"] = json!([{"name": "c", "image": "nginx"}]);
        }
        let object =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name.split('-').next()}}, "spec": spec});
        let made = registry::create(w, &PODS, NS, object).unwrap();
        w.settle();
        advance(w, 2.0);
        let key = Key::new(&PODS, NS, object::name(&made));
        let pod = w.store.get(&key).unwrap();
        match pod["spec"]["nodeName"].as_str() {
            Some(node) => Ok(node.to_owned()),
            None => Err(object::condition(&pod["status"], "PodScheduled").unwrap()["message"].as_str().unwrap().to_owned()),
        }
    }

    fn apart(app: &str) -> Value {
        json!({"affinity": {"podAntiAffinity": {REQUIRED: [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}}]}}})
    }

    #[test]
    fn pods_keep_away_from_each_other_and_find_each_other() {
        let mut w = world();
        let nodes: BTreeSet<String> = (0..3).map(|i| pod(&mut w, &format!("a-{i}"), apart("a")).unwrap()).collect();
        assert_eq!(nodes.len(), 3);
        let why = pod(&mut w, "a-3", apart("a")).unwrap_err();
        assert_eq!(
            why,
            "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
        );
        // Those that are there may object, too.
        assert!(pod(&mut w, "b-0", apart("c")).is_ok());
        let refused = (0..3).filter_map(|i| pod(&mut w, &format!("c-{i}"), json!({})).ok()).collect::<BTreeSet<_>>();
        assert!(refused.len() == 2, "{refused:?}");
        let near = json!({"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "b"}}}]}}});
        let beside = pod(&mut w, "d-0", near).unwrap();
        assert_eq!(beside, pods(&w, "b")[0].1["spec"]["nodeName"].as_str().unwrap());
        let alone = json!({"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "nobody"}}}]}}});
        assert!(pod(&mut w, "e-0", alone).unwrap_err().contains("3 node(s) didn't match pod affinity rules"));
    }

    #[test]
    fn a_group_may_be_spread_and_ports_of_nodes_are_taken_once() {
        let mut w = world();
        let even = || json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "s"}}}]});
        let at: Vec<String> = (0..6).map(|i| pod(&mut w, &format!("s-{i}"), even()).unwrap()).collect();
        assert!(at.iter().collect::<BTreeSet<_>>().iter().all(|n| at.iter().filter(|m| m == n).count() == 2), "{at:?}");
        let zones = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]});
        assert!(
            pod(&mut w, "z-0", zones)
                .unwrap_err()
                .contains("3 node(s) didn't match pod topology spread constraints (missing required label)")
        );
        let port = || json!({"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80, "hostPort": 8080}]}]});
        assert!((0..3).all(|i| pod(&mut w, &format!("h-{i}"), port()).is_ok()));
        assert!(pod(&mut w, "h-3", port()).unwrap_err().contains("3 node(s) didn't have free ports for the requested pod ports"));
        let at = |ip: &str, protocol: &str| {
            json!({"nodeSelector": {"kubernetes.io/hostname": "node-1"}, "containers": [{"name": "c", "image": "nginx",
                "ports": [{"containerPort": 80, "hostPort": 9090, "hostIP": ip, "protocol": protocol}]}]})
        };
        for (name, ip, protocol, room) in [
            ("i-0", "127.0.0.1", "TCP", true),
            ("i-1", "10.0.0.1", "TCP", true),
            ("i-2", "127.0.0.1", "UDP", true),
            ("i-3", "10.0.0.1", "TCP", false),
            ("i-4", "0.0.0.0", "TCP", false),
        ] {
            assert_eq!(pod(&mut w, name, at(ip, protocol)).is_ok(), room, "{name}");
        }
    }
}
