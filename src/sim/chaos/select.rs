//! Which pods and containers an experiment acts on: selectors and modes.

use std::sync::Arc;

use serde_json::Value;

use crate::sim::controllers::kinds::{NODES, PODS};
use crate::sim::controllers::object;
use crate::sim::resource::Key;
use crate::sim::world::World;

/// A target: `namespace/pod` or `namespace/pod/container`, and the selector that found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Identity.
    pub(super) id: String,
    /// `.` for the experiment's own selector, `.Target` for the peers of a network fault.
    pub(super) selector: &'static str,
}

/// Selects the targets of an experiment, once.
pub(super) fn records(world: &mut World, key: &Key, chaos: &Value) -> Result<Vec<Record>, String> {
    let spec = &chaos["spec"];
    let pods = pick(world, key, spec)?;
    let plural = &*key.resource.plural;
    let by_container = plural == "stresschaos" || plural == "iochaos" || (plural == "podchaos" && spec["action"] == "container-kill");
    let mut out = Vec::new();
    for (k, pod) in &pods {
        let id = format!("{}/{}", k.namespace, k.name);
        if by_container {
            for c in containers(pod, spec)? {
                out.push(Record { id: format!("{id}/{c}"), selector: "." });
            }
        } else {
            out.push(Record { id, selector: "." });
        }
    }
    if plural == "networkchaos" && spec["target"].is_object() {
        for (k, _) in pick(world, key, &spec["target"])? {
            out.push(Record { id: format!("{}/{}", k.namespace, k.name), selector: ".Target" });
        }
    }
    Ok(out)
}

/// The containers named, or the first.
fn containers(pod: &Value, spec: &Value) -> Result<Vec<String>, String> {
    let names: Vec<&str> = pod["spec"]["containers"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
    let wanted: Vec<&str> = spec["containerNames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if wanted.is_empty() {
        return Ok(names.first().map(|n| vec![(*n).to_owned()]).unwrap_or_default());
    }
    let found: Vec<String> = wanted.iter().filter(|w| names.contains(w)).map(|w| (*w).to_owned()).collect();
    if found.is_empty() {
        return Err(format!("container {} not found in pod {}", wanted.join(","), object::name(pod)));
    }
    Ok(found)
}

/// The pods that a selector with a mode picks.
pub(super) fn pick(world: &mut World, key: &Key, spec: &Value) -> Result<Vec<(Key, Arc<Value>)>, String> {
    let mut all = matching(world, key, &spec["selector"]);
    if all.is_empty() {
        return Err("no pod is selected".to_owned());
    }
    let value = || -> Result<usize, String> {
        let v = spec["value"].as_str().map_or_else(|| spec["value"].to_string(), str::to_owned);
        v.trim_matches('"').trim_end_matches('%').parse().map_err(|_| format!("invalid value {v} of mode"))
    };
    let count = match spec["mode"].as_str().unwrap_or("all") {
        "one" => 1,
        "all" => all.len(),
        "fixed" => value()?.min(all.len()),
        "fixed-percent" => all.len() * value()?.min(100) / 100,
        "random-max-percent" => {
            let most = all.len() * value()?.min(100) / 100;
            below(world, most + 1)
        }
        other => return Err(format!("mode {other} not supported")),
    };
    let mut picked = Vec::new();
    for _ in 0..count {
        let i = if count == all.len() + picked.len() { 0 } else { below(world, all.len()) };
        picked.push(all.remove(i));
    }
    if picked.is_empty() {
        return Err("no pod is selected".to_owned());
    }
    picked.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(picked)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a number of pods")]
fn below(world: &mut World, n: usize) -> usize {
    ((world.uniform() * n as f64) as usize).min(n.saturating_sub(1))
}

fn matching(world: &World, key: &Key, selector: &Value) -> Vec<(Key, Arc<Value>)> {
    let strings = |v: &Value| -> Vec<String> { v.as_array().into_iter().flatten().filter_map(|x| x.as_str().map(str::to_owned)).collect() };
    let mut namespaces = strings(&selector["namespaces"]);
    let named = selector["pods"].as_object();
    if namespaces.is_empty() && named.is_none() {
        namespaces.push(key.namespace.to_string());
    }
    let nodes = strings(&selector["nodes"]);
    let phases = strings(&selector["podPhaseSelectors"]);
    let fits = |k: &Key, p: &Value| {
        let labels = &p["metadata"]["labels"];
        let place = match named {
            Some(n) => n.get(&*k.namespace).is_some_and(|list| strings(list).iter().any(|x| **x == *k.name)),
            None => namespaces.iter().any(|n| **n == *k.namespace),
        };
        place
            && object::contains_all(&selector["labelSelectors"], labels)
            && object::contains_all(&selector["annotationSelectors"], &p["metadata"]["annotations"])
            && selector["expressionSelectors"].as_array().is_none_or(|all| all.iter().all(|e| object::expression_holds(e, labels)))
            && selector["fieldSelectors"].as_object().is_none_or(|all| all.iter().all(|(f, v)| field(p, f) == *v))
            && (nodes.is_empty() || nodes.iter().any(|n| p["spec"]["nodeName"] == n.as_str()))
            && (phases.is_empty() || phases.iter().any(|s| p["status"]["phase"] == s.as_str()))
            && node_fits(world, p, &selector["nodeSelectors"])
            && !object::ended(p)
    };
    world.store.list(&PODS, None).filter(|(k, p)| fits(k, p)).map(|(k, p)| (k.clone(), Arc::clone(p))).collect()
}

fn field(pod: &Value, path: &str) -> Value {
    path.split('.').fold(pod.clone(), |v, part| v[part].clone())
}

fn node_fits(world: &World, pod: &Value, wanted: &Value) -> bool {
    wanted.as_object().is_none_or(|w| {
        w.is_empty()
            || pod["spec"]["nodeName"]
                .as_str()
                .and_then(|n| world.store.get(&Key::new(&NODES, "", n)))
                .is_some_and(|n| object::contains_all(wanted, &n["metadata"]["labels"]))
    })
}
