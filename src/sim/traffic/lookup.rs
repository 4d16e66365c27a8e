//! Whether a pod's questions reach the name server and are answered.

use std::net::Ipv4Addr;

use super::graph::Graph;
use super::policies::{End, Wire};
use crate::sim::resource::Key;
use crate::sim::world::World;

/// Address of the name server.
pub(super) const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const PORT: u16 = 53;
const NAMESPACE: &str = "kube-system";

/// Whether the name server has a pod that answers.
pub(super) fn serves(graph: &Graph) -> bool {
    graph.at(DNS).and_then(|s| s.ports.get(&PORT)).is_some_and(|behind| !behind.is_empty())
}

/// Whether a pod's questions are answered. A cluster comes up with a name server that answers; from when its own pods have taken
/// over, they must be there. A policy may keep the questions from it.
pub fn answers(world: &World, graph: &Graph, key: &Key) -> bool {
    let Some(resolver) = world.runtime.pod(key).map(|p| &p.model.resolver) else { return true };
    if !resolver.in_cluster() {
        return resolver.outside();
    }
    if world.traffic.named && !serves(graph) {
        return false;
    }
    if graph.policies.is_empty() {
        return true;
    }
    let Some(own) = world.runtime.pod(key).and_then(|p| p.address) else { return true };
    let behind = graph.at(DNS).and_then(|s| s.ports.get(&PORT)).and_then(|b| b.first()).map(|(address, _)| *address);
    let server = behind.and_then(|address| world.runtime.at_address(address).map(|(key, _)| End::of_pod(world, key, address)));
    let labels = serde_json::json!({"k8s-app": "kube-dns"});
    let server = server.unwrap_or_else(|| End { pod: Some((NAMESPACE.to_owned(), labels)), ..End::at(DNS) });
    graph.policies.allow(world, &End::of_pod(world, key, own), &server, Wire::Udp(PORT))
}
