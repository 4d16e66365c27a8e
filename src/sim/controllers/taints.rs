//! Eviction by `NoExecute` taints: pods that do not tolerate them go, at once or when their patience ends.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::events::{self, Report, Source};
use super::kinds::PODS;
use super::scheduler::tolerates;
use super::{object, preemption};
use crate::sim::registry::{self, DeleteOptions};
use crate::sim::resource::Key;
use crate::sim::time::SimTime;
use crate::sim::world::{Event, World};

const SELF: Source<'static> = Source { component: "taint-eviction-controller", host: "" };

/// When the patience of a pod ends.
pub type Deadlines = BTreeMap<Key, SimTime>;

/// How long a pod stays on a node with these taints; `None`: for good.
fn patience(pod: &Value, taints: &[&Value]) -> Option<Duration> {
    let mut least = None;
    for taint in taints {
        let tolerations = pod["spec"]["tolerations"].as_array().into_iter().flatten();
        let one = |t: &Value| tolerates(&serde_json::json!({"spec": {"tolerations": [t]}}), taint);
        let tolerating: Vec<&Value> = tolerations.filter(|t| one(t)).collect();
        if tolerating.is_empty() {
            return Some(Duration::ZERO);
        }
        let seconds = tolerating.iter().filter_map(|t| t["tolerationSeconds"].as_i64()).map(|s| u64::try_from(s).unwrap_or(0));
        least = least.into_iter().chain(seconds.map(Duration::from_secs)).min();
    }
    least
}

/// Looks at the pods of a node.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(node) = world.store.get(key).cloned() else { return };
    let taints: Vec<&Value> = node["spec"]["taints"].as_array().into_iter().flatten().filter(|t| t["effect"] == "NoExecute").collect();
    if taints.is_empty() && world.controllers.tainted.is_empty() {
        return;
    }
    let pods: Vec<(Key, std::sync::Arc<Value>)> = world
        .store
        .list(&PODS, None)
        .filter(|(_, p)| p["spec"]["nodeName"] == *key.name && object::active(p))
        .map(|(k, p)| (k.clone(), std::sync::Arc::clone(p)))
        .collect();
    for (at, pod) in pods {
        let Some(patience) = patience(&pod, &taints) else {
            world.controllers.tainted.remove(&at);
            continue;
        };
        let now = world.now;
        let deadline = *world.controllers.tainted.entry(at.clone()).or_insert_with(|| now.after(patience));
        if deadline > now {
            world.agenda.at(deadline, Event::Reconcile(key.clone()));
            continue;
        }
        world.controllers.tainted.remove(&at);
        let text = format!("Marking for deletion Pod {}/{}", at.namespace, at.name);
        events::emit(world, &at, &pod, SELF, Report::normal("TaintManagerEviction", text));
        preemption::mark(world, &at, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
        // Gone already is as good.
        let _gone = registry::delete(world, &at, &DeleteOptions::default());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sim::controllers::kinds::NODES;
    use crate::sim::controllers::tests::{NS, advance, world};

    fn pod(name: &str, tolerations: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"nodeName": "node-1", "tolerations": tolerations, "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "nginx"}]}})
    }

    #[test]
    fn pods_leave_a_tainted_node_when_their_patience_ends() {
        let mut w = world();
        for (name, tolerations) in [
            ("stays", json!([{"key": "k", "operator": "Exists", "effect": "NoExecute"}])),
            ("waits", json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}])),
            ("goes", json!([])),
        ] {
            registry::create(&mut w, &PODS, NS, pod(name, &tolerations)).unwrap();
        }
        w.settle();
        advance(&mut w, 10.0);
        let key = Key::new(&NODES, "", "node-1");
        let mut node = (**w.store.get(&key).unwrap()).clone();
        node["spec"]["taints"] = json!([{"key": "k", "effect": "NoExecute"}]);
        registry::update(&mut w, &key, node, registry::Part::Main).unwrap();
        w.settle();
        let names = |w: &World| w.store.list(&PODS, Some(NS)).map(|(k, _)| k.name.to_string()).collect::<Vec<_>>();
        advance(&mut w, 10.0);
        assert_eq!(names(&w), ["stays", "waits"]);
        advance(&mut w, 70.0);
        assert_eq!(names(&w), ["stays"]);
    }
}
