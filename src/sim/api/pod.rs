//! `eviction` and `binding` of pods.

use serde_json::{Value, json};

use super::answer::Answer;
use super::body;
use super::call::{Call, Target};
use super::selector::Selector;
use super::write;
use crate::sim::registry::{self, Part};
use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::world::World;

/// `POST eviction`: a deletion that respects disruption budgets.
pub(super) fn evict(world: &mut World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let given = body::optional(&call.content_type, body)?;
    let key = target.key();
    let pod = world.store.get(&key).cloned().ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
    let budgets = Resource::new("policy", "poddisruptionbudgets");
    let done = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) || pod["spec"]["nodeName"].is_null();
    if !done {
        for (budget, object) in world.store.list(&budgets, Some(&key.namespace)) {
            if !Selector::from_object(&object["spec"]["selector"]).matches(&pod) || object["status"]["disruptionsAllowed"].as_i64().unwrap_or(0) > 0 {
                continue;
            }
            let n = |f: &str| object["status"][f].as_i64().unwrap_or(0);
            let mut status = Status::new(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.");
            status.details = json!({"causes": [{"reason": "DisruptionBudget", "message": format!(
                "The disruption budget {} needs {} healthy pods and has {} currently", budget.name, n("desiredHealthy"), n("currentHealthy"))}]});
            return Err(status);
        }
    }
    let text = given["deleteOptions"].to_string();
    let options = if given["deleteOptions"].is_object() { text.as_bytes() } else { &[] };
    let mut inner = call.clone();
    inner.content_type = "application/json".to_owned();
    let (options, dry) = write::delete_options(&inner, options)?;
    if !dry {
        registry::delete(world, &key, &options)?;
    }
    Ok(Answer::success(201))
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
