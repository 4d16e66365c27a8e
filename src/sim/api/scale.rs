//! The `scale` subresource: `autoscaling/v1 Scale` of anything with replicas.

use serde_json::{Value, json};

use super::answer::Answer;
use super::body;
use super::call::{Call, Target};
use super::selector::Selector;
use super::write;
use crate::sim::registry::{self, Part};
use crate::sim::status::Status;
use crate::sim::world::World;

fn shown(object: &Value) -> Value {
    let meta = &object["metadata"];
    let s = &object["spec"]["selector"];
    // Replication controllers have a plain map.
    let plain = s["matchLabels"].is_null() && s["matchExpressions"].is_null();
    let selector = if plain { Selector::from_object(&json!({"matchLabels": s})) } else { Selector::from_object(s) };
    let mut status = json!({"replicas": object["status"]["replicas"].as_u64().unwrap_or(0)});
    if !selector.is_empty() {
        status["selector"] = selector.text().into();
    }
    let mut v = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {}, "spec": {}, "status": status});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        v["metadata"][field] = meta[field].clone();
    }
    if let Some(n) = object["spec"]["replicas"].as_u64() {
        v["spec"]["replicas"] = n.into();
    }
    v
}

/// `GET`.
pub(super) fn get(world: &World, target: &Target) -> Result<Answer, Status> {
    let key = target.key();
    let object = world.store.get(&key).ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
    Ok(Answer::json(200, &shown(object)))
}

/// `PUT` and `PATCH` (merge, strategic or JSON patch).
pub(super) fn set(world: &mut World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let key = target.key();
    let old = world.store.get(&key).cloned().ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
    let before = shown(&old);
    let wanted = if call.method == axum::http::Method::PUT {
        body::object(&call.content_type, body, "autoscaling/v1", "Scale")?
    } else {
        let patch = body::patch(&call.content_type, body)?;
        let mut call = call.clone();
        // A Scale has no lists: both kinds of merge do the same.
        if call.content_type == "application/strategic-merge-patch+json" {
            "application/merge-patch+json".clone_into(&mut call.content_type);
        }
        write::patched(&call, &target.kind, &before, &patch)?
    };
    let replicas = match &wanted["spec"]["replicas"] {
        Value::Null => 0,
        v => match v.as_i64() {
            Some(n) if n >= 0 => n,
            Some(n) => {
                let message = format!(
                    "Scale.autoscaling \"{}\" is invalid: spec.replicas: Invalid value: {n}: must be greater than or equal to 0",
                    key.name
                );
                let mut status = Status::new(422, "Invalid", message);
                status.details = json!({"name": &*key.name, "group": "autoscaling", "kind": "Scale", "causes": [{"reason": "FieldValueInvalid",
                    "message": format!("Invalid value: {n}: must be greater than or equal to 0"), "field": "spec.replicas"}]});
                return Err(status);
            }
            None => return Err(Status::bad_request("spec.replicas must be an integer")),
        },
    };
    let mut new = (*old).clone();
    new["spec"]["replicas"] = replicas.into();
    if let Some(v) = wanted["metadata"]["resourceVersion"].as_str() {
        new["metadata"]["resourceVersion"] = v.into();
    }
    let stored = if call.dry_run() {
        registry::prepare_update(world, &key, new, Part::Main)?.map_or(old, std::sync::Arc::new)
    } else {
        registry::update(world, &key, new, Part::Main)?
    };
    Ok(Answer::json(200, &shown(&stored)))
}
