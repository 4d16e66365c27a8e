//! Nodes whose kubelet has never said anything: somebody made the object by hand.

use std::time::Duration;

use serde_json::{Value, json};

use super::object;
use crate::sim::registry::{self, Part};
use crate::sim::resource::Key;
use crate::sim::world::{Event, World};

/// How long a new node is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Looks at one node.
pub(super) fn reconcile(world: &mut World, key: &Key) {
    let Some(node) = world.store.get(key).cloned() else { return };
    let offered = offered(&node);
    if offered != node["status"]["allocatable"] {
        let mut new = (*node).clone();
        new["status"]["allocatable"] = offered;
        // Nobody else writes in between: the world is ours.
        let _written = registry::update(world, key, new, Part::Status);
        return;
    }
    if node["status"]["conditions"].as_array().is_some_and(|all| !all.is_empty()) {
        return;
    }
    let due = object::created(&node).after(PATIENCE);
    if due > world.now {
        world.agenda.at(due, Event::Reconcile(key.clone()));
        return;
    }
    let now = world.now.rfc3339();
    let conditions = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"].map(|kind| {
        json!({"type": kind, "status": "Unknown", "lastHeartbeatTime": node["metadata"]["creationTimestamp"], "lastTransitionTime": now,
            "reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status."})
    });
    let mut new = (*node).clone();
    new["status"]["conditions"] = Value::from(conditions.to_vec());
    // Nobody else writes in between: the world is ours.
    let _written = registry::update(world, key, new, Part::Status);
}

/// What a kubelet offers of a node that somebody has given extended resources: all that there is.
fn offered(node: &Value) -> Value {
    let mut offered = node["status"]["allocatable"].clone();
    let capacity = node["status"]["capacity"].as_object();
    let extended = |name: &str| name.contains('/');
    if let Some(all) = offered.as_object_mut() {
        all.retain(|name, _| !extended(name) || capacity.is_some_and(|c| c.contains_key(name)));
        all.extend(capacity.into_iter().flatten().filter(|(name, _)| extended(name)).map(|(name, amount)| (name.clone(), amount.clone())));
    }
    offered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::controllers::kinds::NODES;
    use crate::sim::controllers::tests::{advance, world};

    #[test]
    fn a_node_without_a_kubelet_is_unknown_after_a_minute() {
        let mut w = world();
        registry::create(&mut w, &NODES, "", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bare"}})).unwrap();
        w.settle();
        let conditions = |w: &World| w.store.get(&Key::new(&NODES, "", "bare")).unwrap()["status"]["conditions"].clone();
        advance(&mut w, 50.0);
        assert!(conditions(&w).as_array().is_none_or(Vec::is_empty));
        advance(&mut w, 20.0);
        let found = conditions(&w);
        assert_eq!((found.as_array().map(Vec::len), &found[0]["type"], &found[0]["status"]), (Some(4), &json!("Ready"), &json!("Unknown")));
        let own = Key::new(&NODES, "", "node-1");
        assert!(object::condition_true(w.store.get(&own).unwrap(), "Ready"));
    }

    #[test]
    fn extended_resources_are_offered_as_they_come_and_go() {
        let mut w = world();
        let key = Key::new(&NODES, "", "node-1");
        for there in [true, false] {
            let mut node = (**w.store.get(&key).unwrap()).clone();
            let capacity = node["status"]["capacity"].as_object_mut().unwrap();
            if there {
                capacity.insert("example.com/dongle".to_owned(), "5".into());
            } else {
                capacity.remove("example.com/dongle");
            }
            registry::update(&mut w, &key, node, Part::Status).unwrap();
            w.settle();
            advance(&mut w, 1.0);
            let node = w.store.get(&key).unwrap();
            assert_eq!(node["status"]["allocatable"].get("example.com/dongle").is_some(), there);
            assert_eq!(node["status"]["allocatable"]["cpu"], "8");
        }
    }
}
