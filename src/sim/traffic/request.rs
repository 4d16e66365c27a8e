//! One request through the cluster: connection, service time, the calls that it makes, time-outs.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::graph::Graph;
use super::lookup::{DNS, answers};
use super::policies::{End, Wire};
use crate::sim::config::path_matches;
use crate::sim::kubelet::behaviour::Behaviour;
use crate::sim::kubelet::container::Container;
use crate::sim::kubelet::model::ContainerModel;
use crate::sim::kubelet::network::{Netem, egress, ingress, join};
use crate::sim::kubelet::{accepts, find, share, status_of, work_time};
use crate::sim::resource::Key;
use crate::sim::world::World;

/// Round trip between two pods in seconds.
pub const POD_RTT: f64 = 0.0004;
/// Round trip to the world outside.
pub const OUTSIDE_RTT: f64 = 0.008;
/// Address of the API server's Service.
const API_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Where that leads to.
const API_NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 10);
const API_PORT: u16 = 6443;
/// Where those outside seem to come from: the network of the nodes.
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 1);
/// Whether the API server is what listens at an address.
pub fn is_api(address: Ipv4Addr, port: u16) -> bool {
    (address, port) == (API_IP, 443) || (address, port) == (API_NODE, API_PORT)
}

/// How often the name server is asked and how long each question waits for its answer, in seconds.
const LOOKUPS: u32 = 2;
const LOOKUP_PATIENCE: f64 = 5.0;
/// Most calls below each other.
const DEPTH: u32 = 16;

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens, or the Service has no endpoint.
    Refused,
    /// No answer in time.
    TimedOut,
    /// The name does not exist.
    NoSuchName,
}

/// How a request went.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Status code and the text of the body, or why there is none.
    pub result: Result<(u16, String), Failure>,
    /// How long it took, in seconds.
    pub took: f64,
}

/// What a request asks for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// The pod that asks; `None`: somebody outside.
    pub from: Option<Key>,
    /// Where to.
    pub address: Ipv4Addr,
    /// Port there.
    pub port: u16,
    /// Path.
    pub path: &'a str,
    /// The most that it may take, in seconds.
    pub timeout: f64,
    /// How many requests of its kind it stands for.
    pub weight: f64,
}

/// Where a connection ends up.
enum Place {
    /// In a container of a pod.
    Pod(Key, Ipv4Addr, u16),
    /// At an address that accepts everything, this far away.
    Far(f64),
    /// It is refused.
    Refused,
    /// Nobody answers.
    Nowhere,
}

