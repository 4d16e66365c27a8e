//! `eviction` and `binding` of pods.

use serde_json::{Value, json};

use super::answer::Answer;
use super::body;
use super::call::{Call, Target};
use super::write;
use crate::sim::controllers::budget::{self, BUDGETS, Count};
use crate::sim::controllers::{object, preemption};
use crate::sim::registry::{self, Part};
use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::world::World;

/// `POST eviction`: a deletion that respects disruption budgets.
pub(super) fn evict(world: &mut World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let given = body::optional(&call.content_type, body)?;
    let key = target.key();
    let pod = world.store.get(&key).cloned().ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
    let done = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending")) || object::deleting(&pod);
    if !done && let Some(refusal) = budget_refusal(world, &key, &pod) {
        return Err(refusal);
    }
    let text = given["deleteOptions"].to_string();
    let options = if given["deleteOptions"].is_object() { text.as_bytes() } else { &[] };
    let mut inner = call.clone();
    "application/json".clone_into(&mut inner.content_type);
    let (options, dry) = write::delete_options(&inner, options)?;
    if !dry {
        preemption::mark(world, &key, "EvictionByEvictionAPI", "Eviction API: evicting");
        registry::delete(world, &key, &options)?;
    }
    Ok(Answer::success(201))
}

/// Whether a disruption budget forbids to evict `pod`: computed from the pods as they are now.
fn budget_refusal(world: &World, key: &Key, pod: &Value) -> Option<Status> {
    for (budget, found) in world.store.list(&BUDGETS, Some(&key.namespace)) {
        if !object::selects(&found["spec"]["selector"], &pod["metadata"]["labels"]) {
            continue;
        }
        let count = budget::count(world, budget, found);
        let Count { healthy, needed, expected } = count;
        if (healthy > needed && expected > 0) || (!object::ready(pod) && !budget::spares_unready(found, count)) {
            continue;
        }
        let mut status = Status::new(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.");
        status.details = json!({"causes": [{"reason": "DisruptionBudget", "message": format!(
            "The disruption budget {} needs {needed} healthy pods and has {healthy} currently", budget.name)}]});
        return Some(status);
    }
    None
}

/// `POST binding`: gives a pod its node.
pub(super) fn bind(world: &mut World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let given = body::object(&call.content_type, body, "v1", "Binding")?;
    let name = target.name.as_deref().or(given["metadata"]["name"].as_str()).unwrap_or_default();
    let key = Key::new(&Resource::new("", "pods"), &target.namespace, name);
    let pod = world.store.get(&key).cloned().ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
    if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        let mut s = Status::conflict(&key.resource, &key.name);
        s.message = format!("Operation cannot be fulfilled on pods/binding \"{name}\": pod {name} is already assigned to node \"{node}\"");
        return Err(s);
    }
    let mut new: Value = (*pod).clone();
    new["spec"]["nodeName"] = given["target"]["name"].clone();
    registry::update(world, &key, new, Part::Main)?;
    Ok(Answer::success(201))
}
