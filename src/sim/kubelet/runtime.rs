//! What runs where: the state of all pods that the API does not show.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::container::{Container, Life};
use super::model::{PodModel, Restart};
use super::network::{IoFault, NetFault};
use super::programs::Program;
use super::volumes::Entry;
use crate::sim::resource::Key;
use crate::sim::shell::files::Volume;
use crate::sim::time::SimTime;

/// State of all containers that the API does not show.
#[derive(Debug, Default)]
pub struct Runtime {
    pub(crate) pods: BTreeMap<Key, PodRun>,
    /// Next host number by node.
    pub(super) addresses: BTreeMap<String, u32>,
    /// Images present by node.
    pub(super) images: BTreeSet<(String, String)>,
    /// Which pod has an address.
    pub(crate) by_address: BTreeMap<Ipv4Addr, Key>,
    /// Files of persistent volumes, by claim.
    pub(super) claims: BTreeMap<Key, Volume>,
    /// Files of nodes.
    pub(super) nodes: BTreeMap<String, Volume>,
    /// Programs that have been started and not yet been handed over.
    pub(crate) started: Vec<Program>,
    /// Programs that wait for somebody to attach, by pod and container.
    pub(super) waiting: BTreeMap<(Key, String), Program>,
    /// Number of container ids given.
    pub(super) sequence: u64,
}

/// The address of a node.
pub(crate) fn node_address(node: &str) -> Ipv4Addr {
    let number = node.rsplit('-').next().and_then(|n| n.parse::<u8>().ok()).filter(|n| *n <= 200);
    Ipv4Addr::new(192, 168, 64, number.map_or(10, |n| n.saturating_add(9)))
}

/// A pod on its node.
#[derive(Debug)]
pub struct PodRun {
    /// The pod's uid: a pod of the same name later is another one.
    pub uid: String,
    /// What it is made of.
    pub model: PodModel,
    /// When it was bound.
    pub bound: SimTime,
    /// When its sandbox is ready.
    pub sandbox_at: SimTime,
    /// Its address, once the sandbox is ready.
    pub address: Option<Ipv4Addr>,
    /// Its containers, in the order of the model.
    pub containers: Vec<Container>,
    /// Since when conditions have their value.
    pub conditions: BTreeMap<&'static str, (bool, SimTime)>,
    /// When it began to end, and the grace period.
    pub terminating: Option<(SimTime, std::time::Duration)>,
    /// Why the kubelet has given it up, in a word and a text.
    pub failed: Option<(&'static str, String)>,
    /// Whether its status must be written.
    pub dirty: bool,
    /// The earliest wake-up that is scheduled.
    pub wake: Option<SimTime>,
    /// Files of its volumes.
    pub volumes: BTreeMap<String, Volume>,
    /// What those of them that are made of objects were last made of.
    pub(super) laid: BTreeMap<String, Vec<Entry>>,
    /// In which round of its kubelet that was.
    pub(super) synced: u64,
    /// Why its volumes cannot be mounted.
    pub(super) unmounted: Option<Unmounted>,
    /// Network faults, by experiment.
    pub net: Vec<(Key, NetFault)>,
    /// Disk faults, by experiment.
    pub io: Vec<(Key, IoFault)>,
}

/// A volume that cannot be mounted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unmounted {
    /// How long to wait after the next failure.
    pub(super) back_off: Duration,
    /// When the kubelet gives up waiting, says so, and begins to wait again.
    pub(super) patience: SimTime,
}

impl Runtime {
    /// CPU, memory and number of pods requested on each node.
    pub fn requested(&self) -> BTreeMap<&str, (f64, f64, u32)> {
        let mut out: BTreeMap<&str, (f64, f64, u32)> = BTreeMap::new();
        for pod in self.pods.values().filter(|p| !p.ended()) {
            let node = out.entry(&pod.model.node).or_default();
            node.0 += pod.model.requests.0;
            node.1 += pod.model.requests.1;
            node.2 += 1;
        }
        out
    }

    /// The program that waits in a container, for whoever runs it now.
    pub fn attach(&mut self, key: &Key, container: &str) -> Option<Program> {
        let found = self.waiting.remove(&(key.clone(), container.to_owned()))?;
        let c = self.pods.get(key).and_then(|p| p.containers.get(p.index(container)?))?;
        (c.id == found.id && c.run().is_some()).then_some(found)
    }

    /// The claim is gone, and its files with it.
    pub fn forget_claim(&mut self, claim: &Key) {
        self.claims.remove(claim);
    }

    /// Who has a port of a node: a pod with the node's network, or one whose port it leads to. Gives the address and port there.
    pub fn at_node(&self, address: Ipv4Addr, port: u16) -> Option<(&Key, Ipv4Addr, u16)> {
        let here = self.pods.iter().filter(|(_, p)| node_address(&p.model.node) == address && !p.ended());
        here.into_iter().find_map(|(key, pod)| {
            if pod.model.host_network {
                let mut all = pod.model.containers.iter().zip(&pod.containers);
                return all.any(|(m, c)| super::probe::accepts(m, c, port)).then_some((key, address, port));
            }
            let found = pod.model.host_ports.iter().find(|p| p.port == port && p.address.is_none_or(|a| a == address))?;
            Some((key, pod.address?, found.own))
        })
    }

    /// The state of a pod.
    pub fn pod(&self, key: &Key) -> Option<&PodRun> {
        self.pods.get(key)
    }

    /// The pod that has an address.
    pub fn at_address(&self, address: Ipv4Addr) -> Option<(&Key, &PodRun)> {
        self.by_address.get(&address).and_then(|k| self.pods.get(k).map(|p| (k, p)))
    }
}

impl PodRun {
    /// Whether all its containers have ended for good, its sidecars too.
    pub fn ended(&self) -> bool {
        let sidecars = self.model.containers.iter().zip(&self.containers).take(self.model.init).filter(|(m, _)| m.sidecar);
        self.done() && sidecars.into_iter().all(|(_, c)| c.run().is_none())
    }

    /// Whether its containers have ended for good; those beside them may still run.
    pub(super) fn done(&self) -> bool {
        if self.failed.is_some() && self.containers.iter().all(|c| c.run().is_none()) {
            return true;
        }
        let mut main = self.containers.iter().take(self.model.lasting).skip(self.model.init).peekable();
        let over = |c: &Container| match &c.life {
            Life::Ended(e) => match self.model.restart {
                Restart::Always => false,
                Restart::OnFailure => e.code == 0,
                Restart::Never => true,
            },
            _ => false,
        };
        let failed_init = self.model.restart == Restart::Never
            && self
                .model
                .containers
                .iter()
                .zip(&self.containers)
                .take(self.model.init)
                .any(|(m, c)| !m.sidecar && matches!(&c.life, Life::Ended(e) if e.code != 0));
        failed_init || (main.peek().is_some() && main.all(over))
    }

    /// The index of a container by name.
    pub fn index(&self, container: &str) -> Option<usize> {
        self.model.containers.iter().position(|c| c.name == container)
    }
}
