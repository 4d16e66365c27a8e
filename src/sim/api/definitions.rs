//! The definitions of the custom kinds, as objects: what `kubectl get crd` lists.

use serde_json::{Value, json};

use crate::sim::catalog::{Catalog, Kind};
use crate::sim::registry::{self, Part};
use crate::sim::resource::{Key, Resource};
use crate::sim::world::World;

/// Creates the definition of every custom kind of the catalogue.
pub(crate) fn install(world: &mut World) {
    let resource = Resource::new("apiextensions.k8s.io", "customresourcedefinitions");
    for kind in Catalog::get().kinds().filter(|k| k.custom()) {
        let object = definition(kind);
        let names = object["spec"]["names"].clone();
        let Ok(made) = registry::create(world, &resource, "", object) else { continue };
        let now = world.now.rfc3339();
        let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message});
        let mut new = (*made).clone();
        new["status"] = json!({"acceptedNames": names, "storedVersions": [kind.version], "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted")]});
        let key = Key::new(&resource, "", made["metadata"]["name"].as_str().unwrap_or_default());
        if let Err(error) = registry::update(world, &key, new, Part::Status) {
            tracing::warn!(%error, "a definition has no status");
        }
    }
}

fn definition(kind: &Kind) -> Value {
    let columns: Vec<Value> = Catalog::get()
        .columns(&kind.group, &kind.plural)
        .unwrap_or_default()
        .iter()
        .filter(|c| c.0 != "Name" && c.0 != "Age")
        .map(|c| json!({"jsonPath": format!(".spec.{}", c.0), "name": c.0, "type": c.1}))
        .collect();
    let mut version = json!({"name": kind.version, "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    if !columns.is_empty() {
        version["additionalPrinterColumns"] = columns.into();
    }
    json!({
        "metadata": {"name": format!("{}.{}", kind.plural, kind.group)},
        "spec": {"conversion": {"strategy": "None"}, "group": kind.group, "scope": "Namespaced", "versions": [version],
            "names": {"kind": kind.kind, "listKind": format!("{}List", kind.kind), "plural": kind.plural, "singular": kind.singular}},
    })
}
