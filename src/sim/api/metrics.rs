//! `metrics.k8s.io`: what `kubectl top` asks for.

use serde_json::{Value, json};

use super::answer::{Answer, Form};
use super::call::{Call, Target};
use super::read;
use super::selector::Selector;
use crate::sim::catalog::Catalog;
use crate::sim::kubelet;
use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::time::SimTime;
use crate::sim::world::World;

/// Usage the way the metrics server writes it: nanocores and kibibytes.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a usage in nanocores is positive and fits")]
fn usage(cpu: f64, memory: u64) -> Value {
    json!({"cpu": format!("{}n", (cpu * 1e9).round().max(0.0) as u64), "memory": format!("{}Ki", memory / 1024)})
}

fn sample(target: &Target, object: &Value, at: SimTime, window: std::time::Duration) -> Value {
    let mut meta = json!({"name": object["metadata"]["name"], "creationTimestamp": at.rfc3339()});
    for field in ["namespace", "labels"] {
        if !object["metadata"][field].is_null() {
            meta[field] = object["metadata"][field].clone();
        }
    }
    json!({"kind": target.kind.kind, "apiVersion": target.kind.api_version(), "metadata": meta, "timestamp": at.rfc3339(),
        "window": format!("{}s", window.as_secs())})
}

fn one(world: &World, target: &Target, key: &Key, object: &Value) -> Option<Value> {
    if target.kind.plural == "nodes" {
        let m = kubelet::node_metrics(world, &key.name)?;
        let mut v = sample(target, object, m.at, m.window);
        v["usage"] = usage(m.cpu, m.memory);
        return Some(v);
    }
    let m = kubelet::metrics(world, key)?;
    let mut v = sample(target, object, m.at, m.window);
    v["containers"] = m.containers.iter().map(|(name, cpu, memory)| json!({"name": name, "usage": usage(*cpu, *memory)})).collect();
    Some(v)
}

/// `get` and `list` of pod and node metrics.
pub(super) fn answer(world: &World, call: &Call, target: &Target) -> Result<Answer, Status> {
    let resource = Resource::new("", &target.kind.plural);
    if let Some(name) = &target.name {
        let key = Key::new(&resource, &target.namespace, name);
        let found = world.store.get(&key).and_then(|o| one(world, target, &key, o));
        return found.map(|v| Answer::json(200, &v)).ok_or_else(|| {
            let shown = if target.namespace.is_empty() { name.clone() } else { format!("{}/{name}", target.namespace) };
            Status::not_found(
                &Resource::new("metrics.k8s.io", if target.kind.plural == "nodes" { "nodemetrics" } else { "podmetrics" }),
                &shown,
            )
        });
    }
    // Selectors look at the pods and nodes themselves.
    let core = Catalog::get().stored(&resource).unwrap_or(&target.kind);
    let selector = Selector::parse(core, call.param("labelSelector"), call.param("fieldSelector"))?;
    let namespace = Some(target.namespace.as_str()).filter(|n| !n.is_empty());
    let items: Vec<Value> =
        world.store.list(&resource, namespace).filter(|(_, o)| selector.matches(o)).filter_map(|(k, o)| one(world, target, k, o)).collect();
    let meta = if Form::of(&call.accept) == Form::Whole { json!({}) } else { json!({"resourceVersion": ""}) };
    Ok(Answer::json(200, &read::shape(call, &target.kind, meta, items, world.now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_written_like_the_metrics_server_does() {
        assert_eq!(usage(0.001_234, 300 << 20), json!({"cpu": "1234000n", "memory": "307200Ki"}));
    }
}
