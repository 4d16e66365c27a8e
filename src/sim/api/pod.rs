//! `eviction` and `binding` of pods.

use std::collections::BTreeMap;

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
    let done = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) || pod["spec"]["nodeName"].is_null();
    if !done && let Some(refusal) = budget_refusal(world, &key, &pod) {
        return Err(refusal);
    }
    let text = given["deleteOptions"].to_string();
    let options = if given["deleteOptions"].is_object() { text.as_bytes() } else { &[] };
    let mut inner = call.clone();
    "application/json".clone_into(&mut inner.content_type);
    let (options, dry) = write::delete_options(&inner, options)?;
    if !dry {
        registry::delete(world, &key, &options)?;
    }
    Ok(Answer::success(201))
}

/// Whether a disruption budget forbids to evict `pod`: computed from the pods as they are now.
fn budget_refusal(world: &World, key: &Key, pod: &Value) -> Option<Status> {
    let budgets = Resource::new("policy", "poddisruptionbudgets");
    let ready =
        |p: &Value| p["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    if !ready(pod) {
        return None;
    }
    for (budget, object) in world.store.list(&budgets, Some(&key.namespace)) {
        let selector = Selector::from_object(&object["spec"]["selector"]);
        if !selector.matches(pod) {
            continue;
        }
        let pods: Vec<&Value> =
            world.store.list(&key.resource, Some(&key.namespace)).map(|(_, p)| &**p).filter(|p| selector.matches(p)).collect();
        let healthy = pods.iter().filter(|p| ready(p) && p["metadata"]["deletionTimestamp"].is_null()).count();
        let expected = expected_pods(world, key, &pods);
        let needed = match (&object["spec"]["minAvailable"], &object["spec"]["maxUnavailable"]) {
            (Value::Null, Value::Null) => expected.saturating_sub(1),
            (Value::Null, most) => expected.saturating_sub(share(most, expected)),
            (least, _) => share(least, expected),
        };
        if healthy > needed {
            continue;
        }
        let mut status = Status::new(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.");
        status.details = json!({"causes": [{"reason": "DisruptionBudget", "message": format!(
            "The disruption budget {} needs {needed} healthy pods and has {healthy} currently", budget.name)}]});
        return Some(status);
    }
    None
}

/// How many pods the owners of `pods` want.
fn expected_pods(world: &World, key: &Key, pods: &[&Value]) -> usize {
    let mut owners = BTreeMap::new();
    let mut single = 0;
    for p in pods {
        match p["metadata"]["ownerReferences"].as_array().into_iter().flatten().find(|r| r["controller"] == true) {
            Some(r) => {
                let plural = format!("{}s", r["kind"].as_str().unwrap_or_default().to_lowercase());
                let name = r["name"].as_str().unwrap_or_default();
                let replicas = world
                    .store
                    .get(&Key::new(&Resource::new("apps", &plural), &key.namespace, name))
                    .and_then(|o| o["spec"]["replicas"].as_u64());
                owners.insert(r["uid"].as_str().unwrap_or_default(), replicas.and_then(|n| usize::try_from(n).ok()).unwrap_or(1));
            }
            None => single += 1,
        }
    }
    owners.values().sum::<usize>() + single
}

/// A number of pods, or a percentage of them, rounded up.
fn share(value: &Value, of: usize) -> usize {
    let percent = value.as_str().and_then(|t| t.strip_suffix('%')).and_then(|t| t.parse::<usize>().ok());
    percent.map_or_else(|| value.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0), |p| (of * p).div_ceil(100))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_up() {
        assert_eq!((share(&json!("50%"), 3), share(&json!(2), 9), share(&json!("x"), 3)), (2, 2, 0));
    }
}
