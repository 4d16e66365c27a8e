//! Controllers: what follows from objects. Input: changes in the store; output: more changes and scheduled events.

use super::world::{Event, World};

/// Creates what every cluster has at time zero.
pub fn bootstrap(_world: &mut World) {}

/// Looks at the changes since [`World::observed`] and schedules reactions.
pub fn observe(world: &mut World) {
    world.observed = world.store.revision();
}

/// Does what an event says.
pub fn happen(_world: &mut World, _event: Event) {}
