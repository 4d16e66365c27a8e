//! Requests along the call graph, second by second: rate, errors and latency of every service.
//!
//! Input: the configured [`super::config::EntryLoad`]s, Services, endpoints and the state of pods. Output: the load on
//! containers and a time series for each Service. Each second a few requests of each entry are followed through the
//! cluster, each standing for its share of the rate; `exec`ed programs send theirs the same way.

pub mod graph;
mod lookup;
mod policies;
mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

pub use graph::Graph;
pub use lookup::answers;
pub use policies::{End, Wire};
pub use request::{Ask, Failure, OUTSIDE_RTT, Outcome, POD_RTT, connect, is_api, request};

use super::time::SimTime;
use super::world::World;

/// Most requests followed in a second for one entry.
const SAMPLES: f64 = 12.0;
/// How long somebody outside waits for an answer, in seconds.
const PATIENCE: f64 = 10.0;
/// Most seconds kept for each Service.
const SECONDS: usize = 7200;

/// The time series of all services.
#[derive(Debug, Default)]
pub struct Traffic {
    stale: bool,
    /// Whether the name server's own pods have answered.
    named: bool,
    graph: Graph,
    series: BTreeMap<(String, String), VecDeque<Point>>,
    totals: BTreeMap<(String, String), Total>,
    current: BTreeMap<(String, String), Tally>,
    carry: Vec<f64>,
}

/// One second of one service.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// The second, from the cluster's epoch.
    pub second: u64,
    /// Requests.
    pub requests: f64,
    /// Of these, without an answer or with one of 500 and above.
    pub errors: f64,
    /// Mean time to the answer (or to giving up), in milliseconds.
    pub latency_ms: f64,
    /// Its 95th percentile.
    pub p95_ms: f64,
}

/// All seconds of one service.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Total {
    /// Requests.
    pub requests: f64,
    /// Of these, without an answer or with one of 500 and above.
    pub errors: f64,
    /// Time to the answers, in seconds.
    pub seconds: f64,
    /// The last second that had requests.
    pub last: Point,
}

#[derive(Debug, Default)]
struct Tally {
    requests: f64,
    errors: f64,
    took: Vec<f64>,
}

impl Traffic {
    /// The seconds of a service from `from` up to, not including, `to`.
    pub fn series(&self, namespace: &str, service: &str, from: SimTime, to: SimTime) -> Vec<Point> {
        let all = self.series.get(&(namespace.to_owned(), service.to_owned()));
        all.into_iter().flatten().filter(|p| p.second * 1000 >= from.0 && p.second * 1000 < to.0).copied().collect()
    }

    /// What each service, by namespace and name, has had since the start.
    pub fn totals(&self) -> impl Iterator<Item = (&(String, String), &Total)> {
        self.totals.iter()
    }
}

/// Pods, services or endpoints changed: the call graph must be built anew.
pub fn invalidate(world: &mut World) {
    world.traffic.stale = true;
}

/// Does something with the call graph, which is built anew when it is stale.
pub fn with_graph<T>(world: &mut World, f: impl FnOnce(&mut World, &Graph) -> T) -> T {
    if world.traffic.stale {
        world.traffic.graph = Graph::read(world);
        world.traffic.stale = false;
        world.traffic.named |= lookup::serves(&world.traffic.graph);
    }
    let graph = std::mem::take(&mut world.traffic.graph);
    let out = f(world, &graph);
    world.traffic.graph = graph;
    out
}

/// Counts a request to the Service at an address.
fn record(world: &mut World, graph: &Graph, address: Ipv4Addr, outcome: &Outcome, weight: f64) {
    let Some(service) = graph.at(address) else { return };
    let tally = world.traffic.current.entry((service.namespace.clone(), service.name.clone())).or_default();
    tally.requests += weight;
    if !matches!(outcome.result, Ok((..=499, _))) {
        tally.errors += weight;
    }
    tally.took.push(outcome.took * 1000.0);
}

/// Accounts one second.
pub fn second(world: &mut World) {
    if world.config.traffic.is_empty() {
        return;
    }
    let config = std::sync::Arc::clone(&world.config);
    world.traffic.carry.resize(config.traffic.len(), 0.0);
    with_graph(world, |world, graph| {
        for (i, entry) in config.traffic.iter().enumerate() {
            // Fractions of a request are carried over, so that low rates come out right.
            let offered = entry.rate + world.traffic.carry.get(i).copied().unwrap_or(0.0);
            let count = offered.floor().min(SAMPLES);
            if let Some(c) = world.traffic.carry.get_mut(i) {
                *c = if count < SAMPLES { offered - count } else { 0.0 };
            }
            if count < 1.0 {
                continue;
            }
            let weight = if count < SAMPLES { 1.0 } else { entry.rate / count };
            let Some(address) = graph.named(&entry.service, &entry.namespace).and_then(|s| s.address) else { continue };
            let ask = Ask { from: None, address, port: entry.port, path: &entry.path, timeout: PATIENCE, weight };
            let mut left = count;
            while left >= 1.0 {
                left -= 1.0;
                let outcome = request(world, graph, &ask, 0);
                record(world, graph, address, &outcome, weight);
            }
        }
    });
    close(world);
    for pod in world.runtime.pods.values_mut() {
        for c in &mut pod.containers {
            // Smoothed over a few seconds: single requests are not bursts.
            c.load = c.load * 0.5 + c.arrived * 0.5;
            c.arrived = 0.0;
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a handful of samples")]
fn close(world: &mut World) {
    let second = world.now.0 / 1000;
    for (service, mut t) in std::mem::take(&mut world.traffic.current) {
        t.took.sort_by(f64::total_cmp);
        let n = t.took.len().max(1) as f64;
        let p95 = t.took.get(((n * 0.95).ceil() as usize).saturating_sub(1)).copied().unwrap_or(0.0);
        let point = Point { second, requests: t.requests, errors: t.errors, latency_ms: t.took.iter().sum::<f64>() / n, p95_ms: p95 };
        let total = world.traffic.totals.entry(service.clone()).or_default();
        total.requests += point.requests;
        total.errors += point.errors;
        total.seconds += point.requests * point.latency_ms / 1000.0;
        total.last = point;
        let series = world.traffic.series.entry(service).or_default();
        if series.len() == SECONDS {
            series.pop_front();
        }
        series.push_back(point);
    }
}
