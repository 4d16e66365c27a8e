//! Name resolution as a pod sees it: search domains, Services, pods, and the world outside.

use std::net::Ipv4Addr;

use super::network::egress;
use crate::sim::controllers::kinds::PODS;
use crate::sim::resource::Key;
use crate::sim::shell::ResolveError;
use crate::sim::traffic::{self, Graph};
use crate::sim::world::World;

/// Queries that a resolver sends before it gives up.
const ATTEMPTS: u32 = 2;
/// How long it waits for each.
const PATIENCE: f64 = 5.0;

/// Resolves a name for a pod.
pub(super) fn resolve(world: &mut World, key: &Key, name: &str) -> Result<Ipv4Addr, ResolveError> {
    let name = name.trim_end_matches('.').to_lowercase();
    let Some(pod) = world.runtime.pod(key) else { return Err(ResolveError::NoAnswer) };
    if name == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST);
    }
    if *name == *key.name || name == pod.model.hostname {
        return pod.address.ok_or(ResolveError::NoSuchName);
    }
    if let Some(address) = pod.model.resolver.alias(&name) {
        return Ok(address);
    }
    asked(world, key, |world, graph| find(world, graph, key, &name))
}

/// What comes of a question to a pod's name server, if it gets there and is answered.
fn asked<T>(world: &mut World, key: &Key, answer: impl FnOnce(&World, &Graph) -> Result<T, ResolveError>) -> Result<T, ResolveError> {
    let Some(pod) = world.runtime.pod(key) else { return Err(ResolveError::NoAnswer) };
    let faults = egress(pod, pod.model.resolver.servers.first().copied());
    let answered = (0..ATTEMPTS).any(|_| faults.packet(world, 80.0).is_some_and(|t| t < PATIENCE));
    traffic::with_graph(world, |world, graph| {
        if answered && traffic::answers(world, graph, key) { answer(world, graph) } else { Err(ResolveError::NoAnswer) }
    })
}

/// The addresses that a pod's name server has for exactly a name: no search domains, no hosts file.
///
/// # Errors
/// That there is no such name, or no such server.
pub(super) fn records(world: &mut World, key: &Key, name: &str) -> Result<Vec<Ipv4Addr>, ResolveError> {
    let name = name.trim_end_matches('.').to_lowercase();
    asked(world, key, |world, graph| {
        let labels: Vec<&str> = name.split('.').collect();
        let one = |found: Result<Ipv4Addr, ResolveError>| found.map(|address| vec![address]);
        if !world.runtime.pod(key).is_some_and(|p| p.model.resolver.in_cluster()) {
            return one(outside(&name));
        }
        match labels.as_slice() {
            [service, namespace, "svc", "cluster", "local"] => {
                let id = ((*namespace).to_owned(), (*service).to_owned());
                match graph.services.get(&id).filter(|s| s.address.is_none() && s.external.is_none()) {
                    Some(headless) => {
                        let mut all: Vec<Ipv4Addr> = headless.ports.values().flatten().map(|(address, _)| *address).collect();
                        all.sort_unstable();
                        all.dedup();
                        if all.is_empty() { Err(ResolveError::NoSuchName) } else { Ok(all) }
                    }
                    None => one(lookup(world, graph, key, &name)),
                }
            }
            [_, _, _, "svc", "cluster", "local"] | [.., "pod", "cluster", "local"] => one(lookup(world, graph, key, &name)),
            [.., "cluster", "local"] => Err(ResolveError::NoSuchName),
            _ => one(outside(&name)),
        }
    })
}

/// The name that a pod's name server has for an address: of a Service, or of an endpoint of one.
///
/// # Errors
/// That there is none, or no such server.
pub(super) fn pointer(world: &mut World, key: &Key, address: Ipv4Addr) -> Result<String, ResolveError> {
    asked(world, key, |world, graph| {
        if !world.runtime.pod(key).is_some_and(|p| p.model.resolver.in_cluster()) {
            return Err(ResolveError::NoSuchName);
        }
        if let Some(service) = graph.at(address) {
            return Ok(format!("{}.{}.svc.cluster.local", service.name, service.namespace));
        }
        let behind = |service: &&traffic::graph::Entry| service.ports.values().flatten().any(|(a, _)| *a == address);
        let service = graph.services.values().find(behind).ok_or(ResolveError::NoSuchName)?;
        // Only pods that are members of the Service by name (`subdomain`) are known by it.
        let own = world.runtime.at_address(address).and_then(|(pod, run)| {
            let member = world.store.get(pod).is_some_and(|p| p["spec"]["subdomain"] == service.name.as_str());
            (member && *pod.namespace == *service.namespace).then(|| run.model.hostname.clone())
        });
        let first = own.unwrap_or_else(|| address.to_string().replace('.', "-"));
        Ok(format!("{first}.{}.{}.svc.cluster.local", service.name, service.namespace))
    })
}

