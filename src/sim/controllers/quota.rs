//! Resource quotas report what their namespace uses.

use std::sync::LazyLock;

use crate::sim::registry::{self, Part};
use crate::sim::resource::{Key, Resource};
use crate::sim::world::World;

/// Resource quotas.
pub static QUOTAS: LazyLock<Resource> = LazyLock::new(|| Resource::new("", "resourcequotas"));

/// The quotas of a namespace.
pub fn of_namespace(world: &World, namespace: &str) -> Vec<Key> {
    world.store.list(&QUOTAS, Some(namespace)).map(|(k, _)| k.clone()).collect()
}

/// Writes the status of a quota when it is not what it should be.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(quota) = world.store.get(key).cloned() else { return };
    let status = registry::quota_status(world, &key.namespace, &quota);
    if quota["status"] != status {
        let mut new = (*quota).clone();
        new["status"] = status;
        // Nobody else writes in between: the world is ours.
        let _written = registry::update(world, key, new, Part::Status);
    }
}
