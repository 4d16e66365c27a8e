//! Service accounts of new pods.

use serde_json::Value;

use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::world::World;

/// Refuses a pod whose service account does not exist. The account `default` is made again as soon as it is missed, so that a
/// pod need not wait for it.
pub(super) fn check(world: &World, namespace: &str, pod: &Value) -> Result<(), Status> {
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
    if account == "default" || world.store.get(&Key::new(&Resource::new("", "serviceaccounts"), namespace, account)).is_some() {
        return Ok(());
    }
    // Admission comes before names are generated.
    let generated = pod["metadata"]["generateName"].as_str().filter(|g| !g.is_empty());
    let name = generated.or_else(|| pod["metadata"]["name"].as_str()).unwrap_or_default();
    let why = format!("error looking up service account {namespace}/{account}: serviceaccount {account:?} not found");
    Err(super::forbidden(&Resource::new("", "pods"), name, &why))
}