/// What a pod's name server says to a name, when it answers at all.
///
/// # Errors
/// That there is no such name, or no such server.
pub fn find(world: &World, graph: &Graph, key: &Key, name: &str) -> Result<Ipv4Addr, ResolveError> {
    let Some(resolver) = world.runtime.pod(key).map(|p| &p.model.resolver) else { return Err(ResolveError::NoAnswer) };
    if let Some(address) = resolver.alias(name) {
        return Ok(address);
    }
    if !resolver.in_cluster() {
        // A server outside knows nothing of what is here.
        let ours = matches!(name.rsplit('.').next(), Some("local" | "svc")) || !name.contains('.');
        return match (resolver.outside(), ours) {
            (false, _) => Err(ResolveError::NoAnswer),
            (true, true) => Err(ResolveError::NoSuchName),
            (true, false) => outside(name),
        };
    }
    let Some(candidates) = resolver.candidates(name, &key.namespace) else { return lookup(world, graph, key, name) };
    let full = |n: &&String| n.contains('.') && n.rsplit('.').next() != Some("svc");
    let found = candidates.iter().filter(full).find_map(|n| lookup(world, graph, key, n).ok());
    found.ok_or(ResolveError::NoSuchName)
}

fn lookup(world: &World, graph: &Graph, key: &Key, name: &str) -> Result<Ipv4Addr, ResolveError> {
    let inside = name.strip_suffix(".cluster.local").unwrap_or(name);
    if let Some(service) = graph.named(inside, &key.namespace) {
        if let Some(external) = &service.external {
            return outside(external);
        }
        let first = || service.ports.values().flatten().next().map(|(a, _)| *a);
        return service.address.or_else(first).ok_or(ResolveError::NoSuchName);
    }
    if let Some(dashed) = inside.strip_suffix(".pod").and_then(|p| p.split('.').next()) {
        return dashed.replace('-', ".").parse().map_err(|_| ResolveError::NoSuchName);
    }
    // Pods of a headless Service: pod.service[.namespace.svc].
    let parts: Vec<&str> = inside.trim_end_matches(".svc").split('.').collect();
    let member = match parts.as_slice() {
        [pod, service] => Some((*pod, *service, &*key.namespace)),
        [pod, service, namespace] => Some((*pod, *service, *namespace)),
        _ => None,
    };
    if let Some((pod, service, namespace)) = member
        && graph.services.contains_key(&(namespace.to_owned(), service.to_owned()))
        && let Some(run) = world.runtime.pod(&Key::new(&PODS, namespace, pod))
    {
        return run.address.ok_or(ResolveError::NoSuchName);
    }
    let local = !inside.contains('.') || matches!(name.rsplit('.').next(), Some("local" | "svc"));
    if local { Err(ResolveError::NoSuchName) } else { outside(name) }
}

/// Domains of the first level besides those of countries: enough for the names that people try.
const DOMAINS: &str = "com org net edu gov mil int info biz io dev app ai cloud tech online site xyz page run sh zone systems tools";

/// A stable public address for a name outside. Names below what is no domain of the first level (a mistyped namespace, `.internal`,
/// `.invalid`) are nobody's.
fn outside(name: &str) -> Result<Ipv4Addr, ResolveError> {
    let (_, top) = name.trim_end_matches('.').rsplit_once('.').ok_or(ResolveError::NoSuchName)?;
    let country = top.len() == 2 && top.chars().all(|c| c.is_ascii_alphabetic());
    if !country && !DOMAINS.split(' ').any(|d| d == top) {
        return Err(ResolveError::NoSuchName);
    }
    let h = name.bytes().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let [a, b, c, _] = h.to_be_bytes();
    Ok(Ipv4Addr::new(93 + (a % 60), b, c, 10 + (a ^ b) % 200))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_can_be_are_found_outside() {
        assert!(outside("example.com").is_ok() && outside("www.heise.de.").is_ok());
        for name in ["kubernetes.default", "registry.invalid", "db.internal", "com", "10.5"] {
            assert!(outside(name).is_err(), "{name}");
        }
        assert_eq!(outside("example.com").ok(), outside("example.com").ok());
    }
}
