//! What `tc` finds on a pod's interface: the queueing disciplines by which its network faults are made, and their end.
//!
//! Partitions are packet filters and not to be found here. Faults on some peers only hang below a `prio` discipline, as Chaos Mesh
//! lays them out.

use serde_json::Value;

use super::network::{NetFault, Netem};
use super::runtime::PodRun;
use crate::sim::resource::Key;
use crate::sim::world::World;

/// The classes that Chaos Mesh's `prio` discipline has before the first of a fault.
const CLASSES: usize = 3;

/// Whether a fault is made by disciplines of the pod's own interface.
fn shaped(world: &World, key: &Key, fault: &NetFault) -> bool {
    fault.outbound && world.store.get(key).is_none_or(|chaos| chaos["spec"]["action"] != "partition")
}

/// The disciplines of `eth0`, each without its device: `noqueue 0: root refcnt 2 `.
pub(super) fn show(world: &World, pod: &PodRun) -> Vec<String> {
    let mut out = Vec::new();
    let mut number = 0;
    let (all, some): (Vec<_>, Vec<_>) = pod.net.iter().filter(|(key, f)| shaped(world, key, f)).partition(|(_, f)| f.peers.is_none());
    let mut place = |out: &Vec<String>| {
        number += 1;
        let place = if out.is_empty() { "root refcnt 2".to_owned() } else { format!("parent {:x}:", number - 1) };
        (number, place)
    };
    for (key, fault) in all {
        for (kind, options) in disciplines(&fault.netem, spec(world, key)) {
            let (handle, place) = place(&out);
            out.push(format!("{kind} {handle:x}: {place} {options}"));
        }
    }
    if !some.is_empty() {
        let (handle, place) = place(&out);
        let bands = CLASSES + some.len();
        out.push(format!("prio {handle:x}: {place} bands {bands} priomap 1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1"));
        for class in 1..=CLASSES {
            let leaf = handle + class;
            out.push(format!("sfq {leaf:x}: parent {handle:x}:{class:x} limit 127p quantum 1514b depth 127 divisor 1024 "));
        }
        let mut leaf = handle + CLASSES;
        for (at, (key, fault)) in some.into_iter().enumerate() {
            let mut above = format!("{handle:x}:{:x}", CLASSES + 1 + at);
            for (kind, options) in disciplines(&fault.netem, spec(world, key)) {
                leaf += 1;
                out.push(format!("{kind} {leaf:x}: parent {above} {options}"));
                above = format!("{leaf:x}:");
            }
        }
    }
    if out.is_empty() {
        out.push("noqueue 0: root refcnt 2 ".to_owned());
    }
    out
}

fn spec<'a>(world: &'a World, key: &Key) -> &'a Value {
    const NONE: &Value = &Value::Null;
    world.store.get(key).map_or(NONE, |chaos| &chaos["spec"])
}

/// The disciplines of one fault, in iproute2's words.
fn disciplines(netem: &Netem, spec: &Value) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    let mut text = "limit 1000".to_owned();
    if netem.delay > 0.0 || netem.jitter > 0.0 {
        text.extend([" delay ".to_owned(), time(netem.delay)]);
        if netem.jitter > 0.0 {
            text.extend(["  ".to_owned(), time(netem.jitter)]);
        }
    }
    for (word, share) in [("loss", netem.loss), ("duplicate", netem.duplicate), ("corrupt", netem.corrupt)] {
        if share > 0.0 {
            text.extend([format!(" {word} {}%", rounded(share * 100.0))]);
        }
    }
    if text != "limit 1000" {
        out.push(("netem", text));
    }
    if let Some(rate) = netem.rate {
        let number = |field: &str| spec["bandwidth"][field].as_f64().unwrap_or_default();
        let (buffer, limit) = (number("buffer"), number("limit"));
        let late = if rate > 0.0 { ((limit - buffer) / rate).max(0.0) } else { 0.0 };
        out.push(("tbf", format!("rate {} burst {buffer}b lat {} ", bits(rate * 8.0), time(late))));
    }
    out
}

/// Four digits at most behind the point, and none that say nothing.
fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

fn time(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{}s", (seconds * 1e3).round() / 1e3)
    } else if seconds >= 1e-3 {
        format!("{}ms", (seconds * 1e6).round() / 1e3)
    } else {
        format!("{}us", (seconds * 1e6).round())
    }
}

fn bits(rate: f64) -> String {
    let units = [(1e9, "Gbit"), (1e6, "Mbit"), (1e3, "Kbit")];
    let found = units.into_iter().find(|(size, _)| rate >= *size);
    found.map_or_else(|| format!("{rate:.0}bit"), |(size, unit)| format!("{}{unit}", (rate / size * 1e3).round() / 1e3))
}

/// Removes the root discipline and all below it; `None`: the container may not, `false`: there is none.
pub(super) fn remove(world: &mut World, key: &Key, container: &str) -> Option<bool> {
    if !may_administer(world, key, container) {
        return None;
    }
    let pod = world.runtime.pods.get(key)?;
    let gone: Vec<Key> = pod.net.iter().filter(|(k, f)| shaped(world, k, f)).map(|(k, _)| k.clone()).collect();
    let pod = world.runtime.pods.get_mut(key)?;
    pod.net.retain(|(k, _)| !gone.contains(k));
    Some(!gone.is_empty())
}

/// Whether a container has the capability `NET_ADMIN`.
fn may_administer(world: &World, key: &Key, container: &str) -> bool {
    let Some(pod) = world.store.get(key) else { return false };
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let found = lists.into_iter().flat_map(|list| pod["spec"][list].as_array().into_iter().flatten()).find(|c| c["name"] == container);
    let Some(context) = found.map(|c| &c["securityContext"]) else { return false };
    let added = context["capabilities"]["add"].as_array();
    context["privileged"] == true
        || added.is_some_and(|all| all.iter().any(|c| matches!(c.as_str(), Some("NET_ADMIN" | "CAP_NET_ADMIN" | "ALL"))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn disciplines_are_written_as_iproute2_does() {
        let netem = Netem { delay: 1.0, jitter: 0.01, loss: 0.5, corrupt: 0.001, ..Netem::default() };
        let shown = disciplines(&netem, &Value::Null);
        assert_eq!(shown, [("netem", "limit 1000 delay 1s  10ms loss 50% corrupt 0.1%".to_owned())]);
        let slow = Netem { rate: Some(125_000.0), ..Netem::default() };
        let spec = json!({"bandwidth": {"rate": "1mbps", "limit": 20_971_520, "buffer": 10_000}});
        assert_eq!(disciplines(&slow, &spec), [("tbf", "rate 1Mbit burst 10000b lat 167.692s ".to_owned())]);
        assert_eq!((time(0.25), time(0.000_5), bits(2.5e9)), ("250ms".to_owned(), "500us".to_owned(), "2.5Gbit".to_owned()));
    }
}
