//! Garbage collection by owner references: background, foreground and orphaning deletion.

use std::sync::Arc;

use serde_json::Value;

use super::object;
use crate::sim::catalog::Catalog;
use crate::sim::registry::{self, DeleteOptions, Part, Propagation};
use crate::sim::resource::Key;
use crate::sim::world::World;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Deletes the objects whose last owner is gone; strikes the owner from those that have others.
pub fn collect(world: &mut World, owner: &str, namespace: &str) {
    for (key, dependent) in dependents(world, owner, namespace) {
        let others = dependent["metadata"]["ownerReferences"]
            .as_array()
            .is_some_and(|o| o.iter().any(|o| o["uid"] != owner && solid(world, namespace, o)));
        if others {
            release(world, &key, &dependent, owner);
        } else {
            // Gone already is as good.
            let _gone = registry::delete(world, &key, &DeleteOptions::default());
        }
    }
}

/// Does what the deletion finalizers of a dying object ask for.
pub fn finalize(world: &mut World, key: &Key) {
    let Some(object) = world.store.get(key).cloned() else { return };
    if !object::deleting(&object) {
        return;
    }
    let owner = object::uid(&object).to_owned();
    if object::has_finalizer(&object, ORPHAN) {
        for (k, dependent) in dependents(world, &owner, &key.namespace) {
            release(world, &k, &dependent, &owner);
        }
        unlock(world, key, ORPHAN);
    } else if object::has_finalizer(&object, FOREGROUND) {
        let all = dependents(world, &owner, &key.namespace);
        let blocking = all.iter().any(|(_, d)| blocks(d, &owner));
        for (k, d) in &all {
            let refs = d["metadata"]["ownerReferences"].as_array();
            if refs.is_some_and(|refs| refs.iter().any(|r| r["uid"] != owner.as_str() && solid(world, &key.namespace, r))) {
                // Somebody else wants to keep it.
                release(world, k, d, &owner);
            } else if !object::deleting(d) {
                // A circle: who waits for what waits for him would wait for ever.
                let circle = dependents(world, object::uid(d), &key.namespace).iter().any(|(_, next)| waits(next));
                if circle {
                    unblock(world, k);
                }
                let options = DeleteOptions { propagation: Propagation::Foreground, ..DeleteOptions::default() };
                // Gone already is as good.
                let _gone = registry::delete(world, k, &options);
            }
        }
        if !blocking || dependents(world, &owner, &key.namespace).iter().all(|(_, d)| !blocks(d, &owner)) {
            unlock(world, key, FOREGROUND);
        }
    }
}

/// Whether an object waits for its dependents to go.
fn waits(object: &Value) -> bool {
    object::deleting(object) && object::has_finalizer(object, FOREGROUND)
}

/// An object no longer keeps its owners.
fn unblock(world: &mut World, key: &Key) {
    let Some(object) = world.store.get(key) else { return };
    let mut new = (**object).clone();
    for owner in new["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
        owner["blockOwnerDeletion"] = false.into();
    }
    // Gone already is as good.
    let _done = registry::update(world, key, new, Part::Main);
}

fn blocks(dependent: &Value, owner: &str) -> bool {
    dependent["metadata"]["ownerReferences"]
        .as_array()
        .is_some_and(|o| o.iter().any(|o| o["uid"] == owner && o["blockOwnerDeletion"] == true))
}

fn unlock(world: &mut World, key: &Key, finalizer: &str) {
    let Some(object) = world.store.get(key) else { return };
    let mut new = (**object).clone();
    object::drop_finalizer(&mut new, finalizer);
    // Gone already is as good.
    let _done = registry::update(world, key, new, Part::Main);
}

fn release(world: &mut World, key: &Key, dependent: &Value, owner: &str) {
    let mut new = dependent.clone();
    if let Some(refs) = new["metadata"]["ownerReferences"].as_array_mut() {
        refs.retain(|o| o["uid"] != owner);
        if refs.is_empty()
            && let Some(m) = new["metadata"].as_object_mut()
        {
            m.remove("ownerReferences");
        }
    }
    // Gone already is as good.
    let _done = registry::update(world, key, new, Part::Main);
}

fn dependents(world: &World, owner: &str, namespace: &str) -> Vec<(Key, Arc<Value>)> {
    let owned = |o: &Value| o["metadata"]["ownerReferences"].as_array().is_some_and(|r| r.iter().any(|r| r["uid"] == owner));
    let all: Box<dyn Iterator<Item = (&Key, &Arc<Value>)>> =
        if namespace.is_empty() { Box::new(world.store.iter()) } else { Box::new(world.store.in_namespace(namespace)) };
    all.filter(|(_, o)| owned(o)).map(|(k, o)| (k.clone(), Arc::clone(o))).collect()
}

/// Whether an owner is there to stay: not itself waiting for its dependents to go.
fn solid(world: &World, namespace: &str, reference: &Value) -> bool {
    let owner = key_of(world, namespace, reference).and_then(|k| world.store.get(&k));
    owner.is_some_and(|o| o["metadata"]["uid"] == reference["uid"] && !waits(o))
}

/// The key that an owner reference names.
pub fn key_of(world: &World, namespace: &str, reference: &Value) -> Option<Key> {
    let group = reference["apiVersion"].as_str()?.rsplit_once('/').map_or("", |(g, _)| g);
    let kind = reference["kind"].as_str()?;
    let known = Catalog::get().of_kind(group, kind).or_else(|| world.customs.of_kind(group, kind))?;
    let key = Key::new(&known.resource, namespace, reference["name"].as_str()?);
    if world.store.get(&key).is_some() {
        return Some(key);
    }
    let cluster = Key::new(&key.resource, "", &key.name);
    world.store.get(&cluster).is_some().then_some(cluster)
}