fn locate(world: &mut World, graph: &Graph, ask: &Ask<'_>) -> Place {
    if ask.address == API_IP {
        return Place::Far(POD_RTT);
    }
    if ask.address.is_loopback() {
        return match ask.from.as_ref().and_then(|k| world.runtime.pod(k).and_then(|p| p.address.map(|a| (k.clone(), a)))) {
            Some((k, a)) => Place::Pod(k, a, ask.port),
            None => Place::Refused,
        };
    }
    let on_node = matches!(ask.address.octets(), [192, 168, 64, 10..=99]);
    let service = if on_node { graph.at_node(ask.port) } else { graph.at(ask.address).map(|s| (s, ask.port)) };
    let (address, port) = match service {
        Some((service, number)) => match service.ports.get(&number) {
            Some(behind) if behind.is_empty() => return Place::Refused,
            Some(behind) => {
                // Draw only when there is a choice.
                let i = if behind.len() > 1 { pick(world, behind.len()) } else { 0 };
                match behind.get(i) {
                    Some(b) => *b,
                    None => return Place::Refused,
                }
            }
            // The name server is part of the model and listens.
            None if ask.port == 53 => return Place::Far(POD_RTT),
            None => return Place::Nowhere,
        },
        None => (ask.address, ask.port),
    };
    if let Some((key, _)) = world.runtime.at_address(address) {
        return Place::Pod(key.clone(), address, port);
    }
    if let Some((key, address, port)) = world.runtime.at_node(address, port) {
        return Place::Pod(key.clone(), address, port);
    }
    match address.octets() {
        [10, 42 | 96, ..] => Place::Nowhere,
        [192, 168, 64, _] => Place::Refused,
        _ => Place::Far(OUTSIDE_RTT),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a number of endpoints")]
fn pick(world: &mut World, n: usize) -> usize {
    ((world.uniform() * n as f64) as usize).min(n.saturating_sub(1))
}

/// Opens a connection: how long it took, in seconds.
pub fn connect(world: &mut World, graph: &Graph, ask: &Ask<'_>) -> Result<f64, (Failure, f64)> {
    let place = locate(world, graph, ask);
    reach(world, graph, ask, &place).map(|(t, _, _)| t)
}

/// The handshake: time, and the faults in both directions.
fn reach(world: &mut World, graph: &Graph, ask: &Ask<'_>, place: &Place) -> Result<(f64, Netem, Netem), (Failure, f64)> {
    if !graph.policies.is_empty() && !allowed(world, graph, ask, place) {
        return Err((Failure::Refused, POD_RTT));
    }
    let mine = ask.from.as_ref().and_then(|k| world.runtime.pod(k));
    let own = mine.and_then(|p| p.address);
    let (there, back, rtt, listens) = match place {
        Place::Nowhere => return Err((Failure::TimedOut, ask.timeout)),
        Place::Refused => return Err((Failure::Refused, POD_RTT)),
        Place::Far(rtt) => {
            let there = mine.map(|p| egress(p, Some(ask.address))).unwrap_or_default();
            let back = mine.map(|p| ingress(p, Some(ask.address))).unwrap_or_default();
            (there, back, *rtt, true)
        }
        Place::Pod(key, address, port) => {
            let Some(target) = world.runtime.pod(key) else { return Err((Failure::TimedOut, ask.timeout)) };
            let listens = target.model.containers.iter().zip(&target.containers).any(|(m, c)| accepts(m, c, *port));
            if own == Some(*address) {
                // Within one network namespace nothing passes the faulty interface.
                (Netem::default(), Netem::default(), POD_RTT / 4.0, listens)
            } else {
                let there = join(&mine.map(|p| egress(p, Some(*address))).unwrap_or_default(), &ingress(target, own));
                let back = join(&egress(target, own), &mine.map(|p| ingress(p, Some(*address))).unwrap_or_default());
                (there, back, POD_RTT, listens)
            }
        }
    };
    let took = there.segment(world, 60.0).zip(back.segment(world, 60.0)).map(|(a, b)| a + b + rtt);
    match took {
        Some(t) if t <= ask.timeout => {
            if listens {
                Ok((t, there, back))
            } else {
                Err((Failure::Refused, t))
            }
        }
        _ => Err((Failure::TimedOut, ask.timeout)),
    }
}

/// Whether network policies let a connection through.
fn allowed(world: &World, graph: &Graph, ask: &Ask<'_>, place: &Place) -> bool {
    let own = ask.from.as_ref().and_then(|k| world.runtime.pod(k).and_then(|p| p.address).map(|a| (k, a)));
    let from = own.map_or_else(|| End::at(CLIENT), |(key, address)| End::of_pod(world, key, address));
    let (to, port) = match place {
        Place::Pod(_, address, _) if own.is_some_and(|(_, own)| own == *address) => return true,
        Place::Pod(key, address, port) => (End::of_pod(world, key, *address), *port),
        // Its Service leads to the node where it listens.
        Place::Far(_) if ask.address == API_IP => (End::at(API_NODE), API_PORT),
        Place::Far(_) if ask.address == DNS => return ask.from.as_ref().is_none_or(|key| answers(world, graph, key)),
        Place::Far(_) | Place::Nowhere => (End::at(ask.address), ask.port),
        Place::Refused => return true,
    };
    graph.policies.allow(world, &from, &to, Wire::Tcp(port))
}

/// Sends a request and waits for its answer.
pub fn request(world: &mut World, graph: &Graph, ask: &Ask<'_>, depth: u32) -> Outcome {
    let failed = |f, took| Outcome { result: Err(f), took };
    if depth > DEPTH {
        return failed(Failure::TimedOut, ask.timeout);
    }
    let place = locate(world, graph, ask);
    let (handshake, there, back) = match reach(world, graph, ask, &place) {
        Ok(r) => r,
        Err((f, t)) => return failed(f, t),
    };
    let Some(sent) = there.segment(world, 300.0) else { return failed(Failure::TimedOut, ask.timeout) };
    let mut took = handshake + sent;
    let answer = match &place {
        Place::Pod(key, _, port) => {
            let (answer, served) = serve(world, graph, key, *port, ask, depth);
            took += served;
            answer
        }
        _ => Some((200, String::new())),
    };
    let Some(answer) = answer else { return failed(Failure::TimedOut, ask.timeout) };
    let Some(returned) = back.segment(world, 600.0) else { return failed(Failure::TimedOut, ask.timeout) };
    took += returned + POD_RTT;
    if took > ask.timeout { failed(Failure::TimedOut, ask.timeout) } else { Outcome { result: Ok(answer), took } }
}

/// What web servers say of a page that they do not have.
const NO_PAGE: &str = "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

/// What a container answers, and after how long; `None`: nothing, because it is overloaded.
fn serve(world: &mut World, graph: &Graph, key: &Key, port: u16, ask: &Ask<'_>, depth: u32) -> (Option<(u16, String)>, f64) {
    let found = world.runtime.pod(key).and_then(|p| {
        let i = p.model.containers.iter().zip(&p.containers).position(|(m, c)| accepts(m, c, port))?;
        Some((i, p.model.containers.get(i)?, p.containers.get(i)?))
    });
    let Some((i, model, c)) = found else { return (None, 0.0) };
    let (work, overload) = service_time(model, c);
    let code = status_of(model, ask.path);
    let name = model.name.clone();
    let calls = match &model.behaviour {
        Behaviour::Serve(_, calls) if code == 200 && !is_health(ask.path) => calls.clone(),
        _ => Arc::from([]),
    };
    if let Some(c) = world.runtime.pods.get_mut(key).and_then(|p| p.containers.get_mut(i)) {
        c.arrived += ask.weight;
    }
    if overload > 0.0 && world.uniform() < overload {
        return (None, ask.timeout);
    }
    let mut took = work;
    for call in calls.iter().filter(|c| c.on.is_empty() || c.on.iter().any(|p| path_matches(p, plain_path(ask.path)))) {
        let path = if call.path == "*" { ask.path } else { &call.path };
        let timeout = call.timeout.as_secs_f64();
        let Some(looked_up) = look_up(world, graph, key) else {
            let text = format!("GET http://{}:{}{path}: temporary failure in name resolution", call.service, call.port);
            complain(world, key, i, &text);
            return (Some((500, format!("{{\"error\": \"{text}\"}}"))), took + f64::from(LOOKUPS) * LOOKUP_PATIENCE);
        };
        took += looked_up;
        let address = find(world, graph, key, &call.service).ok();
        let outcome = match address {
            Some(address) => {
                let next = Ask { from: Some(key.clone()), address, port: call.port, path, timeout, weight: ask.weight };
                let out = request(world, graph, &next, depth + 1);
                super::record(world, graph, address, &out, ask.weight);
                out
            }
            None => Outcome { result: Err(Failure::NoSuchName), took: 0.005 },
        };
        took += outcome.took;
        let problem = match outcome.result {
            Ok((200..=399, _)) => continue,
            Ok((code, _)) => format!("answered {code}"),
            Err(Failure::Refused) => "connection refused".to_owned(),
            Err(Failure::TimedOut) => format!("timed out after {}s", call.timeout.as_secs_f32()),
            Err(Failure::NoSuchName) => "name or service not known".to_owned(),
        };
        let text = format!("GET http://{}:{}{path}: {problem}", call.service, call.port);
        complain(world, key, i, &text);
        return (Some((500, format!("{{\"error\": \"{text}\"}}"))), took);
    }
    let answer = match crate::sim::kubelet::web_page(world, key, &name, plain_path(ask.path)) {
        Some(Some(page)) => (200, page),
        Some(None) => (404, NO_PAGE.to_owned()),
        None if code == 200 => (200, "OK\n".to_owned()),
        None => (code, "not found\n".to_owned()),
    };
    (Some(answer), took)
}

fn plain_path(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

/// Asks the name server, which the pod's own faults may hinder: the time it took, or `None` when it never answered.
fn look_up(world: &mut World, graph: &Graph, key: &Key) -> Option<f64> {
    if !answers(world, graph, key) {
        return None;
    }
    let pod = world.runtime.pod(key)?;
    let faults = egress(pod, pod.model.resolver.servers.first().copied());
    (0..LOOKUPS).find_map(|n| faults.packet(world, 80.0).map(|t| POD_RTT + t + f64::from(n) * LOOKUP_PATIENCE))
}

/// Health checks answer for the process alone.
fn is_health(path: &str) -> bool {
    let path = plain_path(path).to_lowercase();
    ["health", "ready", "live", "ping", "metrics", "status"].iter().any(|w| path.contains(w))
}

/// Service time under the present load, and the share of requests that get no answer.
fn service_time(model: &ContainerModel, c: &Container) -> (f64, f64) {
    let Some(p) = model.profile() else { return (0.0, 0.0) };
    let work = work_time(model, c, p.cpu_per_request_s);
    let room = (share(model, c).main - p.idle_cpu).max(1e-6);
    let busy = c.load * p.cpu_per_request_s / room;
    let waiting = work * (busy / (1.0 - busy.min(0.95)));
    let lost = if busy > 1.0 { 1.0 - 1.0 / busy } else { 0.0 };
    (p.latency.as_secs_f64() + work + waiting, lost)
}

/// One line a second at most: a log that says what goes wrong, not how often.
fn complain(world: &mut World, key: &Key, i: usize, text: &str) {
    let now = world.now;
    if let Some(c) = world.runtime.pods.get_mut(key).and_then(|p| p.containers.get_mut(i))
        && c.log.back().is_none_or(|l| now.since(l.at) >= Duration::from_secs(1) || !l.text.starts_with("ERROR"))
    {
        c.write(now, format!("ERROR {text}"));
    }
}
