//! Addresses of Services of type `LoadBalancer`: those of all nodes, as k3s' own load balancer gives them.

use serde_json::{Value, json};

use super::kinds::NODES;
use super::object;
use crate::sim::registry::{self, Part};
use crate::sim::resource::Key;
use crate::sim::world::World;

/// Brings the addresses of one Service up to date.
pub(super) fn reconcile(world: &mut World, key: &Key) {
    let Some(service) = world.store.get(key).cloned() else { return };
    let wanted = if service["spec"]["type"] == "LoadBalancer" && !object::deleting(&service) {
        let address = |node: &Value| {
            let all = node["status"]["addresses"].as_array()?;
            all.iter().find(|a| a["type"] == "InternalIP").map(|a| json!({"ip": a["address"], "ipMode": "VIP"}))
        };
        world.store.list(&NODES, None).filter_map(|(_, node)| address(node)).collect()
    } else {
        Vec::new()
    };
    let had = service["status"]["loadBalancer"]["ingress"].as_array().cloned().unwrap_or_default();
    if had == wanted {
        return;
    }
    let mut new = (*service).clone();
    new["status"]["loadBalancer"] = if wanted.is_empty() { json!({}) } else { json!({"ingress": wanted}) };
    // Gone or changed meanwhile: the next look will see.
    let _written = registry::update(world, key, new, Part::Status);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::controllers::kinds::SERVICES;
    use crate::sim::controllers::tests::{NS, advance, world};

    #[test]
    fn balanced_services_have_the_nodes_addresses_while_they_are_such() {
        let mut w = world();
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"},
            "spec": {"type": "LoadBalancer", "selector": {"app": "front"}, "ports": [{"port": 80}]}});
        registry::create(&mut w, &SERVICES, NS, service).unwrap();
        w.settle();
        advance(&mut w, 1.0);
        let key = Key::new(&SERVICES, NS, "front");
        let addresses = |w: &World| -> Vec<String> {
            let ingress = w.store.get(&key).unwrap()["status"]["loadBalancer"]["ingress"].clone();
            ingress.as_array().into_iter().flatten().map(|i| i["ip"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(addresses(&w), ["192.168.64.10", "192.168.64.11", "192.168.64.12"]);
        let mut new = (**w.store.get(&key).unwrap()).clone();
        new["spec"]["type"] = "ClusterIP".into();
        registry::update(&mut w, &key, new, Part::Main).unwrap();
        w.settle();
        advance(&mut w, 1.0);
        assert!(addresses(&w).is_empty());
    }
}
