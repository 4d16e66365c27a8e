//! Controller revisions: the templates that stateful sets and daemon sets had, by their hash.

use serde_json::{Value, json};

use super::kinds::REVISIONS;
use super::object::{self, int};
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::world::World;

const HASH: &str = "controller-revision-hash";
/// So many names are tried for a revision.
const COLLISIONS_MAX: i64 = 8;

/// The hash of the owner's template and the name of its controller revision, which is created when missing.
pub(super) fn revision(world: &mut World, key: &Key, owner: &Value) -> (String, String) {
    // A set of the other kind may have the same name and template: then its revision has the name, and ours another hash.
    let others = |w: &World, at: &Key| {
        let revision = w.store.get(at);
        let owners = revision.and_then(|r| r["metadata"]["ownerReferences"].as_array()).into_iter().flatten();
        owners.into_iter().any(|o| o["controller"] == true && o["kind"] != owner["kind"])
    };
    let (mut hash, mut name, mut at) = (String::new(), String::new(), key.clone());
    for collisions in 0..COLLISIONS_MAX {
        hash = object::template_hash(&owner["spec"]["template"], collisions);
        name = format!("{}-{hash}", key.name);
        at = Key::new(&REVISIONS, &key.namespace, &name);
        if !others(world, &at) {
            break;
        }
    }
    let mine = |w: &World| {
        w.store
            .list(&REVISIONS, Some(&key.namespace))
            .filter(|(_, r)| object::controlled_by(r, object::uid(owner)))
            .map(|(_, r)| int(&r["revision"], 0))
            .max()
            .unwrap_or(0)
    };
    let latest = mine(world);
    if let Some(old) = world.store.get(&at).cloned() {
        // A rollback makes an old revision the latest again.
        if int(&old["revision"], 0) < latest {
            let mut new = (*old).clone();
            new["revision"] = (latest + 1).into();
            let _written = registry::update(world, &at, new, Part::Main);
        }
    } else {
        let mut template = owner["spec"]["template"].clone();
        template["$patch"] = "replace".into();
        let mut labels = owner["spec"]["template"]["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        // Each controller has its own label for it; their pods have the same.
        let label = if owner["kind"] == "StatefulSet" { "controller.kubernetes.io/hash" } else { HASH };
        labels.insert(label.into(), hash.as_str().into());
        let mut new = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": latest + 1, "data": {"spec": {"template": template}},
            "metadata": {"name": name, "labels": labels, "ownerReferences": [object::owner_reference(&key.resource, owner)]},
        });
        if owner["metadata"]["annotations"].is_object() {
            new["metadata"]["annotations"] = owner["metadata"]["annotations"].clone();
        }
        // It can only exist already.
        let _there = registry::create(world, &REVISIONS, &key.namespace, new);
    }
    (hash, name)
}

/// The pod template of a revision.
pub(super) fn template(world: &World, namespace: &str, name: &str) -> Option<Value> {
    let revision = world.store.get(&Key::new(&REVISIONS, namespace, name))?;
    let mut template = revision["data"]["spec"]["template"].clone();
    template.as_object_mut()?.remove("$patch");
    Some(template)
}

/// Removes the oldest revisions that nobody uses, beyond as many as the owner wants to keep. `live`: those in use, by name.
pub(super) fn truncate(world: &mut World, key: &Key, owner: &Value, live: &[String]) {
    let limit = usize::try_from(int(&owner["spec"]["revisionHistoryLimit"], 10)).unwrap_or(0);
    let own = world.store.list(&REVISIONS, Some(&key.namespace)).filter(|(k, r)| {
        let named = live.iter().any(|l| **l == *k.name || r["metadata"]["labels"][HASH] == **l);
        object::controlled_by(r, object::uid(owner)) && !named
    });
    let mut old: Vec<(i64, Key)> = own.map(|(k, r)| (int(&r["revision"], 0), k.clone())).collect();
    old.sort();
    let surplus = old.len().saturating_sub(limit);
    for (_, key) in old.into_iter().take(surplus) {
        // Gone already is as good.
        let _gone = registry::delete(world, &key, &DeleteOptions::default());
    }
}
