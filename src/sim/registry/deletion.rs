//! Deletions: what goes at once, what is marked and waits, and what may not go.

use std::sync::Arc;

use serde_json::Value;

use super::{admission, forbidden, is_finished, precondition};
use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::world::World;

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
    /// Refuse unless the object has this resource version.
    pub resource_version: Option<String>,
}

/// What a deletion comes to.
#[derive(Debug, Clone)]
pub enum Deletion {
    /// The object goes at once.
    Remove,
    /// The object stays, changed like this, until its finalizers or its grace period are over.
    Mark(Value),
    /// It is being deleted already: nothing changes.
    Nothing,
}
/// Deletes an object, or marks it as being deleted when finalizers or a grace period stand in the way.
///
/// Returns the object as it was left, and whether it is gone.
pub fn delete(world: &mut World, key: &Key, options: &DeleteOptions) -> Result<(Arc<Value>, bool), Status> {
    let missing = || Status::not_found(&key.resource, &key.name);
    match prepare_delete(world, key, options)? {
        Deletion::Remove => world.store.remove(key).map(|o| (o, true)).ok_or_else(missing),
        Deletion::Mark(new) => {
            let finished = is_finished(&new);
            let stored = world.store.put(key, new);
            if finished {
                world.store.remove(key);
            }
            Ok((stored, finished))
        }
        Deletion::Nothing => world.store.get(key).cloned().map(|o| (o, false)).ok_or_else(missing),
    }
}

/// Finds out what [`delete`] would do.
pub fn prepare_delete(world: &World, key: &Key, options: &DeleteOptions) -> Result<Deletion, Status> {
    let deletion = prepared(world, key, options)?;
    if !world.admission.is_empty()
        && let (Ok(kind), Some(old)) = (super::kind_of(world, &key.resource), world.store.get(key))
    {
        let operation = admission::Operation::Delete;
        let request = admission::Request { operation, key, kind: &kind, subresource: "", object: None, old: Some(old) };
        admission::mutate(world, &request)?;
        admission::validate(world, &request)?;
    }
    Ok(deletion)
}

fn prepared(world: &World, key: &Key, options: &DeleteOptions) -> Result<Deletion, Status> {
    let Some(old) = world.store.get(key).cloned() else {
        return Err(Status::not_found(&key.resource, &key.name));
    };
    for (what, wanted, is) in [
        ("UID", &options.uid, &old["metadata"]["uid"]),
        ("ResourceVersion", &options.resource_version, &old["metadata"]["resourceVersion"]),
    ] {
        if let Some(w) = wanted.as_ref().filter(|w| is != w.as_str()) {
            let mut status = Status::conflict(&key.resource, &key.name);
            status.message = precondition(key, what, w, is);
            return Err(status);
        }
    }
    if key.resource == Resource::new("", "namespaces") {
        return delete_namespace(world, key, &old);
    }
    let mut new = (*old).clone();
    let meta = &mut new["metadata"];
    let add = match options.propagation {
        Propagation::Background => None,
        Propagation::Foreground => Some("foregroundDeletion"),
        Propagation::Orphan => Some("orphan"),
    };
    if let Some(f) = add {
        let mut list = meta["finalizers"].as_array().cloned().unwrap_or_default();
        let other = if f == "orphan" { "foregroundDeletion" } else { "orphan" };
        list.retain(|x| x != other);
        if !list.iter().any(|x| x == f) {
            list.push(f.into());
        }
        meta["finalizers"] = list.into();
    }
    let held = meta["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    let grace = grace(key, &old, options);
    if !held && grace == 0 {
        return Ok(Deletion::Remove);
    }
    let before = old["metadata"]["deletionGracePeriodSeconds"].as_u64();
    let deleting = !old["metadata"]["deletionTimestamp"].is_null();
    if !deleting || before.is_some_and(|b| grace < b) {
        meta["deletionTimestamp"] = world.now.after(std::time::Duration::from_secs(grace)).rfc3339().into();
        meta["deletionGracePeriodSeconds"] = grace.into();
        if let Some(g) = meta["generation"].as_u64() {
            meta["generation"] = (g + 1).into();
        }
    }
    Ok(if new == *old { Deletion::Nothing } else { Deletion::Mark(new) })
}

/// The grace period of a deletion: only running pods that have a node get one.
fn grace(key: &Key, old: &Value, options: &DeleteOptions) -> u64 {
    let running = key.resource == Resource::new("", "pods")
        && old["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty())
        && old["status"]["phase"] != "Succeeded"
        && old["status"]["phase"] != "Failed";
    if !running {
        return 0;
    }
    options.grace_period_s.unwrap_or_else(|| old["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30))
}

fn delete_namespace(world: &World, key: &Key, old: &Value) -> Result<Deletion, Status> {
    if matches!(&*key.name, "default" | "kube-system" | "kube-public") {
        return Err(forbidden(&key.resource, &key.name, "this namespace may not be deleted"));
    }
    if !old["metadata"]["deletionTimestamp"].is_null() {
        return Ok(if is_finished(old) { Deletion::Remove } else { Deletion::Nothing });
    }
    let mut new = old.clone();
    new["metadata"]["deletionTimestamp"] = world.now.rfc3339().into();
    new["status"]["phase"] = "Terminating".into();
    Ok(Deletion::Mark(new))
}

/// Empties a namespace's own list of finalizers (`namespaces/finalize`), which lets it go.
pub fn finalize_namespace(world: &mut World, name: &str, finalizers: Value) -> Result<Arc<Value>, Status> {
    let key = Key::new(&Resource::new("", "namespaces"), "", name);
    let mut new = world.store.get(&key).map(|o| (**o).clone()).ok_or_else(|| Status::not_found(&key.resource, name))?;
    new["spec"]["finalizers"] = finalizers;
    let finished = is_finished(&new);
    let stored = world.store.put(&key, new);
    if finished {
        world.store.remove(&key);
    }
    Ok(stored)
}
