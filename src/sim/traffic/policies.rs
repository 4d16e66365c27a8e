//! Network policies: who may talk to whom.
//!
//! Input: the `NetworkPolicy` objects. Output: whether a connection is let through. As with k3s' own controller (kube-router),
//! what is not allowed is refused, not dropped. A pod that no policy selects may talk and be talked to by everybody; between
//! containers of one pod nothing is in the way, and a node's kubelet reaches all of its pods.

use std::net::Ipv4Addr;

use serde_json::Value;

use crate::sim::controllers::kinds::{NAMESPACES, POLICIES};
use crate::sim::controllers::object;
use crate::sim::resource::Key;
use crate::sim::world::World;

/// All network policies.
#[derive(Debug, Default)]
pub struct Policies(Vec<Policy>);

#[derive(Debug)]
struct Policy {
    namespace: String,
    pods: Value,
    /// What may come in; `None`: it says nothing of that.
    ingress: Option<Vec<Rule>>,
    /// What may go out.
    egress: Option<Vec<Rule>>,
}

/// Any of these peers at any of these ports; none named is all.
#[derive(Debug)]
struct Rule {
    peers: Vec<Value>,
    ports: Vec<Value>,
}

/// One end of a connection.
#[derive(Debug, Clone)]
pub struct End {
    /// The namespace and the labels of a pod; `None` for what is no pod.
    pub pod: Option<(String, Value)>,
    /// Names of its ports.
    pub named: Vec<(String, u16)>,
    /// Its address.
    pub address: Ipv4Addr,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// To a TCP port.
    Tcp(u16),
    /// To a UDP port.
    Udp(u16),
    /// Echo requests.
    Icmp,
}

impl End {
    /// A pod.
    pub fn of_pod(world: &World, key: &Key, address: Ipv4Addr) -> Self {
        let pod = world.store.get(key);
        // Policies know nothing of pods with their node's network.
        if pod.is_some_and(|p| p["spec"]["hostNetwork"] == true) {
            return Self::at(address);
        }
        let labels = pod.map(|p| p["metadata"]["labels"].clone()).unwrap_or_default();
        let containers = pod.and_then(|p| p["spec"]["containers"].as_array()).into_iter().flatten();
        let ports = containers.filter_map(|c| c["ports"].as_array()).flatten();
        let named = ports.filter_map(|p| Some((p["name"].as_str()?.to_owned(), u16::try_from(p["containerPort"].as_u64()?).ok()?)));
        Self { pod: Some((key.namespace.to_string(), labels)), named: named.collect(), address }
    }

    /// Something that is no pod.
    pub fn at(address: Ipv4Addr) -> Self {
        Self { pod: None, named: Vec::new(), address }
    }
}

impl Policies {
    /// Reads the store.
    pub fn read(world: &World) -> Self {
        let rules = |policy: &Value, list: &str, peers: &str| -> Vec<Rule> {
            let all = |v: &Value| v.as_array().cloned().unwrap_or_default();
            all(&policy["spec"][list]).iter().map(|r| Rule { peers: all(&r[peers]), ports: all(&r["ports"]) }).collect()
        };
        let read = |(key, policy): (&Key, &std::sync::Arc<Value>)| {
            let types: Vec<&str> = policy["spec"]["policyTypes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            Policy {
                namespace: key.namespace.to_string(),
                pods: policy["spec"]["podSelector"].clone(),
                ingress: types.contains(&"Ingress").then(|| rules(policy, "ingress", "from")),
                egress: types.contains(&"Egress").then(|| rules(policy, "egress", "to")),
            }
        };
        Self(world.store.list(&POLICIES, None).map(read).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `from` may send to `to`.
    pub fn allow(&self, world: &World, from: &End, to: &End, wire: Wire) -> bool {
        self.is_empty()
            || (self.side(world, from, to, to, wire, |p| p.egress.as_ref()) && self.side(world, to, from, to, wire, |p| p.ingress.as_ref()))
    }

    /// One side: all policies that select `own` and speak of this direction, together.
    fn side(&self, world: &World, own: &End, peer: &End, to: &End, wire: Wire, rules: impl Fn(&Policy) -> Option<&Vec<Rule>>) -> bool {
        let Some((namespace, labels)) = &own.pod else { return true };
        let ours = self.0.iter().filter(|p| p.namespace == *namespace && object::selects(&p.pods, labels));
        let mut said = ours.filter_map(|p| rules(p).map(|rules| (p, rules))).peekable();
        said.peek().is_none()
            || said.any(|(policy, rules)| {
                rules.iter().any(|rule| {
                    (rule.peers.is_empty() || rule.peers.iter().any(|p| is_peer(world, p, &policy.namespace, peer)))
                        && (rule.ports.is_empty() || rule.ports.iter().any(|p| is_port(p, to, wire)))
                })
            })
    }
}

fn is_peer(world: &World, peer: &Value, namespace: &str, end: &End) -> bool {
    if peer["ipBlock"].is_object() {
        let inside = |range: &Value| range.as_str().is_some_and(|range| contains(range, end.address));
        return inside(&peer["ipBlock"]["cidr"]) && !peer["ipBlock"]["except"].as_array().into_iter().flatten().any(inside);
    }
    let Some((its, labels)) = &end.pod else { return false };
    let there = if peer["namespaceSelector"].is_object() {
        let labels = world.store.get(&Key::new(&NAMESPACES, "", its)).map(|n| n["metadata"]["labels"].clone()).unwrap_or_default();
        object::selects(&peer["namespaceSelector"], &labels)
    } else {
        its == namespace
    };
    there && object::selects(&peer["podSelector"], labels)
}

/// Whether a range such as `10.0.0.0/8` contains an address.
fn contains(range: &str, address: Ipv4Addr) -> bool {
    let (base, bits) = range.split_once('/').unwrap_or((range, "32"));
    let (Ok(base), Ok(bits)) = (base.parse::<Ipv4Addr>(), bits.parse::<u32>()) else { return false };
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
    u32::from(base) & mask == u32::from(address) & mask
}

fn is_port(port: &Value, to: &End, wire: Wire) -> bool {
    let (protocol, number) = match wire {
        Wire::Tcp(number) => ("TCP", number),
        Wire::Udp(number) => ("UDP", number),
        Wire::Icmp => return false,
    };
    if port["protocol"].as_str().unwrap_or("TCP") != protocol {
        return false;
    }
    match &port["port"] {
        Value::Null => true,
        Value::String(name) => to.named.iter().any(|(known, at)| known == name && *at == number),
        first => {
            let first = first.as_u64().unwrap_or_default();
            (first..=port["endPort"].as_u64().unwrap_or(first)).contains(&u64::from(number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_they_should() {
        let address = Ipv4Addr::new(10, 42, 1, 7);
        assert!(contains("10.42.0.0/16", address) && contains("0.0.0.0/0", address) && contains("10.42.1.7/32", address));
        assert!(!contains("10.42.1.8/32", address) && !contains("10.43.0.0/16", address) && !contains("fd00::/8", address));
    }
}
