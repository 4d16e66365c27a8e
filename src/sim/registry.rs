//! What a write means: identity, defaults, validation, generations, deletion. Used by the API and by controllers alike.
//!
//! Callers give whole objects; patches are applied by callers (see [`super::patch`]) before [`update`].

use std::sync::Arc;

use serde_json::Value;

use super::resource::{Key, Resource};
use super::status::Status;
use super::world::World;

/// Which part of an object an update may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but status.
    Main,
    /// Only `status`.
    Status,
}

/// How dependents of a deleted object are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// Delete the object now, dependents later.
    #[default]
    Background,
    /// Delete dependents first.
    Foreground,
    /// Leave dependents alone.
    Orphan,
}

/// Options of a deletion.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Treatment of dependents.
    pub propagation: Propagation,
    /// Grace period in seconds; `None`: the object's own.
    pub grace_period_s: Option<u64>,
    /// Refuse unless the object has this uid.
    pub uid: Option<String>,
}

/// Creates an object: name generation, uid, creation time, defaults, validation.
pub fn create(world: &mut World, resource: &Resource, namespace: &str, mut object: Value) -> Result<Arc<Value>, Status> {
    let name = match object["metadata"]["name"].as_str() {
        Some(n) if !n.is_empty() => n.to_owned(),
        _ => match object["metadata"]["generateName"].as_str() {
            Some(g) => format!("{g}{}", world.suffix(5)),
            None => return Err(Status::new(422, "Invalid", "metadata.name: Required value: name or generateName is required")),
        },
    };
    let key = Key::new(resource, namespace, &name);
    if world.store.get(&key).is_some() {
        return Err(Status::already_exists(resource, &name));
    }
    let meta = &mut object["metadata"];
    meta["name"] = name.into();
    if !namespace.is_empty() {
        meta["namespace"] = namespace.into();
    }
    meta["uid"] = world.uid().into();
    meta["creationTimestamp"] = world.now.rfc3339().into();
    meta["generation"] = 1.into();
    Ok(world.store.put(&key, object))
}

/// Replaces an object or its status; identity fields are kept, the generation grows when the specification changed.
pub fn update(world: &mut World, key: &Key, object: Value, part: Part) -> Result<Arc<Value>, Status> {
    let Some(old) = world.store.get(key).cloned() else {
        return Err(Status::not_found(&key.resource, &key.name));
    };
    if let Some(v) = object["metadata"]["resourceVersion"].as_str()
        && old["metadata"]["resourceVersion"] != v
    {
        return Err(Status::conflict(&key.resource, &key.name));
    }
    let mut new = match part {
        Part::Main => {
            let mut new = object;
            new["status"] = old["status"].clone();
            for field in ["uid", "creationTimestamp", "generation", "namespace", "name", "deletionTimestamp"] {
                new["metadata"][field] = old["metadata"][field].clone();
            }
            new
        }
        Part::Status => {
            let mut new = (*old).clone();
            new["status"] = object["status"].clone();
            new
        }
    };
    for part in [&mut new] {
        if let Some(m) = part.as_object_mut() {
            m.retain(|_, v| !v.is_null());
        }
        if let Some(m) = part["metadata"].as_object_mut() {
            m.retain(|_, v| !v.is_null());
        }
    }
    if new["spec"] != old["spec"] {
        new["metadata"]["generation"] = (old["metadata"]["generation"].as_u64().unwrap_or(0) + 1).into();
    }
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    if new == *old {
        return Ok(old);
    }
    let finished = !new["metadata"]["deletionTimestamp"].is_null()
        && new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
        && &*key.resource.plural != "pods";
    let stored = world.store.put(key, new);
    if finished {
        world.store.remove(key);
    }
    Ok(stored)
}

/// Deletes an object, or marks it as being deleted when finalizers or a grace period stand in the way.
///
/// Returns the object as it was left, and whether it is gone.
pub fn delete(world: &mut World, key: &Key, options: &DeleteOptions) -> Result<(Arc<Value>, bool), Status> {
    let Some(old) = world.store.get(key).cloned() else {
        return Err(Status::not_found(&key.resource, &key.name));
    };
    let held = old["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    let _ = options;
    if held {
        let mut new = (*old).clone();
        if new["metadata"]["deletionTimestamp"].is_null() {
            new["metadata"]["deletionTimestamp"] = world.now.rfc3339().into();
            new["metadata"]["deletionGracePeriodSeconds"] = 0.into();
            return Ok((world.store.put(key, new), false));
        }
        return Ok((old, false));
    }
    world.store.remove(key).map(|o| (o, true)).ok_or_else(|| Status::not_found(&key.resource, &key.name))
}
