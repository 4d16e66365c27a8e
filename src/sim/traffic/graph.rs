//! Who answers at which address: Services and their ready endpoints, read from the store when something changed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::policies::Policies;
use crate::sim::controllers::kinds::{ENDPOINTS, SERVICES};
use crate::sim::resource::Key;
use crate::sim::world::World;

/// A Service as the network sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its virtual address; `None` for headless Services.
    pub address: Option<Ipv4Addr>,
    /// Name outside the cluster that it stands for.
    pub external: Option<String>,
    /// Ready endpoints by Service port.
    pub ports: BTreeMap<u16, Vec<(Ipv4Addr, u16)>>,
}

/// All Services.
#[derive(Debug, Default)]
pub struct Graph {
    /// By namespace and name.
    pub services: BTreeMap<(String, String), Entry>,
    by_address: BTreeMap<Ipv4Addr, (String, String)>,
    by_node_port: BTreeMap<u16, ((String, String), u16)>,
    /// Who may talk to whom.
    pub policies: Policies,
}

fn port(v: &Value) -> Option<u16> {
    u16::try_from(v.as_u64()?).ok()
}

impl Graph {
    /// Reads the store.
    pub fn read(world: &World) -> Self {
        let mut graph = Self { policies: Policies::read(world), ..Self::default() };
        for (key, service) in world.store.list(&SERVICES, None) {
            let mut entry = Entry {
                namespace: key.namespace.to_string(),
                name: key.name.to_string(),
                address: service["spec"]["clusterIP"].as_str().and_then(|a| a.parse().ok()),
                external: service["spec"]["externalName"].as_str().map(str::to_owned),
                ports: BTreeMap::new(),
            };
            let endpoints = world.store.get(&Key::new(&ENDPOINTS, &key.namespace, &key.name));
            let subsets = || endpoints.and_then(|e| e["subsets"].as_array()).into_iter().flatten();
            for p in service["spec"]["ports"].as_array().into_iter().flatten() {
                let Some(number) = port(&p["port"]) else { continue };
                let mut behind = Vec::new();
                for subset in subsets() {
                    let named = |t: &&Value| t["name"].as_str().unwrap_or_default() == p["name"].as_str().unwrap_or_default();
                    let Some(target) = subset["ports"].as_array().into_iter().flatten().find(named).and_then(|t| port(&t["port"])) else {
                        continue;
                    };
                    let addresses = subset["addresses"].as_array().into_iter().flatten();
                    behind.extend(addresses.filter_map(|a| Some((a["ip"].as_str()?.parse().ok()?, target))));
                }
                if let Some(open) = port(&p["nodePort"]) {
                    graph.by_node_port.insert(open, ((entry.namespace.clone(), entry.name.clone()), number));
                }
                entry.ports.insert(number, behind);
            }
            let id = (entry.namespace.clone(), entry.name.clone());
            if let Some(a) = entry.address {
                graph.by_address.insert(a, id.clone());
            }
            graph.services.insert(id, entry);
        }
        graph
    }

    /// The Service with a virtual address.
    pub fn at(&self, address: Ipv4Addr) -> Option<&Entry> {
        self.by_address.get(&address).and_then(|id| self.services.get(id))
    }

    /// The Service and the port of it that a port of every node leads to.
    pub fn at_node(&self, port: u16) -> Option<(&Entry, u16)> {
        let (id, number) = self.by_node_port.get(&port)?;
        Some((self.services.get(id)?, *number))
    }

    /// The Service that a DNS name means inside a namespace.
    pub fn named(&self, name: &str, namespace: &str) -> Option<&Entry> {
        let name = name.trim_end_matches('.');
        let base = name.strip_suffix(".svc.cluster.local").or_else(|| name.strip_suffix(".svc"));
        let (service, ns) = match base.unwrap_or(name).split_once('.') {
            Some((s, n)) => (s, n),
            None => (base.unwrap_or(name), namespace),
        };
        self.services.get(&(ns.to_owned(), service.to_owned()))
    }
}
