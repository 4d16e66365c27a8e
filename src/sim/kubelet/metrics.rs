//! Resource metrics as metrics-server offers them: scraped every 15 seconds, absent until the first scrape.

use std::time::Duration;

use super::container::Throttled;
use crate::sim::resource::Key;
use crate::sim::time::SimTime;
use crate::sim::world::World;

/// Time between two scrapes.
pub(super) const SCRAPE: Duration = Duration::from_secs(15);
/// What the system itself uses on a node.
const SYSTEM_CPU: f64 = 0.12;
const SYSTEM_MEMORY: u64 = 900 << 20;

/// The last sample of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodMetrics {
    /// When it was taken.
    pub at: SimTime,
    /// Over what time CPU use was averaged.
    pub window: Duration,
    /// Container name, CPU in cores, memory in bytes.
    pub containers: Vec<(String, f64, u64)>,
}

/// The last sample of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeMetrics {
    /// When it was taken.
    pub at: SimTime,
    /// Over what time CPU use was averaged.
    pub window: Duration,
    /// CPU in cores.
    pub cpu: f64,
    /// Memory in bytes.
    pub memory: u64,
}

/// What a container has used since it started.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// Its pod.
    pub pod: Key,
    /// Its name.
    pub name: String,
    /// Its image and its id.
    pub image: String,
    /// Identifier of the run.
    pub id: String,
    /// When it started.
    pub since: SimTime,
    /// CPU seconds.
    pub cpu_s: f64,
    /// Memory in use now, in bytes.
    pub memory: u64,
    /// CPU limit in cores, and memory limit in bytes.
    pub limits: (Option<f64>, Option<u64>),
    /// Being held back at the CPU limit.
    pub throttled: Throttled,
}

/// The running containers of a node, by pod.
pub fn used(world: &World, node: &str) -> Vec<Used> {
    let mut out = Vec::new();
    for (key, pod) in world.runtime.pods.iter().filter(|(_, p)| p.model.node == node) {
        for (model, c) in pod.model.containers.iter().zip(&pod.containers) {
            let Some(run) = c.run() else { continue };
            out.push(Used {
                pod: key.clone(),
                name: model.name.clone(),
                image: c.image.clone(),
                id: c.id.clone(),
                since: run.since,
                cpu_s: c.cpu_total,
                memory: c.memory,
                limits: (model.cpu_limit, model.memory_limit),
                throttled: c.throttled,
            });
        }
    }
    out
}

/// The last sample of a pod; `None` while there is none for one of its running containers.
pub fn metrics(world: &World, key: &Key) -> Option<PodMetrics> {
    let pod = world.runtime.pods.get(key)?;
    let mut out = PodMetrics { at: SimTime(0), window: SCRAPE, containers: Vec::new() };
    for (model, c) in pod.model.containers.iter().zip(&pod.containers) {
        if c.run().is_none() {
            continue;
        }
        let (at, window, cpu, memory) = c.sample?;
        out.at = out.at.max(at);
        out.window = window;
        out.containers.push((model.name.clone(), cpu, memory));
    }
    (!out.containers.is_empty()).then_some(out)
}

/// The last sample of a node; `None` before the first scrape or when there is no such node.
pub fn node_metrics(world: &World, node: &str) -> Option<NodeMetrics> {
    let key = Key::new(&crate::sim::controllers::kinds::NODES, "", node);
    world.store.get(&key)?;
    let last = SimTime(world.now.0 / 15_000 * 15_000);
    if last.0 == 0 {
        return None;
    }
    let mut out = NodeMetrics { at: last, window: SCRAPE, cpu: SYSTEM_CPU, memory: SYSTEM_MEMORY };
    for pod in world.runtime.pods.values().filter(|p| p.model.node == node) {
        for (_, _, cpu, memory) in pod.containers.iter().filter_map(|c| c.sample) {
            out.cpu += cpu;
            out.memory += memory;
        }
    }
    Some(out)
}

/// CPU seconds that a node has used since the cluster began, and memory in use now, of its running containers and the system.
pub fn node_used(world: &World, containers: &[Used]) -> (f64, u64) {
    let up = world.now.since(world.config.start).as_secs_f64();
    let cpu = SYSTEM_CPU * up + containers.iter().map(|c| c.cpu_s).sum::<f64>();
    (cpu, SYSTEM_MEMORY + containers.iter().map(|c| c.memory).sum::<u64>())
}
